// manual_reset_event: a door that stays open until somebody closes it.
#ifndef TOADSTONE_SYNC_MANUAL_RESET_EVENT_HPP
#define TOADSTONE_SYNC_MANUAL_RESET_EVENT_HPP

#include <toadstone/sync/detail/event_core.hpp>

namespace toadstone::sync {

/// Everybody passes while it is set, and waits while it is not.
///
/// Cancellation: wait() is a cancellation point; who is stopped takes nothing from the others.
/// Poisoning: none: it guards no data. Threads: any task, any thread.
/// Shape: constant-initialised; no allocation per wait. What set() follows is seen by who
/// passes.
/// Lifetime: whoever has passed may destroy it; not while somebody waits.
class manual_reset_event : public detail::event_base {
public:
    /// Set, or not.
    constexpr explicit manual_reset_event(bool is_set = false) noexcept
        : event_base(is_set, detail::event_kind::stays) {}

    /// All who wait pass, and everybody after them. Resumes nobody; never suspends.
    void set() noexcept { core_.set(); }
    /// From here on everybody waits.
    void reset() noexcept { core_.reset(); }
    /// A hint, while others set and reset.
    [[nodiscard]] bool is_set() const noexcept { return core_.is_set(); }
};

} // namespace toadstone::sync

#endif
