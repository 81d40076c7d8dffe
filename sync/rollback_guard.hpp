// rollback_guard: holding a mutex whose type rolls back; its section works on a copy.
#ifndef TOADSTONE_SYNC_ROLLBACK_GUARD_HPP
#define TOADSTONE_SYNC_ROLLBACK_GUARD_HPP

#include <toadstone/sync/detail/private_copy.hpp>

#include <string_view>
#include <utility>

namespace toadstone::sync {

/// The right to the data of a mutex with on_cancel::rollback or on_exception::rollback, or with
/// both. Its `*` is a copy of the data, which takes the data's place when the section ends
/// well: by unlock(), or by the guard's death in normal control flow. Nobody sees half of a
/// change. Move-only; a guard that was moved from holds nothing.
///
/// Poisoning: any other end drops the copy, and the data is as it was. Those are a teardown, an
///     exception that leaves the section, and death inside a `catch` handler that began in it.
///     If the policy for that kind of end (of a handler: the one for exceptions) is rollback,
///     that is all; else it decides whether the mutex is poisoned besides.
/// Errors: what copying T throws, from the lock() that would have given the guard; the lock
///     goes on, clean.
/// Shape: T is copyable, and moves and swaps without exceptions.
/// Threads and lifetime: as guard<T>.
template <class T, class Core = detail::guard_core>
class [[nodiscard("name it: a temporary guard releases at once")]] rollback_guard {
public:
    rollback_guard(rollback_guard&&) noexcept = default;
    rollback_guard& operator=(rollback_guard&& other) noexcept {
        if (this != &other) {
            end(); // by the same rule as the destructor
            section_ = std::move(other.section_);
            begun_in_ = other.begun_in_;
        }
        return *this;
    }
    ~rollback_guard() { end(); }

    /// Errors: std::logic_error if it holds nothing, as of every member that needs the lock.
    [[nodiscard]] T& operator*() const { return section_.copy(); }
    /// The copy.
    [[nodiscard]] T* operator->() const { return &section_.copy(); }
    /// To look at the copy only: with a policy if_touched, it does not count as access.
    [[nodiscard]] const T& view() const { return section_.view(); }
    /// False after unlock(), rollback() and poison(), and after a move.
    [[nodiscard]] bool held() const noexcept { return section_.held(); }
    /// held().
    explicit operator bool() const noexcept { return held(); }

    /// The copy takes the place of the data, and the lock goes on. Nothing happens if nothing
    /// is held.
    void unlock() noexcept {
        if (held()) section_.commit();
    }
    /// Drops the copy, and the lock goes on, clean. Nothing happens if nothing is held.
    void rollback() noexcept {
        if (held()) section_.discard();
    }
    /// Drops the copy and says that the data is broken; the lock goes on.
    void poison(std::string_view why) { section_.poison(why); }

    /// Says that the data is right again.
    void clear_poison() { section_.mutex().clear_poison(); }
    /// As guard::is_poisoned().
    [[nodiscard]] bool is_poisoned() const { return section_.mutex().is_poisoned(); }

    /// For the library.
    using core_type = Core;
    /// For the library.
    rollback_guard(typename Core::seed&& seed, T& value) : section_(std::move(seed), value) {
        section_.core().set_consistent(false);
    }
    /// For the library.
    rollback_guard(Core&& core, T& value) : section_(std::move(core), value) {
        section_.core().set_consistent(false);
    }
    /// For the library.
    void make_strict() noexcept { section_.core().make_strict(); }
    /// For the library.
    void hand_back() noexcept { rollback(); }

private:
    void end() noexcept {
        if (!held()) return;
        if (section_.core().ends_well(begun_in_)) {
            section_.commit();
        } else {
            section_.core().release_discarded();
        }
    }

    detail::private_copy<T, Core> section_;
    const void* begun_in_ = toadstone::detail::handler_in_slice(); // a handler, or null
};

} // namespace toadstone::sync

#endif
