// latch: waits until a number of things have happened, once.
#ifndef TOADSTONE_SYNC_LATCH_HPP
#define TOADSTONE_SYNC_LATCH_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/sync/detail/event_core.hpp>

#include <cstddef>

namespace toadstone::sync {

/// Counts down, and lets everybody pass at zero, for good.
///
/// Cancellation: wait() is a cancellation point; who is stopped has counted nothing down.
/// Poisoning: none. Threads: any task, any thread. What came before each count_down() is seen
/// by who passes. Shape: constant-initialised; no allocation per wait.
/// Lifetime: whoever has passed may destroy it; not while somebody waits.
class latch : public detail::event_base {
public:
    /// Opens after so many count_down().
    constexpr explicit latch(std::size_t count) noexcept
        : event_base(count == 0, detail::event_kind::stays), count_(count) {}

    /// Errors: std::logic_error below zero; nothing is counted then.
    void count_down(std::size_t by = 1);
    /// count_down(), and then wait(). Errors: as count_down(), at the call.
    [[nodiscard]] detail::event_request arrive_and_wait(std::size_t by = 1) {
        count_down(by);
        return wait();
    }
    /// The count is zero.
    [[nodiscard]] bool try_wait() const noexcept { return core_.is_set(); }

private:
    toadstone::detail::atomic<std::size_t> count_;
};

} // namespace toadstone::sync

#endif
