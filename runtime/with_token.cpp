// The link between a token, which may be cancelled on any thread, and a context.
#include <toadstone/runtime/with_token.hpp>

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

} // namespace toadstone::detail
