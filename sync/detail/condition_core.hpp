// The condition variable: a queue of those who have opened their lock.
#ifndef TOADSTONE_SYNC_DETAIL_CONDITION_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_CONDITION_CORE_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/limit_timer.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/sync/detail/guard_core.hpp>
#include <toadstone/sync/detail/mutex_core.hpp>
#include <toadstone/sync/detail/open_section.hpp>

#include <coroutine>
#include <cstdint>

namespace toadstone::sync::detail {

/// Somebody who waits to be notified.
class condition_waiter : public toadstone::detail::waiter {
    friend class condition_core;
};

class condition_core {
public:
    constexpr condition_core() noexcept = default;
    condition_core(const condition_core&) = delete;
    condition_core& operator=(const condition_core&) = delete;
    ~condition_core() {
        TOADSTONE_ASSERT(queue_.empty() || toadstone::detail::ends_with_program(this),
                         "a condition variable is destroyed only when nobody waits for it");
    }

    /// Whoever waits has the mutex, still. Errors: std::logic_error if others wait with another
    /// mutex.
    void add(condition_waiter& one, const mutex_core& mutex);
    [[nodiscard]] bool withdraw(condition_waiter& one,
                                toadstone::detail::waiter::state how) noexcept;
    void notify(bool all) noexcept {
        if (word_.look() & waiting) notify_waiters(all);
    }

private:
    static constexpr std::uint32_t lock = 1;
    static constexpr std::uint32_t waiting = 2;

    void notify_waiters(bool all) noexcept;

    toadstone::detail::locked_word<std::uint32_t, lock> word_{0};
    // Under the lock of the word:
    toadstone::detail::wait_queue queue_;
    const mutex_core* mutex_ = nullptr; // of those who wait
};

/// The leaf behind wait(). It waits in the queue of the condition variable, and, once notified,
/// cancelled or out of time, in that of the mutex: who notifies moves it there.
///
/// Whatever ends the wait, the guard holds the mutex again before anything else happens in the
/// task, destructors included. A wait that is cancelled takes the mutex even if it is poisoned,
/// and its guard poisons nothing: the section was open to others.
class condition_leaf : public toadstone::detail::leaf, public condition_waiter {
public:
    condition_leaf(condition_core& core, guard_core& guard) noexcept
        : core_(&core), section_(guard) {}

    bool cancel(cancel_reason, bool) noexcept override {
        if (core_->withdraw(*this, state::withdrawn)) lock_again_here();
        return false; // it ends when it has the mutex
    }
    bool taken() noexcept override;

    /// Errors: std::logic_error if the guard holds nothing, or if others wait with another
    /// mutex.
    [[nodiscard]] bool await_ready();
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) {
        if (suspend(frame)) {
            open();
        } else {
            section_.spare_guard(); // it is stopped where the data is whole
        }
    }
    /// Errors: poison_error if the mutex was poisoned meanwhile; the guard holds nothing then.
    void await_resume() { section_.close_healthy(); }

protected:
    ~condition_leaf() = default;

    void open();
    void spare_guard() noexcept { section_.spare_guard(); }
    void wake() noexcept override {
        if (section_.lock_again()) ctx_->home().schedule(*ctx_);
    }
    /// On the home worker, when the wait is over by withdrawal.
    void lock_again_here() noexcept {
        if (section_.lock_again()) ctx_->home().push(*ctx_);
    }

    condition_core* core_;

private:
    open_section section_;
};

class timed_condition_leaf : public condition_leaf, toadstone::detail::limit_timer {
public:
    timed_condition_leaf(condition_core& core, guard_core& guard,
                         toadstone::detail::time_limit limit) noexcept
        : condition_leaf(core, guard), limit_timer(limit) {}

    bool cancel(cancel_reason reason, bool force) noexcept override {
        disarm(ctx_->home());
        return condition_leaf::cancel(reason, force);
    }
    bool taken() noexcept override {
        disarm(ctx_->home());
        return condition_leaf::taken();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) {
        if (!suspend(frame)) {
            spare_guard();
            return;
        }
        open();
        arm(ctx_->home()); // what notifies it resumes it later, on this worker
    }
    /// False: the time was up first.
    [[nodiscard]] bool await_resume() {
        disarm(ctx_->home());
        condition_leaf::await_resume();
        return how() != state::timed_out;
    }

protected:
    ~timed_condition_leaf() = default;

private:
    void time_up() noexcept override {
        if (core_->withdraw(*this, state::timed_out)) lock_again_here();
    }
};

/// Blocks a plain thread, or holds a fiber. Errors: as condition_leaf; std::logic_error on a
/// worker outside of fibers.
void wait_here(condition_core& core, guard_core& guard);

} // namespace toadstone::sync::detail

#endif
