// Waiting for a local mutex: queueing, leaving, failing.
#include <toadstone/sync/detail/local_lock_leaf.hpp>

#include <toadstone/runtime/executor.hpp>
#include <toadstone/sync/would_deadlock.hpp>

namespace toadstone::sync::detail {

bool local_lock_leaf::queue_up() noexcept {
    // Settled at once, but through the ready queue: the budget is used up, or the lock failed.
    const bool settled = core_->acquire_or_queue(*this, *ctx_, where_);
    if (settled) ctx_->home().push(*ctx_);
    return !settled;
}

bool local_lock_leaf::cancel(cancel_reason, bool) noexcept {
    return core_->withdraw(*this, state::withdrawn);
}

// A lock that was granted to a task which has to stop goes on, clean, to the next in line.
bool local_lock_leaf::taken() noexcept {
    core_->hand_back(*this);
    return true;
}

void local_lock_leaf::fail() {
    if (how() == state::refused) throw poison_error(take_failure());
    throw would_deadlock(core_->name(),
                         "the task that asks for it, or one that waits for that");
}

local_seed local_policy_leaf::granted() {
    static_cast<void>(local_lock_leaf::granted());
    if (wanted() == wants::repair) core_->repair_for_others();
    return core_->begin_as(policy_, *ctx_);
}

} // namespace toadstone::sync::detail
