// manual_reset_event: a door that stays open until somebody closes it.
#ifndef TOADSTONE_SYNC_MANUAL_RESET_EVENT_HPP
#define TOADSTONE_SYNC_MANUAL_RESET_EVENT_HPP

#include <toadstone/sync/detail/event_core.hpp>

#include <chrono>

namespace toadstone::sync {

/// Everybody passes while it is set, and waits while it is not.
///
/// Cancellation: wait() is a cancellation point; who is stopped takes nothing from the others.
/// Poisoning: none: it guards no data. Threads: any task, any thread.
/// Shape: constant-initialised; no allocation per wait. What set() follows is seen by who
/// passes.
/// Lifetime: whoever has passed may destroy it; not while somebody waits.
class manual_reset_event {
public:
    constexpr explicit manual_reset_event(bool is_set = false) noexcept
        : core_(is_set, detail::event_kind::stays) {}

    /// Until it is set; at once if it is.
    [[nodiscard]] detail::event_request wait() noexcept { return detail::event_request(core_); }
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

    /// All who wait pass, and everybody after them. Resumes nobody; never suspends.
    void set() noexcept { core_.set(); }
    void reset() noexcept { core_.reset(); }
    [[nodiscard]] bool is_set() const noexcept { return core_.is_set(); }

private:
    detail::event_core core_;
};

} // namespace toadstone::sync

#endif
