// Waiting for a mutex in a task and in a plain thread.
#ifndef TOADSTONE_SYNC_DETAIL_LOCK_AWAITER_HPP
#define TOADSTONE_SYNC_DETAIL_LOCK_AWAITER_HPP

#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/sync/detail/guard_core.hpp>
#include <toadstone/sync/detail/mutex_core.hpp>

#include <coroutine>
#include <source_location>

namespace toadstone::sync::detail {

/// Queues `waiter` for a task, or says that it is settled: see mutex_core::acquire_or_queue().
[[nodiscard]] bool ask_for(mutex_core& mutex, lock_waiter& waiter,
                           const toadstone::detail::context& task) noexcept;
/// What a wait that was not granted ends with. Errors: poison_error, would_deadlock.
[[noreturn, gnu::cold]] void throw_failure(lock_waiter& waiter, const mutex_core& mutex,
                                           const toadstone::detail::context& task);

/// A leaf that waits for a lock, and says who asks.
template <class Core>
class asking_leaf : public toadstone::detail::wait_leaf<Core, lock_waiter> {
    using base = toadstone::detail::wait_leaf<Core, lock_waiter>;

public:
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (this->suspend(frame)) static_cast<void>(queue_up());
    }

protected:
    using base::base;
    ~asking_leaf() = default;

    /// True: queued.
    [[nodiscard]] bool queue_up() noexcept {
        return this->queued_unless(ask_for(*this->core_, *this, *this->ctx_));
    }
    /// Throws unless the lock was granted.
    void check() {
        if (this->how() != lock_waiter::state::granted) [[unlikely]]
            throw_failure(*this, *this->core_, *this->ctx_);
    }
};

/// The leaf behind every co_await on a mutex. Its place is where lock() was called.
class lock_leaf : public asking_leaf<mutex_core> {
public:
    [[nodiscard, gnu::always_inline]] bool await_ready() {
        prepare();
        if (!may_complete_at_once() || !core_->try_acquire()) return false;
        state_ = state::granted;
        return true;
    }

protected:
    lock_leaf(mutex_core& mutex, wants what, policies policy) noexcept
        : asking_leaf(mutex, what, policy) {}
    ~lock_leaf() = default;

    /// Later nothing may fail.
    void prepare() {
        if (policy_.defers()) [[unlikely]]
            static_cast<void>(ctx_->extras());
    }
    [[nodiscard]] guard_seed make_guard() noexcept {
        core_->set_owner(ctx_->serial());
        const bool defers = policy_.defers();
        if (defers) [[unlikely]]
            start_deferring();
        // The level is 0: every resumption starts a slice, and there is no co_await in
        // destructors and handlers.
        return {*core_, where_, policy_, defers, 0};
    }

private:
    void start_deferring() noexcept;
};

/// lock_leaf with a time limit.
using timed_lock_leaf = toadstone::detail::timed_wait<lock_leaf>;

/// The state through which a guard of this policy defers the running task's cancellation; empty
/// for other policies and on a plain thread. Errors: std::bad_alloc.
[[nodiscard]] toadstone::detail::cancel_ref task_that_defers(on_cancel policy);
inline void start_deferring(toadstone::detail::cancel_state& task) noexcept {
    task.deferrals.fetch_add(1, std::memory_order_relaxed);
}
void stop_deferring(toadstone::detail::cancel_state& task) noexcept;
/// What the guard of ordinary code is made of. `deferring`: as above.
[[nodiscard]] inline guard_seed seed_here(mutex_core& core, std::source_location where,
                                          policies policy,
                                          toadstone::detail::cancel_ref deferring) noexcept {
    const bool defers = static_cast<bool>(deferring);
    if (defers) {
        start_deferring(*deferring);
        core.set_deferring(std::move(deferring));
    }
    return {core, where, policy, defers, toadstone::detail::level()};
}

/// Acquires for ordinary code. Blocks the thread when `block` is set; else false: it would
/// wait.
/// Errors: poison_error, would_deadlock; std::logic_error when a worker's thread would block.
[[nodiscard]] bool lock_here(mutex_core& mutex, bool block);
} // namespace toadstone::sync::detail

#endif
