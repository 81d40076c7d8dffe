// sleep_for and sleep_until.
#ifndef TOADSTONE_RUNTIME_SLEEP_HPP
#define TOADSTONE_RUNTIME_SLEEP_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/limit_timer.hpp>
#include <toadstone/runtime/executor.hpp>

#include <chrono>
#include <coroutine>

namespace toadstone {
namespace detail {

class sleep_awaiter : public leaf, limit_timer {
public:
    explicit sleep_awaiter(time_limit limit) noexcept : limit_timer(limit) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) arm(ctx_->home());
    }
    void await_resume() const noexcept {}

    bool cancel(cancel_reason, bool) noexcept override {
        const bool waiting = armed();
        disarm(ctx_->home());
        return waiting;
    }
    bool taken() noexcept override { return true; } // nothing is lost with it

private:
    void time_up() noexcept override { ctx_->home().push(*ctx_); }
};
using sleep_operation = operation<sleep_awaiter, time_limit>;

} // namespace detail

/// Suspends the task for at least `wait`.
///
/// Errors: std::invalid_argument, at the call, when `wait` is NaN.
/// Cancellation: a cancellation point; a sleeping task wakes at once.
/// Units: resolution one microsecond, by the worker's monotonic clock. What is longer than 146
///     years, also infinite, is 146 years; what is negative is no time.
template <class Rep, class Period>
[[nodiscard("a sleep does nothing until it is awaited")]] detail::sleep_operation
sleep_for(std::chrono::duration<Rep, Period> wait) {
    return detail::sleep_operation(detail::time_limit(wait));
}

/// Suspends the task until `when`, or lets others run once if that is past.
///
/// Errors: as sleep_for. Cancellation: as sleep_for.
template <class Duration>
[[nodiscard("a sleep does nothing until it is awaited")]] detail::sleep_operation
sleep_until(std::chrono::time_point<std::chrono::steady_clock, Duration> when) {
    return detail::sleep_operation(detail::time_limit(when));
}

/// Suspends the task until the calendar says `when`: not earlier, also when the system's clock
/// is set back meanwhile; when it is set forward, at most ten seconds late.
///
/// Errors: as sleep_for. Cancellation: as sleep_for.
template <class Duration>
[[nodiscard("a sleep does nothing until it is awaited")]] detail::sleep_operation
sleep_until(std::chrono::time_point<std::chrono::system_clock, Duration> when) {
    return detail::sleep_operation(detail::time_limit(when));
}

} // namespace toadstone

#endif
