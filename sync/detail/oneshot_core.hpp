// A oneshot without its message's type: who is there, and who waits for what.
#ifndef TOADSTONE_SYNC_DETAIL_ONESHOT_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_ONESHOT_CORE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

#include <coroutine>
#include <cstdint>
#include <exception>

namespace toadstone::sync::detail {

/// The receiver waits for the answer. Granted: there is one, or there will be none.
class answer_waiter : public toadstone::detail::waiter {
protected:
    ~answer_waiter() override = default;
    friend class oneshot_core;
};
/// The sender waits until nobody wants its answer.
class closing_waiter : public toadstone::detail::waiter {
protected:
    ~closing_waiter() override = default;
    friend class oneshot_core;
};

/// One word; each bit changes once, but for `waits`, `sending` and the lock `busy`.
///
///     sender     receiver   here: whoever clears the second of both frees it
///     sending    the sender writes its message: it will be a value, or is thrown and none
///     value      the message is there: written before, by the sender
///     failure    the exception is there, the same
///     refusing   the receiver has closed: `sending` is not set any more
///     waits      a queue is not empty: the fast paths are none
///
/// The answer is settled when it is there, or when none will come: `refusing` or not `sender`,
/// and not `sending`. A message that is moved out leaves `value` set and is marked by the
/// receiver alone.
///
/// Orderings: (A) who finds the answer settled, by (R) of whoever settled it, sees it; who
/// finds itself the last sees what the other did.
class oneshot_core {
    static constexpr std::uint32_t busy = 1;
    static constexpr std::uint32_t sender = 2;
    static constexpr std::uint32_t receiver = 4;
    static constexpr std::uint32_t sending = 8;
    static constexpr std::uint32_t value = 16;
    static constexpr std::uint32_t failure = 32;
    static constexpr std::uint32_t refusing = 64;
    static constexpr std::uint32_t waits = 128;
    using state = toadstone::detail::waiter::state;
    using ended_waits = toadstone::detail::ended_waits;

public:
    oneshot_core() = default;
    oneshot_core(const oneshot_core&) = delete;
    oneshot_core& operator=(const oneshot_core&) = delete;

    /// For the sender: from now on its message will be taken. False: nobody wants it.
    [[nodiscard]] bool begin_sending() noexcept {
        std::uint32_t seen = word_.look();
        return (seen & (busy | refusing | waits)) == 0 && word_.acquire(seen, seen | sending)
                   ? true
                   : begin_sending_slowly();
    }
    /// There will be no message, but perhaps another.
    void undo_sending() noexcept;
    /// The message is written, and the sender leaves. True: it was the last.
    [[nodiscard]] bool sent() noexcept {
        std::uint32_t seen = sender | receiver | sending;
        return word_.release(seen, receiver | value) ? false : settle(value);
    }
    /// The sender leaves with an exception in the place of an answer, or with nothing.
    /// True: it was the last.
    [[nodiscard]] bool fail(std::exception_ptr error) noexcept;
    [[nodiscard]] bool leave_unanswered() noexcept { return settle(0); }
    /// The receiver leaves. True: it was the last.
    [[nodiscard]] bool leave_receiving() noexcept {
        return word_.read() & sender ? refuse(true) : true;
    }
    /// No answer is wanted any more.
    void close() noexcept { static_cast<void>(refuse(false)); }

    [[nodiscard]] bool is_settled() const noexcept { return is_settled(word_.read()); }
    [[nodiscard]] bool is_refused() const noexcept { return (word_.look() & refusing) != 0; }
    /// For the receiver, once it is settled. False: throw_no_value() says why.
    [[nodiscard]] bool has_value() const noexcept {
        return (word_.look() & value) != 0 && !taken_;
    }
    void mark_taken() noexcept { taken_ = true; }
    [[noreturn, gnu::cold]] void throw_no_value() const;
    [[noreturn, gnu::cold]] static void refuse_second_wait();

    /// True: settled, or somebody waits already, as the waiter's state then says. False: it is
    /// queued.
    [[nodiscard]] bool settle_or_queue(answer_waiter& waiter) noexcept;
    [[nodiscard]] bool settle_or_queue(closing_waiter& waiter) noexcept;
    [[nodiscard]] bool withdraw(answer_waiter& waiter, state how) noexcept {
        return withdraw(answer_, waiter, how);
    }
    [[nodiscard]] bool withdraw(closing_waiter& waiter, state how) noexcept {
        return withdraw(closing_, waiter, how);
    }
    // The answer stays where it is until somebody moves it out.
    void hand_back(answer_waiter&) noexcept {}
    void hand_back(closing_waiter&) noexcept {}

    /// Blocks the thread until it is settled. Errors: std::logic_error on a worker that would.
    void wait_blocking();

protected:
    ~oneshot_core() = default;

private:
    using wait_queue = toadstone::detail::wait_queue;
    [[nodiscard]] static bool is_settled(std::uint32_t word) noexcept {
        if (word & (value | failure)) return true;
        return ((word & refusing) || !(word & sender)) && !(word & sending);
    }
    [[nodiscard]] bool begin_sending_slowly() noexcept;
    [[nodiscard]] bool settle(std::uint32_t how) noexcept;
    [[nodiscard]] bool refuse(bool leave) noexcept;
    template <class Waiter>
    [[nodiscard]] bool queue(wait_queue& in, Waiter& waiter, std::uint32_t word, bool settled);
    [[nodiscard]] bool withdraw(wait_queue& from, toadstone::detail::waiter& waiter,
                                state how) noexcept;
    void unlock(std::uint32_t word) noexcept;

    toadstone::detail::locked_word<std::uint32_t, busy> word_{sender | receiver};
    bool taken_ = false; // the receiver's
    // Changed under the lock.
    wait_queue answer_;
    wait_queue closing_;
    std::exception_ptr failure_; // before the bit
};

/// The leaf behind every co_await for an answer.
class answer_leaf : public toadstone::detail::wait_leaf<oneshot_core, answer_waiter> {
public:
    static constexpr bool acquires = false;

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && core_->is_settled();
    }

protected:
    explicit answer_leaf(oneshot_core& core) noexcept : wait_leaf(core) {}
    ~answer_leaf() = default;

    void check() const {
        if (how() == state::deadlock) [[unlikely]]
            oneshot_core::refuse_second_wait();
    }
};

/// The leaf behind a sender's wait for the end of the interest in it.
class closing_leaf : public toadstone::detail::wait_leaf<oneshot_core, closing_waiter> {
public:
    static constexpr bool acquires = false;

    explicit closing_leaf(oneshot_core& core) noexcept : wait_leaf(core) {}
    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && core_->is_refused();
    }
    void await_resume() const;

protected:
    ~closing_leaf() = default;
};

} // namespace toadstone::sync::detail

#endif
