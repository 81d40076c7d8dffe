// auto_reset_event: a signal for one.
#ifndef TOADSTONE_SYNC_AUTO_RESET_EVENT_HPP
#define TOADSTONE_SYNC_AUTO_RESET_EVENT_HPP

#include <toadstone/sync/detail/event_core.hpp>

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
class auto_reset_event : public detail::event_base {
public:
    /// Set, or not.
    constexpr explicit auto_reset_event(bool is_set = false) noexcept
        : event_base(is_set, detail::event_kind::for_one) {}

    /// Takes a signal that is there. False: there is none.
    [[nodiscard]] bool try_wait() noexcept { return core_.try_pass(); }

    /// Resumes nobody; never suspends.
    void set() noexcept { core_.set(); }
    /// Takes back a signal that nobody has taken.
    void reset() noexcept { core_.reset(); }
    /// A hint, while others wait.
    [[nodiscard]] bool is_set() const noexcept { return core_.is_set(); }
};

} // namespace toadstone::sync

#endif
