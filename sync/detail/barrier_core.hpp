// The barrier: rounds of arrivals, and what breaks one.
#ifndef TOADSTONE_SYNC_DETAIL_BARRIER_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_BARRIER_CORE_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>

namespace toadstone::sync::detail {

/// Who broke a barrier, and why.
struct break_cause {
    cancel_reason reason = cancel_reason::requested;
    std::uint64_t task_id = 0; ///< 0: a plain thread, or somebody who called break_now()
    bool declared = false;
};

/// Somebody who has arrived. Refused: the barrier is broken.
class barrier_waiter : public toadstone::detail::waiter {
protected:
    friend class barrier_core;
    bool last_ = false;
    break_cause own_;    // if he leaves; his worker's
    break_cause broken_; // of whoever left, if he is refused or is the one
};

class barrier_core {
public:
    constexpr explicit barrier_core(std::size_t parties) noexcept : parties_(parties) {}
    barrier_core(const barrier_core&) = delete;
    barrier_core& operator=(const barrier_core&) = delete;
    ~barrier_core() {
        TOADSTONE_ASSERT(queue_.empty() || toadstone::detail::ends_with_program(this),
                         "a barrier is destroyed only when nobody waits at it");
    }

    /// Arrives: the last of the round, or refused, as the waiter's state then says: true. Or
    /// queues it.
    [[nodiscard]] bool settle_or_queue(barrier_waiter& one) noexcept;
    /// Whoever leaves breaks it: the round will not be complete.
    [[nodiscard]] bool withdraw(barrier_waiter& one,
                                toadstone::detail::waiter::state how) noexcept;
    void hand_back(barrier_waiter&) noexcept {} // a round that is over stays so
    void break_it(const break_cause& why) noexcept;
    void reset() noexcept;
    [[nodiscard]] bool is_broken() const noexcept { return (lock_.read() & broken) != 0; }
    [[nodiscard]] std::size_t waiting() const noexcept;
    [[nodiscard]] std::size_t parties() const noexcept { return parties_; }

private:
    static constexpr std::uint32_t locked = 1;
    static constexpr std::uint32_t broken = 2;

    using ended_waits = toadstone::detail::ended_waits;
    void break_round(const break_cause& why, ended_waits& ended) noexcept;

    const std::size_t parties_;
    toadstone::detail::locked_word<std::uint32_t, locked> lock_{0};
    // Under that lock:
    std::size_t arrived_ = 0;
    break_cause why_;
    toadstone::detail::wait_queue queue_;
};

/// The leaf behind arrive_and_wait().
class barrier_leaf : public toadstone::detail::wait_leaf<barrier_core, barrier_waiter> {
public:
    static constexpr bool acquires = false;

    explicit barrier_leaf(barrier_core& core) noexcept : wait_leaf(core) {}

    bool cancel(cancel_reason reason, bool force) noexcept override {
        own_.reason = reason;
        return wait_leaf::cancel(reason, force);
    }
    /// The round is complete, or broken: what it tells is delivered, for the others know it.
    bool taken() noexcept override { return false; }

    [[nodiscard]] bool await_ready() noexcept {
        own_ = {cancel_reason::timeout, ctx_->id(), false}; // as long as nobody cancels him
        return false;
    }
    [[nodiscard]] bool await_resume() const {
        if (how() != state::granted) [[unlikely]]
            fail();
        return last_;
    }

protected:
    ~barrier_leaf() = default;
    [[noreturn, gnu::cold]] void fail() const;
};

/// With a time limit; whoever runs out of time breaks it.
class timed_barrier_leaf : public toadstone::detail::timed_wait<barrier_leaf> {
public:
    timed_barrier_leaf(barrier_core& core, toadstone::detail::time_limit limit) noexcept
        : timed_wait(limit, core) {}
    [[nodiscard]] bool await_resume() {
        static_cast<void>(in_time()); // out of time, it is refused like the others
        return barrier_leaf::await_resume();
    }

protected:
    ~timed_barrier_leaf() = default;
};

/// Blocks a plain thread. Returns: it was the last. Errors: barrier_broken; std::logic_error on
/// a worker.
[[nodiscard]] bool arrive_here(barrier_core& core);

} // namespace toadstone::sync::detail

#endif
