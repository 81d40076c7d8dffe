// with_timeout and its family: a time limit on one awaitable.
#ifndef TOADSTONE_RUNTIME_WITH_TIMEOUT_HPP
#define TOADSTONE_RUNTIME_WITH_TIMEOUT_HPP

#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/executor.hpp>

#include <chrono>
#include <source_location>
#include <utility>

namespace toadstone {
namespace detail {

template <class T, bool AsOutcome>
class timeout_awaiter final : public single_boundary<T>, timer_node {
public:
    timeout_awaiter(context& ctx, std::source_location where, task<T>&& body,
                    time_limit limit) noexcept
        : single_boundary<T>(ctx, where, std::move(body)), limit_(limit) {}

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        auto& inside = this->prepare(frame);
        this->inherit_request(inside);
        executor& home = this->ctx_->home();
        home.arm(*this, limit_.from(home.now()));
        this->begin();
    }
    decltype(auto) await_resume() {
        if constexpr (AsOutcome) {
            return this->take_outcome();
        } else {
            if (timed_out_ && this->inside().unwound()) throw timeout_error();
            return this->take();
        }
    }

private:
    void expired() noexcept override {
        timed_out_ = !this->inside().requested();
        this->inside().request(cancel_reason::timeout);
    }
    void child_ended(context& child) noexcept override {
        this->ctx_->home().disarm(*this);
        if (child.unwound() && !timed_out_ && !AsOutcome) {
            this->pass_on(child.reason());
        } else {
            this->complete();
        }
    }

    time_limit limit_;
    bool timed_out_ = false;
};

template <bool AsOutcome, class A>
[[nodiscard]] auto limit_time(A&& inside, time_limit limit) {
    using T = await_result_t<A>;
    return awaitable<timeout_awaiter<T, AsOutcome>, task<T>, time_limit>(
        as_task(std::forward<A>(inside)), std::move(limit));
}

} // namespace detail

/// Runs `awaitable` for at most `limit`.
///
/// Returns: its result. Errors: what it throws; timeout_error when the time was up first and
///     the inside has been torn down.
/// Cancellation: a boundary. When the time is up the inside is cancelled with
///     cancel_reason::timeout and torn down; the caller goes on, and guards that it holds stay
///     clean. If the inside finishes although its cancellation was asked for, its result is
///     delivered. A request to the caller is handed to the inside with its own reason.
template <class Rep, class Period, class A>
[[nodiscard]] auto with_timeout(std::chrono::duration<Rep, Period> limit, A&& awaitable) {
    return detail::limit_time<false>(std::forward<A>(awaitable),
                                     detail::time_limit(detail::to_nanoseconds(limit)));
}

/// with_timeout() up to a point in time.
template <class A>
[[nodiscard]] auto with_deadline(std::chrono::steady_clock::time_point deadline,
                                 A&& awaitable) {
    return detail::limit_time<false>(std::forward<A>(awaitable), detail::time_limit(deadline));
}

/// with_timeout() that gives an outcome: value, exception, or cancelled(timeout).
///
/// Cancellation: a boundary, as with_timeout. Errors: none of its own.
template <class Rep, class Period, class A>
[[nodiscard]] auto try_with_timeout(std::chrono::duration<Rep, Period> limit, A&& awaitable) {
    return detail::limit_time<true>(std::forward<A>(awaitable),
                                    detail::time_limit(detail::to_nanoseconds(limit)));
}

} // namespace toadstone

#endif
