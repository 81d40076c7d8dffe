// Beginning a pause, and its ends: time, cancellation, close().
#include <toadstone/io/detail/back_off.hpp>

#include <toadstone/runtime/executor.hpp>

namespace toadstone::io::detail {

void pause_of::end() noexcept {
    if (!now_) return;
    now_->disarm(now_->ctx_->home());
    now_->time_up();
}

void back_off_leaf::begin() noexcept {
    of_->now_ = this;
    arm(ctx_->home());
}

bool back_off_leaf::cancel(toadstone::cancel_reason, bool) noexcept {
    if (!armed()) return false; // queued already
    disarm(ctx_->home());
    of_->now_ = nullptr;
    return true;
}

void back_off_leaf::time_up() noexcept {
    of_->now_ = nullptr;
    ctx_->home().push(*ctx_);
}

} // namespace toadstone::io::detail
