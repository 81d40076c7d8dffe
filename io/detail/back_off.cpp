// Beginning a pause, and its ends: time, cancellation, close().
#include <toadstone/io/detail/back_off.hpp>

#include <toadstone/runtime/executor.hpp>

namespace toadstone::io::detail {

void back_offs::end() noexcept {
    while (back_off_leaf* const each = first_) {
        each->disarm(each->ctx_->home());
        each->time_up();
    }
}

void back_off_leaf::begin() noexcept {
    next_ = of_->first_;
    if (next_) next_->previous_ = this;
    of_->first_ = this;
    arm(ctx_->home());
}

void back_off_leaf::unlink() noexcept {
    (previous_ ? previous_->next_ : of_->first_) = next_;
    if (next_) next_->previous_ = previous_;
}

bool back_off_leaf::cancel(toadstone::cancel_reason, bool) noexcept {
    if (!armed()) return false; // queued already
    disarm(ctx_->home());
    unlink();
    return true;
}

void back_off_leaf::time_up() noexcept {
    unlink();
    ctx_->home().push(*ctx_);
}

} // namespace toadstone::io::detail
