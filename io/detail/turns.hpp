// turns: of those who want to do what one at a time may do, whose turn it is.
#ifndef TOADSTONE_IO_DETAIL_TURNS_HPP
#define TOADSTONE_IO_DETAIL_TURNS_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/io_op.hpp>
#include <toadstone/runtime/executor.hpp>

#include <coroutine>

namespace toadstone::io::detail {

class turn;
class turn_op;

/// The turns at one object. Empty while the object is unused, so that it need not move.
///
/// Threads: one worker at a time, which has them as long as one of its tasks does. Others are
/// refused.
/// Fairness: first come, first served.
class turns {
public:
    turns() noexcept = default;
    turns(const turns&) = delete;
    turns& operator=(const turns&) = delete;

private:
    friend class turn;
    friend class turn_op;
    void pass_on() noexcept;

    /// Whose they are. Taken from nobody (A) it has the line as the last one (R) left it.
    toadstone::detail::atomic<const toadstone::detail::executor*> worker_{nullptr};
    turn_op* first_ = nullptr;
    turn_op* last_ = nullptr;
};

/// Somebody's turn, for any number of operations, of which the first may have to wait for it.
/// Its end passes it on: the operation of the next in line begins at once.
class turn {
public:
    /// Of a task of the worker `here`. Empty if they are another's.
    turn(turns& of, const toadstone::detail::executor& here) noexcept : of_(&of) {
        const toadstone::detail::executor* whose = nullptr;
        held_ =
            of.worker_.compare_exchange_strong(whose, &here, std::memory_order_acquire, // (A)
                                               std::memory_order_relaxed);
        if (!held_ && whose != &here) of_ = nullptr;
    }
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;
    ~turn() {
        if (held_) of_->pass_on();
    }
    [[nodiscard]] explicit operator bool() const noexcept { return of_ != nullptr; }

private:
    friend class turns;
    friend class turn_op;
    turns* of_;
    bool held_;
};

/// An operation that begins when it is its turn.
///
/// Cancellation: a cancellation point. Before its turn it is taken at once; then as io_op.
class turn_op : public toadstone::detail::io_op {
public:
    bool cancel(toadstone::cancel_reason reason, bool force) noexcept override;

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (!suspend(frame)) return;
        if (turn_->held_) [[likely]] {
            begin();
        } else {
            wait();
        }
    }

protected:
    explicit turn_op(turn& of) noexcept : turn_(&of) {}

private:
    friend class turns;
    void wait() noexcept;

    turn* turn_;
    turn_op* next_ = nullptr;
    turn_op* previous_ = nullptr;
};

} // namespace toadstone::io::detail

#endif
