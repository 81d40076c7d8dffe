// with_token: ties one awaitable to a cancellation token.
#ifndef TOADSTONE_RUNTIME_WITH_TOKEN_HPP
#define TOADSTONE_RUNTIME_WITH_TOKEN_HPP

#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/executor.hpp>

#include <coroutine>
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
    void child_ended(context& child) noexcept override {
        link_->stop();
        if (child.unwound()) {
            this->pass_on(child.reason());
        } else {
            this->complete();
        }
    }

    cancellation_token token_;
    std::optional<token_link> link_;
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
    return detail::awaitable<detail::all_acquire<A>, detail::token_awaiter<T>, task<T>,
                             cancellation_token>(detail::as_task(std::forward<A>(awaitable)),
                                                 std::move(token));
}

} // namespace toadstone

#endif
