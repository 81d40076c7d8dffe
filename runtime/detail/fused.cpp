// Who ended the leaf inside a fused boundary, and what that means.
#include <toadstone/runtime/detail/fused.hpp>

#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/executor.hpp>

namespace toadstone::detail {

void fused_leaf::ask_inside(cancel_reason reason) noexcept {
    if (!inside_ || asked_ || asked_from_outside_ || ending_ != ending::open) return;
    asked_ = true;
    reason_ = reason;
    ctx_->ask_leaf();
    if (!inside_->cancel(reason, false)) return; // its end comes as usual
    withdrawn_ = true;
    ctx_->home().push(*ctx_);
}

void fused_leaf::ask_before_begin(cancel_reason reason) noexcept {
    asked_ = true;
    reason_ = reason;
    withdrawn_ = true;
    ctx_->ask_leaf();
    ctx_->home().push(*ctx_);
}

// What another thread has asked for counts from then on, whether its post has come or not.
void fused_leaf::hear() noexcept {
    if (!asked_ && !asked_from_outside_) asked_ = requested_elsewhere(reason_);
}

bool fused_leaf::cancel(cancel_reason reason, bool force) noexcept {
    if (withdrawn_) return false; // queued already
    hear();
    if (!asked_) asked_from_outside_ = true;
    if (!inside_->cancel(reason, force)) return false;
    quiet();
    return true;
}

// The task stops. A leaf that this boundary has ended before is torn down for its reason.
bool fused_leaf::taken() noexcept {
    quiet();
    if (ending_ != ending::open) return ending_ != ending::result;
    hear();
    if (!withdrawn_ && !inside_->taken()) {
        ending_ = ending::result;
        return false;
    }
    if (asked_) tear_inside();
    return true;
}

bool fused_leaf::stopped(cancel_reason& why) noexcept {
    settle();
    why = reason_;
    return ends_task();
}

void fused_leaf::settle() noexcept {
    quiet();
    if (ending_ != ending::open) return;
    hear();
    if (asked_ && (withdrawn_ || inside_->taken())) {
        ending_ = ending::limit;
        tear_inside();
    } else if (inside_->stopped(reason_)) {
        ending_ = ending::stopped;
    } else {
        ending_ = ending::result;
    }
}

// What is left half done is so because this boundary has ended it.
void fused_leaf::tear_inside() noexcept {
    teardown_record record;
    record.what = teardown_record::kind::cancelled;
    record.reason = reason_;
    record.where = ctx_->where();
    record.task = ctx_;
    const slice_scope slice(ctx_, &record);
    destroy_inside();
}

void fused_leaf::throw_stopped() const {
    throw task_cancelled(reason_);
}

} // namespace toadstone::detail
