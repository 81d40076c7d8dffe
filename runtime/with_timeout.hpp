// with_timeout and its family: a time limit on one awaitable.
#ifndef TOADSTONE_RUNTIME_WITH_TIMEOUT_HPP
#define TOADSTONE_RUNTIME_WITH_TIMEOUT_HPP

#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/fused.hpp>
#include <toadstone/runtime/detail/limit_timer.hpp>
#include <toadstone/runtime/executor.hpp>

#include <chrono>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone {
namespace detail {

/// Says what did not finish: the co_await at `pending`, under the limit set at `where`.
[[noreturn]] void throw_timeout(const time_limit& limit, std::source_location where,
                                std::source_location pending);

template <class T, bool AsOutcome>
class timeout_awaiter final : public single_boundary<T>, limit_timer {
public:
    timeout_awaiter(context& ctx, std::source_location where, task<T>&& body,
                    time_limit limit) noexcept
        : single_boundary<T>(ctx, where, std::move(body)), limit_timer(limit) {}

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        auto& inside = this->prepare(frame);
        this->inherit_request(inside);
        if (this->is_past(this->ctx_->home())) { // before it has begun anything
            time_up();
        } else {
            this->arm(this->ctx_->home());
        }
        this->begin();
    }
    decltype(auto) await_resume() {
        if constexpr (AsOutcome) {
            return this->take_outcome();
        } else {
            if (timed_out_ && this->inside().unwound()) {
                throw_timeout(limit(), this->where_, this->inside().where());
            }
            return this->take();
        }
    }

    [[nodiscard]] const limit_timer* limit_inside() const noexcept override { return this; }

private:
    void time_up() noexcept override {
        timed_out_ = !this->inside().requested();
        this->inside().request(cancel_reason::timeout);
    }
    context* child_ended(context& child) noexcept override {
        if (this->armed()) this->disarm(this->ctx_->home());
        const bool stops = child.unwound() && !timed_out_ && !AsOutcome;
        return stops ? this->pass_on(child.reason()) : this->complete();
    }

    bool timed_out_ = false;
};

/// The same around one leaf.
template <class A, bool AsOutcome>
class fused_timeout final : public fused_around<A>, limit_timer {
    using T = await_result_t<A>;
    using result_type = std::conditional_t<AsOutcome, outcome<T>, T>;

public:
    fused_timeout(context& ctx, std::source_location where, A&& inside, time_limit limit)
        : fused_around<A>(std::move(inside), ctx, where), limit_timer(limit),
          past_(is_past(ctx.home())) {
        this->stop_ends_task_ = !AsOutcome;
    }

    [[nodiscard]] bool await_ready() { return !past_ && this->leaf_inside().await_ready(); }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (past_) [[unlikely]] {
            this->stop_at_once(frame, cancel_reason::timeout);
            return;
        }
        this->leaf_inside().await_suspend(frame);
        if (this->stand_in()) arm(this->ctx_->home());
    }
    result_type await_resume() {
        using ending = typename fused_leaf::ending;
        if (armed()) disarm(this->ctx_->home());
        if (this->how() > ending::result) [[unlikely]] {
            this->check_stopped();
            if constexpr (AsOutcome) return outcome<T>::of_cancellation(this->reason());
            throw_timeout(limit(), this->where_, this->ctx_->where());
        }
        if constexpr (AsOutcome) {
            return outcome_inside();
        } else {
            return this->leaf_inside().await_resume();
        }
    }

private:
    outcome<T> outcome_inside() {
        try {
            if constexpr (std::is_void_v<T>) {
                this->leaf_inside().await_resume();
                return outcome<T>::of_value();
            } else {
                return outcome<T>::of_value(this->leaf_inside().await_resume());
            }
        } catch (...) {
            return outcome<T>::of_exception(std::current_exception());
        }
    }
    void time_up() noexcept override { this->ask_inside(cancel_reason::timeout); }
    void quiet() noexcept override { disarm(this->ctx_->home()); }

    const bool past_;
};

template <bool AsOutcome, class A>
[[nodiscard]] auto limit_time(A&& inside, time_limit limit) {
    using T = await_result_t<A>;
    if constexpr (fusible<A>) {
        return awaitable<all_acquire<A>, fused_timeout<A, AsOutcome>, A, time_limit>(
            std::move(inside), std::move(limit));
    } else {
        return awaitable<all_acquire<A>, timeout_awaiter<T, AsOutcome>, task<T>, time_limit>(
            as_task(std::forward<A>(inside)), std::move(limit));
    }
}

} // namespace detail

/// Runs `awaitable` for at most `limit`.
///
/// Returns: its result. Errors: what it throws; timeout_error, which says what did not finish
///     and the limit, when the time was up first and the inside has been torn down;
///     std::invalid_argument, at the call, for a limit that is NaN.
/// Cancellation: a boundary. When the time is up the inside is cancelled with
///     cancel_reason::timeout and torn down; the caller goes on, and guards that it holds stay
///     clean. If the inside finishes although its cancellation was asked for, its result is
///     delivered. A request to the caller is handed to the inside with its own reason. A limit
///     of zero ends the inside at its first cancellation point, even one that would not have
///     waited.
template <class Rep, class Period, class A>
[[nodiscard]] auto with_timeout(std::chrono::duration<Rep, Period> limit, A&& awaitable) {
    return detail::limit_time<false>(std::forward<A>(awaitable), detail::time_limit(limit));
}

/// with_timeout() up to a point in time, by std::chrono::steady_clock, or by system_clock where
/// the calendar is meant: not earlier, also when the system's clock is set back meanwhile; when
/// it is set forward, at most ten seconds late.
///
/// Cancellation: a boundary, as with_timeout.
template <class Clock, class Duration, class A>
[[nodiscard]] auto with_deadline(std::chrono::time_point<Clock, Duration> deadline,
                                 A&& awaitable) {
    return detail::limit_time<false>(std::forward<A>(awaitable), detail::time_limit(deadline));
}

/// with_timeout() that gives an outcome: value, exception, or cancelled(timeout).
///
/// Cancellation: a boundary, as with_timeout. Errors: none of its own.
template <class Rep, class Period, class A>
[[nodiscard]] auto try_with_timeout(std::chrono::duration<Rep, Period> limit, A&& awaitable) {
    return detail::limit_time<true>(std::forward<A>(awaitable), detail::time_limit(limit));
}

/// with_deadline() that gives an outcome: value, exception, or cancelled(timeout).
///
/// Cancellation: a boundary, as with_timeout. Errors: none of its own.
template <class Clock, class Duration, class A>
[[nodiscard]] auto try_with_deadline(std::chrono::time_point<Clock, Duration> deadline,
                                     A&& awaitable) {
    return detail::limit_time<true>(std::forward<A>(awaitable), detail::time_limit(deadline));
}

} // namespace toadstone

#endif
