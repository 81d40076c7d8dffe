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
    /// As poison, if the guard was dereferenced (`*`, `->`, map()) since the lock was taken,
    /// and as release if not: who only waits under the lock, or looks by view(), poisons
    /// nothing.
    if_touched,
    /// The section works on a copy, which is dropped: the data is as it was. Of a mutex type
    /// only; see rollback_guard.
    rollback,
};

/// What happens when an exception leaves the section.
enum class on_exception : unsigned char {
    poison,
    release,
    if_touched, ///< as on_cancel::if_touched
    rollback,   ///< as on_cancel::rollback
};

/// on_cancel for one section: a constant, and any but rollback, which the type of a mutex has.
class section_policy {
public:
    /// From what lock() is told.
    consteval section_policy(on_cancel what) // implicit: lock(on_cancel::defer)
        : what_(what == on_cancel::rollback ? only_a_mutex_type_rolls_back() : what) {}
    /// Of a value that is known when the program runs. Errors: std::logic_error for rollback.
    [[nodiscard]] static section_policy of(on_cancel what) {
        if (what == on_cancel::rollback) {
            toadstone::detail::throw_misuse("only the type of a mutex rolls back");
        }
        section_policy made(on_cancel::poison);
        made.what_ = what;
        return made;
    }
    /// As it was told.
    [[nodiscard]] constexpr on_cancel what() const noexcept { return what_; }

private:
    static on_cancel only_a_mutex_type_rolls_back(); // in no constant expression
    on_cancel what_;
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
    /// Made by its name alone.
    explicit wait_recovery_t() = default;
};
/// For lock(wait_recovery).
inline constexpr wait_recovery_t wait_recovery{};

/// For get_mut() and into_inner(): hand the data out although it is poisoned.
struct ignore_poison_t {
    /// Made by its name alone.
    explicit ignore_poison_t() = default;
};
/// For get_mut(ignore_poison) and into_inner(ignore_poison).
inline constexpr ignore_poison_t ignore_poison{};

} // namespace toadstone::sync

#endif
