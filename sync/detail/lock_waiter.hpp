// Somebody who waits for a mutex: what the lock's queue links, and what it leaves behind.
#ifndef TOADSTONE_SYNC_DETAIL_LOCK_WAITER_HPP
#define TOADSTONE_SYNC_DETAIL_LOCK_WAITER_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/policies.hpp>

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
    repair,   ///< the same, and fails when somebody else who did has failed to repair it
};

/// Whom poison does not end.
[[nodiscard]] bool takes_poisoned(wants what) noexcept;
/// Whom it ends. `repair_failed`: it comes of a repair in everybody's name.
[[nodiscard]] inline bool is_refused(wants what, bool repair_failed) noexcept {
    return what == wants::healthy || (what == wants::repair && repair_failed);
}

/// What a waiter may do with the data.
enum class access : unsigned char {
    write,
    read,       ///< of a shared mutex, as the others behind it: together with other readers
    upgradable, ///< reads, and alone may go on as a writer
    upgrade,    ///< has the former, and waits until it reads alone
};

/// Somebody in the queue of a mutex. Refused: it was poisoned.
class lock_waiter : public toadstone::detail::waiter {
public:
    lock_waiter() = default;

    /// Why the lock was poisoned, for state::refused. The lock itself may be healthy again.
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
    lock_waiter(wants what, policies policy) noexcept : wants_(what), policy_(policy) {}
    lock_waiter(wants what, access kind) noexcept : wants_(what), access_(kind) {}
    ~lock_waiter() override = default;

    friend class lanes;
    friend class mutex_core;
    friend class shared_core;
    template <class T>
    using plain = toadstone::detail::plain<T>;
    // First: there is room behind the state.
    wants wants_ = wants::healthy;
    policies policy_{on_cancel::poison, on_exception::poison}; // of the guard to come
    access access_ = access::write;
    plain<const toadstone::detail::cause_state*> cause_; // state::refused only; kept

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
