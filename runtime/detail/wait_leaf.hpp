// Waiting in a queue, as a task does.
#ifndef TOADSTONE_RUNTIME_DETAIL_WAIT_LEAF_HPP
#define TOADSTONE_RUNTIME_DETAIL_WAIT_LEAF_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/limit_timer.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/executor.hpp>

#include <coroutine>
#include <utility>

namespace toadstone::detail {

/// The leaf behind a co_await on something that has a wait_queue. Of `Core`, that something:
///
///     bool settle_or_queue(Waiter&)   true: it is over, as the waiter's state says; false: it
///                                     is queued, and its wake-up may come at any time, from
///                                     any thread
///     bool withdraw(Waiter&, how)     takes the waiter out of the queue; false: it is in it no
///                                     more, and its wake-up has come or is coming
///     void hand_back(Waiter&)         the task has to stop: what the wait that is over has
///                                     given goes on to the next in line
///
/// Whoever derives from it says what await_ready() does.
template <class Core, class Waiter>
class wait_leaf : public leaf, public Waiter {
public:
    static constexpr bool acquires = true;

    bool cancel(cancel_reason, bool) noexcept override {
        return core_->withdraw(*this, waiter::state::withdrawn);
    }
    bool taken() noexcept override {
        core_->hand_back(*this);
        return true;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) static_cast<void>(queue_up());
    }

protected:
    template <class... Args>
    explicit wait_leaf(Core& core, Args&&... args) noexcept
        : Waiter(std::forward<Args>(args)...), core_(&core) {}
    ~wait_leaf() = default;

    void wake() noexcept override { ctx_->home().schedule(*ctx_); }
    /// True: queued; a wake-up may be on its way.
    [[nodiscard]] bool queue_up() noexcept {
        return queued_unless(core_->settle_or_queue(*this));
    }
    /// If it is settled at once, the task goes on through the ready queue all the same: one
    /// whose budget is used up lets others run, and the verdict is reached in one place.
    [[nodiscard]] bool queued_unless(bool settled) noexcept {
        if (settled) ctx_->home().push(*ctx_);
        return !settled;
    }

    Core* core_;
};

/// A wait_leaf with a time limit.
template <class Leaf>
class timed_wait : public Leaf, limit_timer {
public:
    bool cancel(cancel_reason reason, bool force) noexcept override {
        stop_timer();
        return Leaf::cancel(reason, force);
    }
    bool taken() noexcept override {
        stop_timer();
        return Leaf::taken();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        // Only this worker ends the suspension, later, so *this is still there.
        if (this->suspend(frame) && this->queue_up()) arm(this->ctx_->home());
    }

protected:
    template <class... Args>
    explicit timed_wait(time_limit limit, Args&&... args) noexcept
        : Leaf(std::forward<Args>(args)...), limit_timer(limit) {}
    ~timed_wait() = default;

    /// First thing in await_resume. False: the time was up first.
    [[nodiscard]] bool in_time() noexcept {
        stop_timer();
        return this->how() != waiter::state::timed_out;
    }

private:
    void stop_timer() noexcept { disarm(this->ctx_->home()); }
    /// If the grant came first, it is delivered and the time limit forgotten.
    void time_up() noexcept override {
        if (this->core_->withdraw(*this, waiter::state::timed_out))
            this->ctx_->home().push(*this->ctx_);
    }
};

} // namespace toadstone::detail

#endif
