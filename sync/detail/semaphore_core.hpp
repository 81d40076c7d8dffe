// The semaphore without its permits' lifetime: a word, and a queue.
#ifndef TOADSTONE_SYNC_DETAIL_SEMAPHORE_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_SEMAPHORE_CORE_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace toadstone::sync::detail {

/// Somebody who waits for permits. Refused: the semaphore was closed.
class semaphore_waiter : public toadstone::detail::waiter {
public:
    explicit semaphore_waiter(std::uint64_t wanted) noexcept : wanted_(wanted) {}

protected:
    friend class semaphore_core;
    std::uint64_t wanted_;
};

/// The word is the number of permits that are free, and three bits.
///
///     waiting  closed  meaning
///        0       0     the fast paths: one compare-and-swap takes permits, one gives them back
///        1       0     the first in the queue wants more than there is
///        0       1     nobody gets any; what is held comes back all the same
///        1       1     impossible: a closed one has no waiters
///
/// Nobody takes permits past a queue, so who wants many is not starved by those who want few.
class semaphore_core {
public:
    static constexpr std::uint64_t most = (std::uint64_t{1} << 60) - 1;

    constexpr semaphore_core(std::uint64_t permits, std::string_view name) noexcept
        : word_(permits << count_shift), name_(name) {}
    semaphore_core(const semaphore_core&) = delete;
    semaphore_core& operator=(const semaphore_core&) = delete;
    ~semaphore_core() {
        TOADSTONE_ASSERT_OF(queue_.empty() || toadstone::detail::ends_with_program(this),
                            "a semaphore is destroyed only when nobody waits for it",
                            describe());
    }

    /// False: settle_or_queue() knows why.
    [[nodiscard]] bool try_acquire(std::uint64_t wanted) noexcept {
        std::uint64_t word = word_.look();
        return (word & flags) == 0 && word >> count_shift >= wanted &&
               word_.acquire(word, word - (wanted << count_shift));
    }
    /// Takes, or is refused, as the waiter's state then says: true. Or queues the waiter.
    [[nodiscard]] bool settle_or_queue(semaphore_waiter& waiter) noexcept;
    /// The same, but never queues: false when it would.
    [[nodiscard]] bool acquire_now(semaphore_waiter& waiter) noexcept;
    [[nodiscard]] bool withdraw(semaphore_waiter& waiter,
                                toadstone::detail::waiter::state how) noexcept;
    void hand_back(semaphore_waiter& waiter) noexcept {
        if (waiter.how() == semaphore_waiter::state::granted) release(waiter.wanted_);
    }

    /// Gives permits back, or new ones. Resumes nothing.
    void release(std::uint64_t count) noexcept {
        std::uint64_t word = word_.look();
        if ((word & flags) != 0 || !word_.release(word, word + (count << count_shift)))
            [[unlikely]]
            release_slowly(count);
    }
    void close() noexcept;

    /// Hints, unless nobody else uses it.
    [[nodiscard]] std::uint64_t available() const noexcept {
        return word_.look() >> count_shift;
    }
    [[nodiscard]] bool is_closed() const noexcept { return (word_.look() & closed) != 0; }
    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    /// "semaphore 'connections'"; empty without a name.
    [[nodiscard, gnu::cold]] std::string describe() const;
    [[noreturn, gnu::cold]] void throw_closed() const;

private:
    static constexpr std::uint64_t lock = 1;
    static constexpr std::uint64_t waiting = 2;
    static constexpr std::uint64_t closed = 4;
    static constexpr std::uint64_t flags = 7;
    static constexpr unsigned count_shift = 3;

    using ended_waits = toadstone::detail::ended_waits;
    [[nodiscard]] static bool settle(std::uint64_t& word, semaphore_waiter& waiter,
                                     bool nobody_waits) noexcept;
    [[nodiscard]] std::uint64_t serve(std::uint64_t word, ended_waits& ended) noexcept;
    void release_slowly(std::uint64_t count) noexcept;

    toadstone::detail::locked_word<std::uint64_t, lock> word_;
    toadstone::detail::wait_queue queue_; // under the lock of the word
    std::string_view name_;
};

/// The leaf behind acquire().
class permit_leaf : public toadstone::detail::wait_leaf<semaphore_core, semaphore_waiter> {
public:
    [[nodiscard]] bool await_ready() noexcept {
        if (!may_complete_at_once() || !core_->try_acquire(wanted_)) return false;
        state_ = state::granted;
        return true;
    }

protected:
    permit_leaf(semaphore_core& core, std::uint64_t wanted) noexcept
        : wait_leaf(core, wanted) {}
    ~permit_leaf() = default;

    void check() const {
        if (how() != state::granted) [[unlikely]]
            core_->throw_closed();
    }
};

/// For code that does not wait: `block` the thread, or false. Errors: closed_error;
/// std::logic_error when a worker's thread would block.
[[nodiscard]] bool acquire_here(semaphore_core& core, std::uint64_t wanted, bool block);

} // namespace toadstone::sync::detail

#endif
