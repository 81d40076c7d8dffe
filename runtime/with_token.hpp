// with_token: ties one awaitable to a cancellation token.
#ifndef TOADSTONE_RUNTIME_WITH_TOKEN_HPP
#define TOADSTONE_RUNTIME_WITH_TOKEN_HPP

#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/fused.hpp>
#include <toadstone/runtime/executor.hpp>

#include <coroutine>
#include <optional>
#include <source_location>
#include <utility>

namespace toadstone {
namespace detail {

/// Carries a token's request, made on any thread, to a context on its home worker.
class token_link final : cancel_listener, posted {
public:
    token_link(cancellation_token token, context& target) noexcept
        : token_(std::move(token)), target_(target), home_(target.home()) {}
    ~token_link() { stop(); }

    /// Starts to listen. A token that is cancelled already cancels the target at once.
    void listen() noexcept;
    /// The target is touched no more afterwards. Home worker only.
    void stop() noexcept;

private:
    void cancelled(cancel_reason reason) noexcept override;
    void run_posted() noexcept override;

    cancellation_token token_;
    context& target_;
    executor& home_;
    bool listening_ = false;
};

template <class T>
class token_awaiter final : public single_boundary<T> {
public:
    token_awaiter(context& ctx, std::source_location where, task<T>&& body,
                  cancellation_token&& token) noexcept
        : single_boundary<T>(ctx, where, std::move(body)), token_(std::move(token)) {}

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        auto& inside = this->prepare(frame);
        inside.make_flaggable();
        this->inherit_request(inside);
        link_.emplace(std::move(token_), inside);
        link_->listen();
        this->begin();
    }
    T await_resume() { return this->take(); }

private:
    context* child_ended(context& child) noexcept override {
        link_->stop();
        return child.unwound() ? this->pass_on(child.reason()) : this->complete();
    }

    cancellation_token token_;
    std::optional<token_link> link_;
};

/// The same around one leaf.
class fused_token_leaf : public fused_leaf, cancel_listener, posted {
protected:
    fused_token_leaf(context& ctx, std::source_location where,
                     cancellation_token&& token) noexcept
        : fused_leaf(ctx, where), token_(std::move(token)) {
        limit_ends_task_ = true;
        stop_ends_task_ = true;
    }
    ~fused_token_leaf() {
        if (waiting()) [[unlikely]]
            await_post();
    }

    [[nodiscard]] bool is_cancelled() const noexcept { return token_.cancelled(); }
    [[nodiscard]] cancel_reason token_reason() const noexcept {
        return token_.state()->reason();
    }
    void listen() noexcept;
    void stop_listening() noexcept;

private:
    void quiet() noexcept final { stop_listening(); }
    bool requested_elsewhere(cancel_reason& why) const noexcept final;
    void cancelled(cancel_reason reason) noexcept final;
    void run_posted() noexcept final;
    [[gnu::cold]] void await_post() noexcept;

    cancellation_token token_;
    bool listening_ = false;
    plain<cancel_reason> told_reason_ = cancel_reason::requested;
    atomic<bool> told_{false}; // (R) with the reason; (A) read before the post has come
};

template <class A>
class fused_token final : public fused_around<A, fused_token_leaf> {
public:
    fused_token(context& ctx, std::source_location where, A&& inside,
                cancellation_token&& token)
        : fused_around<A, fused_token_leaf>(std::move(inside), ctx, where, std::move(token)) {}

    [[nodiscard]] bool await_ready() {
        return !this->is_cancelled() && this->leaf_inside().await_ready();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (this->is_cancelled()) {
            this->stop_at_once(frame, this->token_reason());
            return;
        }
        this->leaf_inside().await_suspend(frame);
        if (this->stand_in()) this->listen();
    }
    await_result_t<A> await_resume() {
        this->check_stopped();
        this->has_result();
        this->stop_listening();
        return this->leaf_inside().await_resume();
    }
};

} // namespace detail

/// Runs `awaitable` under a token as well as under the caller's own cancellation.
///
/// Returns: its result. Errors: what it throws; task_cancelled if the token ends it while the
///     caller holds a guard with on_cancel::defer and so cannot be torn down.
/// Cancellation: when the token is cancelled, the inside is torn down, and, as there is no
///     result to go on with, so is the caller, up to the next boundary: as_outcome(), a scope,
///     the task's root. A result that is there already is delivered.
template <class A>
[[nodiscard]] auto with_token(cancellation_token token, A&& awaitable) {
    using T = detail::await_result_t<A>;
    if constexpr (detail::fusible<A>) {
        return detail::awaitable<detail::all_acquire<A>, detail::fused_token<A>, A,
                                 cancellation_token>(std::move(awaitable), std::move(token));
    } else {
        return detail::awaitable<detail::all_acquire<A>, detail::token_awaiter<T>, task<T>,
                                 cancellation_token>(
            detail::as_task(std::forward<A>(awaitable)), std::move(token));
    }
}

} // namespace toadstone

#endif
