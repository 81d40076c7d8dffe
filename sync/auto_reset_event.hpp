// auto_reset_event: a signal for one.
#ifndef TOADSTONE_SYNC_AUTO_RESET_EVENT_HPP
#define TOADSTONE_SYNC_AUTO_RESET_EVENT_HPP

#include <toadstone/sync/detail/event_core.hpp>

#include <chrono>

namespace toadstone::sync {

/// Each set() lets one pass: the first who waits, or, if nobody does, the next who comes. More
/// than one set() for nobody is one.
///
/// Fairness: first come, first served.
/// Cancellation: wait() is a cancellation point. A signal that was given to who is stopped goes
///     to the next.
/// Poisoning: none. Threads: any task, any thread.
/// Shape: constant-initialised; no allocation per wait. What set() follows is seen by who
/// passes.
/// Lifetime: not destroyed while somebody waits.
class auto_reset_event {
public:
    constexpr explicit auto_reset_event(bool is_set = false) noexcept
        : core_(is_set, detail::event_kind::for_one) {}

    /// Until a signal is there, and takes it.
    [[nodiscard]] detail::event_request wait() noexcept { return detail::event_request(core_); }
    /// For at most `limit`. Returns: false when the time was up first; a signal at the same
    /// moment wins. Errors: std::invalid_argument, at the call, when `limit` is NaN.
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
    /// Takes a signal that is there. False: there is none.
    [[nodiscard]] bool try_wait() noexcept { return core_.try_pass(); }
    /// Blocks a plain thread. Errors: std::logic_error on a worker that would block.
    void blocking_wait() { detail::wait_here(core_); }

    /// Resumes nobody; never suspends.
    void set() noexcept { core_.set(); }
    /// Takes back a signal that nobody has taken.
    void reset() noexcept { core_.reset(); }
    [[nodiscard]] bool is_set() const noexcept { return core_.is_set(); }

private:
    detail::event_core core_;
};

} // namespace toadstone::sync

#endif
