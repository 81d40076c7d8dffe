// What all boundaries share: completing, and passing a stop on.
#include <toadstone/runtime/detail/boundary.hpp>

#include <toadstone/runtime/executor.hpp>

namespace toadstone::detail {

context* boundary::pass_on(cancel_reason reason) noexcept {
    if (ctx_->deferred()) {
        stopped_ = true;
        stop_reason_ = reason;
    } else {
        ctx_->stop_for(reason);
    }
    return ctx_;
}

void boundary::check_stopped() const {
    if (stopped_) throw task_cancelled(stop_reason_);
}

void boundary::inherit_request(context& child) noexcept {
    if (ctx_->should_stop()) child.request(ctx_->reason(), ctx_->forced());
}

} // namespace toadstone::detail
