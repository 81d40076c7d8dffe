// The link between a token, which may be cancelled on any thread, and a context.
#include <toadstone/runtime/with_token.hpp>

#include <toadstone/runtime/detail/level.hpp>

namespace toadstone::detail {

void token_link::listen() noexcept {
    if (!token_.can_be_cancelled()) return;
    listening_ = token_.state()->listen(*this);
    if (!listening_) target_.request(token_.state()->reason());
}

void token_link::stop() noexcept {
    if (!listening_) return;
    listening_ = false;
    token_.state()->leave(*this);
    while (waiting()) home_.take_inbox();
}

void token_link::cancelled(cancel_reason reason) noexcept {
    if (!target_.flag_request(reason)) return;
    const cancel_ref state = target_.state_to_tell();
    home_.post(*this);
    if (state) state->request(reason);
}

void token_link::run_posted() noexcept {
    target_.act_on_request();
}

void fused_token_leaf::listen() noexcept {
    if (!token_.can_be_cancelled()) return;
    listening_ = token_.state()->listen(*this);
    if (!listening_) ask_inside(token_.state()->reason());
}

void fused_token_leaf::stop_listening() noexcept {
    if (!listening_) return;
    listening_ = false;
    token_.state()->leave(*this);
}

// By the destructor: what is posted may be in the middle of the inbox that is being taken when
// a request before it ends the wait.
void fused_token_leaf::await_post() noexcept {
    const slice_scope nobody(nullptr);
    while (waiting()) ctx_->home().take_inbox();
}

void fused_token_leaf::cancelled(cancel_reason reason) noexcept {
    told_reason_ = reason;
    told_.store(true, std::memory_order_release); // (R)
    ctx_->bump_epoch();
    ctx_->home().post(*this);
}

bool fused_token_leaf::requested_elsewhere(cancel_reason& why) const noexcept {
    if (!told_.load(std::memory_order_acquire)) return false; // (A)
    why = told_reason_;
    return true;
}

void fused_token_leaf::run_posted() noexcept {
    ask_inside(told_reason_);
}

} // namespace toadstone::detail
