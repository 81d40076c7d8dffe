// The end of a shared task is told to all who wait for it.
#include <toadstone/runtime/detail/shared_task_core.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/spawn.hpp>

namespace toadstone::detail {

// For good, because a task tells one waiter. It may end on its worker before this returns.
bool shared_task_core::begin() noexcept {
    const auto how = root_.wait(*this);
    if (how == root_task::wait_result::waits) return true;
    {
        const std::lock_guard hold(lock_);
        ended_ = true;
    }
    drop_reference();
    return how == root_task::wait_result::ended;
}

void shared_task_core::root_ended() noexcept {
    ended_waits over;
    {
        const std::lock_guard hold(lock_);
        ended_ = true;
        over.take_all(waiting_, waiter::state::granted);
    }
    over.wake();
    drop_reference();
}

void shared_task_core::add_owner() noexcept {
    owners_.fetch_add(1, std::memory_order_relaxed);
}

// Who waits has a copy, so that nobody waits any more when the last has gone. If the end cannot
// be kept from being told, it finds nobody, and then drops its own reference.
void shared_task_core::drop_owner() noexcept {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    bool detached = false;
    {
        const std::lock_guard hold(lock_);
        detached = !ended_ && root_.stop_waiting(*this);
    }
    if (detached) drop_reference();
    drop_reference();
}

void shared_task_core::drop_reference() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

bool shared_task_core::settle_or_queue(share_waiter& waiter) noexcept {
    const std::lock_guard hold(lock_);
    if (ended_) return true;
    waiting_.add(waiter);
    return false;
}

bool shared_task_core::withdraw(share_waiter& waiter, waiter::state how) noexcept {
    const std::lock_guard hold(lock_);
    return waiting_.withdraw(waiter, how);
}

} // namespace toadstone::detail
