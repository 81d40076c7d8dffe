// latch: waits until a number of things have happened, once.
#ifndef TOADSTONE_SYNC_LATCH_HPP
#define TOADSTONE_SYNC_LATCH_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/sync/detail/event_core.hpp>

#include <chrono>
#include <cstddef>

namespace toadstone::sync {

/// Counts down, and lets everybody pass at zero, for good.
///
/// Cancellation: wait() is a cancellation point; who is stopped has counted nothing down.
/// Poisoning: none. Threads: any task, any thread. What came before each count_down() is seen
/// by who passes. Shape: constant-initialised; no allocation per wait.
/// Lifetime: whoever has passed may destroy it; not while somebody waits.
class latch {
public:
    constexpr explicit latch(std::size_t count) noexcept
        : count_(count), core_(count == 0, detail::event_kind::stays) {}

    /// Errors: std::logic_error below zero; nothing is counted then.
    void count_down(std::size_t by = 1);
    /// Until the count is zero; at once if it is.
    [[nodiscard]] detail::event_request wait() noexcept { return detail::event_request(core_); }
    /// count_down(), and then wait(). Errors: as count_down(), at the call.
    [[nodiscard]] detail::event_request arrive_and_wait(std::size_t by = 1) {
        count_down(by);
        return wait();
    }
    /// For at most `limit`. Returns: false when the time was up first. Errors:
    /// std::invalid_argument, at the call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] detail::timed_event_request
    wait_for(std::chrono::duration<Rep, Period> limit) {
        return detail::timed_event_request(toadstone::detail::time_limit(limit), core_);
    }
    template <class Clock, class Duration>
    [[nodiscard]] detail::timed_event_request
    wait_until(std::chrono::time_point<Clock, Duration> limit) {
        return detail::timed_event_request(toadstone::detail::time_limit(limit), core_);
    }
    /// Blocks a plain thread. Errors: std::logic_error on a worker that would block.
    void blocking_wait() { detail::wait_here(core_); }
    /// The count is zero.
    [[nodiscard]] bool try_wait() const noexcept { return core_.is_set(); }

private:
    toadstone::detail::atomic<std::size_t> count_;
    detail::event_core core_;
};

} // namespace toadstone::sync

#endif
