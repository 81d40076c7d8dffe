// Cancellation sources and tokens: one thread asks, others are told why.
#ifndef TOADSTONE_RUNTIME_CANCEL_HPP
#define TOADSTONE_RUNTIME_CANCEL_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/cancel_state.hpp>
#include <toadstone/runtime/detail/leaf.hpp>

#include <coroutine>
#include <memory>
#include <optional>
#include <source_location>
#include <stop_token>
#include <utility>

namespace toadstone {
namespace detail {
class token_wait;
} // namespace detail

/// Observes a cancellation_source. Cheap to copy; empty tokens are never cancelled.
///
/// `co_await token` suspends the task until the token is cancelled, and gives the reason; for
/// ever, if it is empty.
///
/// Cancellation: co_await is a cancellation point. The task's own request ends the wait, also
///     where both come at once; nothing is lost with it, because the token stays cancelled.
/// Threads: every member may be called from any thread.
class cancellation_token {
public:
    /// Of no source: never cancelled.
    cancellation_token() = default;

    /// A request has been made.
    [[nodiscard]] bool cancelled() const noexcept { return state_ && state_->requested(); }
    /// The reason of the request, if there was one.
    [[nodiscard]] std::optional<cancel_reason> reason() const noexcept {
        return cancelled() ? std::optional(state_->reason()) : std::nullopt;
    }
    /// False for an empty token.
    [[nodiscard]] bool can_be_cancelled() const noexcept { return static_cast<bool>(state_); }

    /// A std::stop_token that is stopped when this token is cancelled (the reason is lost).
    ///
    /// Threads: its callbacks run on the thread that cancels.
    /// Lifetime: it hears of requests as long as a token or a source of this state lives.
    [[nodiscard]] std::stop_token to_stop_token() const;

    friend bool operator==(const cancellation_token&, const cancellation_token&) = default;

    /// `co_await token` waits for the request and gives its reason.
    [[nodiscard]] detail::token_wait make_awaiter(detail::context& ctx,
                                                  std::source_location where) const noexcept;

    /// For the library: the state behind the token.
    explicit cancellation_token(detail::cancel_ref state) noexcept : state_(std::move(state)) {}
    /// For the library.
    [[nodiscard]] const detail::cancel_ref& state() const noexcept { return state_; }

private:
    friend class cancellation_source;
    detail::cancel_ref state_;
};

/// Asks whoever holds its tokens to stop. Copies share one state.
///
/// A request is sticky and idempotent; the first reason wins. It sets flags, posts, and calls
/// callbacks (cancellation_callback, std::stop_callback); no coroutine is resumed or destroyed
/// inside cancel(). Locks that no callback takes may be held meanwhile. A callback finds every
/// token cancelled that the request reaches.
///
/// Threads: cancel() from any thread.
/// Lifetime: dropping the last source cancels nothing. The link to a parent belongs to the
///     state: it lasts as long as a source or a token does, and ends with the last of them.
class cancellation_source {
public:
    /// Of no parent. Allocates what it shares with its tokens.
    cancellation_source();
    /// A source that is cancelled, with the same reason, when `parent` is.
    explicit cancellation_source(const cancellation_token& parent);
    /// A source that is cancelled when `parent` is stopped.
    explicit cancellation_source(std::stop_token parent);

    /// True for the first request.
    bool cancel(cancel_reason reason = cancel_reason::requested) noexcept {
        return state_->request(reason);
    }
    /// A request has been made.
    [[nodiscard]] bool cancelled() const noexcept { return state_->requested(); }
    /// What is handed to those who are to be stopped.
    [[nodiscard]] cancellation_token token() const noexcept {
        return cancellation_token(state_);
    }

private:
    detail::cancel_ref state_;
};

/// Calls `fn(cancel_reason)` once if the token is cancelled while this object lives, on the
/// thread that cancels; at once, in the constructor, if it is cancelled already. The destructor
/// waits for a call that another thread is making. `fn` must not throw.
template <class Fn>
class cancellation_callback final : detail::cancel_listener {
public:
    /// Calls `fn` at the request, at once if that has been made.
    cancellation_callback(cancellation_token token, Fn fn)
        : token_(std::move(token)), fn_(std::move(fn)) {
        if (!token_.can_be_cancelled()) return;
        if (!token_.state()->listen(*this)) fn_(token_.state()->reason());
    }
    // Not inlined: g++ 12 would warn of one in a std::optional that may be empty.
    [[gnu::noinline]] ~cancellation_callback() {
        if (token_.can_be_cancelled()) token_.state()->leave(*this);
    }

private:
    void cancelled(cancel_reason reason) noexcept override { fn_(reason); }

    cancellation_token token_;
    Fn fn_;
};

namespace detail {

/// Waits for a token's request, which any thread may make.
class token_wait final : public leaf, cancel_listener {
public:
    token_wait(cancellation_token token, context& ctx, std::source_location where) noexcept
        : token_(std::move(token)) {
        bind(ctx, where);
    }

    bool cancel(cancel_reason, bool) noexcept override;
    bool taken() noexcept override { return true; } // nothing is lost with it

    [[nodiscard]] bool await_ready() noexcept {
        return token_.cancelled() && may_complete_at_once();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) begin();
    }
    cancel_reason await_resume() const noexcept { return token_.state()->reason(); }

private:
    void begin() noexcept;
    void cancelled(cancel_reason) noexcept override;

    cancellation_token token_;
    // Of whoever tells, until it has told; then of the home worker.
    plain<bool> told_ = false;
};

} // namespace detail

inline detail::token_wait
cancellation_token::make_awaiter(detail::context& ctx,
                                 std::source_location where) const noexcept {
    return detail::token_wait(*this, ctx, where);
}

inline cancellation_source::cancellation_source(std::stop_token parent)
    : cancellation_source() {
    struct stop_it {
        detail::cancel_state* state; // which owns this
        void operator()() const noexcept {
            state->request_unless_dying(cancel_reason::requested);
        }
    };
    state_->own_link(
        std::make_shared<std::stop_callback<stop_it>>(std::move(parent), stop_it{&*state_}));
}

} // namespace toadstone

#endif
