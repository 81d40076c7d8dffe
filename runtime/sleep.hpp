// sleep_for and sleep_until.
#ifndef TOADSTONE_RUNTIME_SLEEP_HPP
#define TOADSTONE_RUNTIME_SLEEP_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/executor.hpp>

#include <chrono>
#include <coroutine>

namespace toadstone {
namespace detail {

class [[nodiscard("a sleep does nothing until it is awaited")]] sleep_awaiter final
    : public leaf,
      timer_node {
public:
    explicit sleep_awaiter(time_limit limit) noexcept : limit_(limit) {}
    sleep_awaiter(sleep_awaiter&& other) noexcept : leaf(other), limit_(other.limit_) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (!suspend(frame)) return;
        executor& home = ctx_->home();
        home.arm(*this, limit_.from(home.now()));
    }
    void await_resume() const noexcept {}

    bool cancel(cancel_reason, bool) noexcept override {
        const bool waiting = armed();
        ctx_->home().disarm(*this);
        return waiting;
    }
    bool taken() noexcept override { return true; } // nothing is lost with it

private:
    void expired() noexcept override { ctx_->home().push(*ctx_); }

    time_limit limit_;
};

} // namespace detail

/// Suspends the task for at least `wait`.
///
/// Cancellation: a cancellation point; a sleeping task wakes at once.
/// Units: resolution one microsecond, by the worker's monotonic clock.
template <class Rep, class Period>
[[nodiscard]] detail::sleep_awaiter sleep_for(std::chrono::duration<Rep, Period> wait) {
    return detail::sleep_awaiter(detail::time_limit(detail::to_nanoseconds(wait)));
}

/// Suspends the task until `when`, or lets others run once if that is past.
///
/// Cancellation: as sleep_for.
[[nodiscard]] inline detail::sleep_awaiter
sleep_until(std::chrono::steady_clock::time_point when) {
    return detail::sleep_awaiter(detail::time_limit(when));
}

} // namespace toadstone

#endif
