// Somebody who waits for a mutex: what the lock's queue links, and what it leaves behind.
#ifndef TOADSTONE_SYNC_DETAIL_LOCK_WAITER_HPP
#define TOADSTONE_SYNC_DETAIL_LOCK_WAITER_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/poison_cause.hpp>

#include <cstdint>

namespace toadstone::detail {
class executor;
}

namespace toadstone::sync::detail {

/// What a waiter wants when the lock is poisoned.
enum class wants : unsigned char {
    healthy,  ///< fails at once
    patience, ///< stays in the queue until the poison is gone
    anything, ///< becomes the owner all the same
};

/// Somebody in the queue; lives in the frame, or on the stack, of whoever waits.
class lock_waiter {
public:
    enum class state : unsigned char {
        idle,
        queued,
        granted,  ///< owns the lock
        poisoned, ///< does not, and never will by this wait
        deadlock, ///< asked for a lock that it holds
        timed_out,
        withdrawn,
    };

    lock_waiter() = default;
    lock_waiter(const lock_waiter&) = delete;
    lock_waiter& operator=(const lock_waiter&) = delete;

    /// For whoever waited, once the wait is over.
    [[nodiscard]] state how() const noexcept { return state_; }
    /// Why the lock was poisoned, for state::poisoned. The lock itself may be healthy again.
    /// To be taken once, or it is never freed: a destructor that looked would cost each lock()
    /// a dozen instructions.
    [[nodiscard]] poison_cause take_failure() noexcept {
        const toadstone::detail::cause_state* const cause = cause_;
        poison_cause failure(cause->shared_from_this());
        cause->drop();
        return failure;
    }

protected:
    explicit lock_waiter(wants what) noexcept : wants_(what) {}
    virtual ~lock_waiter() = default;
    /// The wait is over. Called once, with no lock held, by whoever ended it. Resumes nothing.
    virtual void wake() noexcept = 0;

    friend class lanes;
    friend class mutex_core;
    template <class T>
    using plain = toadstone::detail::plain<T>;
    plain<lock_waiter*> next_;     // guarded by the queue lock; while queued
    plain<lock_waiter*> previous_; // the same
    plain<const toadstone::detail::cause_state*> cause_; // state::poisoned only; kept
    plain<state> state_ = state::idle; // guarded by the queue lock until the wait is over
    wants wants_ = wants::healthy;

    // As next_; in lanes only, which write them when the wait begins.
    plain<std::uint32_t> arrived_; // since the queue was empty; may begin again
    plain<lock_waiter*> lane_;     // of the first in a lane: that of the next; else null
    plain<const toadstone::detail::executor*> home_;
    // Where the lanes are entered: the last arrival, and whose batch it is.
    plain<std::uint32_t> newest_;
    plain<std::uint32_t> batch_;
};

} // namespace toadstone::sync::detail

#endif
