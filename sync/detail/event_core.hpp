// What the events and the latch stand on: a bit that is set, and those who wait for it.
#ifndef TOADSTONE_SYNC_DETAIL_EVENT_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_EVENT_CORE_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>

namespace toadstone::sync::detail {

class event_waiter : public toadstone::detail::waiter {
    friend class event_core;
};

/// Whether what is set stays so for everybody, or is for one.
enum class event_kind : unsigned char { stays, for_one };

/// The word: `set`, and `waiting` while there is a queue. Both at once never: who waits is
/// served by what sets it.
///
/// Orderings: what set() published is seen by whoever passes. Whoever passes may destroy the
/// event: set() touches it for the last time when it unlocks the word.
class event_core {
public:
    using waiter = event_waiter;

    constexpr event_core(bool is_set, event_kind kind) noexcept
        : word_(is_set ? set_bit : 0), kind_(kind) {}
    event_core(const event_core&) = delete;
    event_core& operator=(const event_core&) = delete;
    ~event_core() {
        TOADSTONE_ASSERT(queue_.empty() || toadstone::detail::ends_with_program(this),
                         "what tasks wait for is destroyed only when nobody waits for it");
    }

    /// Passes if it is set.
    [[nodiscard]] bool try_pass() noexcept {
        std::uint32_t word = word_.read();
        if (!(word & set_bit)) return false;
        if (kind_ == event_kind::stays) return true;
        return (word == set_bit && word_.acquire(word, 0)) || try_pass_slowly();
    }
    /// Passes: true. Or queues the waiter.
    [[nodiscard]] bool settle_or_queue(waiter& one) noexcept;
    [[nodiscard]] bool withdraw(waiter& one, toadstone::detail::waiter::state how) noexcept;
    /// One that is for one goes to the next.
    void hand_back(waiter& one) noexcept {
        if (kind_ == event_kind::for_one && one.how() == waiter::state::granted) set();
    }

    /// Everybody who waits passes, or the first. Resumes nothing.
    void set() noexcept;
    void reset() noexcept;
    [[nodiscard]] bool is_set() const noexcept { return (word_.read() & set_bit) != 0; }

private:
    static constexpr std::uint32_t lock = 1;
    static constexpr std::uint32_t waiting = 2;
    static constexpr std::uint32_t set_bit = 4;

    /// It is for one, and another has the lock, or was quicker.
    [[nodiscard]] bool try_pass_slowly() noexcept;

    toadstone::detail::locked_word<std::uint32_t, lock> word_;
    const event_kind kind_;
    toadstone::detail::wait_queue queue_; // under the lock of the word
};

/// The leaf behind wait().
class event_leaf : public toadstone::detail::wait_leaf<event_core, event_waiter> {
public:
    explicit event_leaf(event_core& core) noexcept : wait_leaf(core) {}

    [[nodiscard]] bool await_ready() noexcept {
        if (!may_complete_at_once() || !core_->try_pass()) return false;
        state_ = state::granted;
        return true;
    }
    void await_resume() const noexcept {}

protected:
    ~event_leaf() = default;
};

class timed_event_leaf : public toadstone::detail::timed_wait<event_leaf> {
public:
    timed_event_leaf(toadstone::detail::time_limit limit, event_core& core) noexcept
        : timed_wait(limit, core) {}
    [[nodiscard]] bool await_resume() noexcept { return in_time(); }

protected:
    ~timed_event_leaf() = default;
};

using event_request = toadstone::detail::operation<event_leaf, event_core&>;
using timed_event_request =
    toadstone::detail::operation<timed_event_leaf, toadstone::detail::time_limit, event_core&>;

/// Blocks the thread until it passes. Errors: std::logic_error on a worker that would block.
void wait_here(event_core& core);

/// What everything that stands on an event_core has: the forms of waiting.
class event_base {
public:
    /// Until it passes; at once if it can.
    [[nodiscard]] event_request wait() noexcept { return event_request(core_); }
    /// For at most `limit`. Returns: false when the time was up first; what lets it pass at the
    /// same moment wins. Errors: std::invalid_argument, at the call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] timed_event_request wait_for(std::chrono::duration<Rep, Period> limit) {
        return timed_event_request(toadstone::detail::time_limit(limit), core_);
    }
    /// wait_for() up to a point in time, by steady_clock or system_clock.
    template <class Clock, class Duration>
    [[nodiscard]] timed_event_request
    wait_until(std::chrono::time_point<Clock, Duration> limit) {
        return timed_event_request(toadstone::detail::time_limit(limit), core_);
    }
    /// Blocks a plain thread. Errors: std::logic_error on a worker that would block.
    void blocking_wait() { wait_here(core_); }

protected:
    constexpr event_base(bool is_set, event_kind kind) noexcept : core_(is_set, kind) {}
    ~event_base() = default;

    event_core core_;
};

} // namespace toadstone::sync::detail

#endif
