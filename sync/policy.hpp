// What a lock does when its holder leaves in the middle.
#ifndef TOADSTONE_SYNC_POLICY_HPP
#define TOADSTONE_SYNC_POLICY_HPP

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::sync {

/// What happens when the holder is cancelled at a co_await inside the section.
enum class on_cancel : unsigned char {
    poison, ///< the section is torn down and the lock poisoned
    /// The cancellation waits until the guard is released: that of the task that locked, also
    /// when the guard was moved to another task, whose own cancellation poisons as ever.
    defer,
    release, ///< the section is torn down and the lock released as if nothing had happened
};

/// What happens when an exception leaves the section.
enum class on_exception : unsigned char {
    poison,
    release,
};

/// In which order those who wait for a mutex get it.
enum class fairness : unsigned char {
    strict, ///< first come, first served
    /// Released on the worker that it was given to, the lock goes to the next waiter of that
    /// worker, 64 times in succession at most; then, and when it is released elsewhere, to the
    /// oldest. Of one worker: first come, first served. Nobody is overtaken by more than 64
    /// waiters of each other worker, and every 65th release at least serves the oldest.
    batched,
};

/// For lock(): waits out a poisoning instead of failing, until somebody has recovered the data.
struct wait_recovery_t {
    explicit wait_recovery_t() = default;
};
inline constexpr wait_recovery_t wait_recovery{};

/// For get_mut() and into_inner(): hand the data out although it is poisoned.
struct ignore_poison_t {
    explicit ignore_poison_t() = default;
};
inline constexpr ignore_poison_t ignore_poison{};

} // namespace toadstone::sync

#endif
