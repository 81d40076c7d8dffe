// guard, lock_result and recovery: holding a mutex, holding a poisoned one, and repairing it.
#ifndef TOADSTONE_SYNC_GUARD_HPP
#define TOADSTONE_SYNC_GUARD_HPP

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/guard_core.hpp>
#include <toadstone/sync/detail/unlocked.hpp>

#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::sync {

template <class T>
class guard;

namespace detail {

/// std::invoke() of one argument, for which <functional> would be much to read.
template <class Fn, class T>
decltype(auto) call_on(Fn&& fn, T& value) {
    using F = std::remove_cvref_t<Fn>;
    if constexpr (std::is_member_object_pointer_v<F>) {
        return (value.*fn);
    } else if constexpr (std::is_member_function_pointer_v<F>) {
        return (value.*fn)();
    } else {
        return std::forward<Fn>(fn)(value);
    }
}

} // namespace detail

/// The right to the data of a mutex. Move-only; a guard that was moved from holds nothing.
///
/// Poisoning: dying at a higher level than it was born, the guard poisons the mutex, unless
///     mark_consistent() holds or the policy says otherwise. Moving it, into another task or
///     another thread, changes nothing about that; nor does move-assigning, which first
///     releases what was held, by the same rule.
/// Threads: may be destroyed on another thread than the one that locked.
/// Lifetime: not longer than the mutex.
template <class T>
class [[nodiscard("name it: a temporary guard releases at once")]] guard {
public:
    guard(guard&&) noexcept = default;
    guard& operator=(guard&&) noexcept = default;
    ~guard() = default;

    /// Errors: std::logic_error if it holds nothing, as of every member that needs the lock.
    [[nodiscard]] T& operator*() const {
        check();
        return *value_;
    }
    /// The data.
    [[nodiscard]] T* operator->() const {
        check();
        return value_;
    }
    /// To look at the data only: with a policy if_touched, it does not count as access.
    [[nodiscard]] const T& view() const {
        if (!held()) refuse();
        return *value_;
    }
    /// False after unlock() and after a move.
    [[nodiscard]] bool held() const noexcept {
        if (!core_.mutex()) return false;
        core_.check_place();
        return true;
    }
    /// held().
    explicit operator bool() const noexcept { return held(); }

    /// Releases; never poisons, never suspends. Nothing happens if nothing is held.
    void unlock() noexcept {
        if (held()) core_.release_clean();
    }

    /// Says that the data is broken: everybody else gets a poison_error with this reason.
    void poison(std::string_view why) { core_.declare_poisoned(why); }
    /// Says that the data is right again.
    void clear_poison() {
        if (!held()) refuse();
        core_.mutex()->clear_poison();
    }
    /// Somebody, maybe this guard, has poisoned the mutex and nobody has repaired the data.
    [[nodiscard]] bool is_poisoned() const {
        if (!held()) refuse();
        return core_.mutex()->is_poisoned();
    }

    /// From here on, leaving early does no harm: an interruption leaves the lock clean. For a
    /// section that has to span awaits before it begins to change the data.
    void mark_consistent() noexcept { core_.set_consistent(true); }
    /// Takes mark_consistent() back.
    void mark_inconsistent() noexcept { core_.set_consistent(false); }

    /// Narrows the guard to a member, or to whatever `fn(T&)` refers to. This guard is empty
    /// afterwards; the verdict goes on with the new one.
    template <class Member>
        requires std::is_member_object_pointer_v<Member>
    [[nodiscard]] auto map(Member member) {
        check();
        auto& part = value_->*member;
        return guard<std::remove_reference_t<decltype(part)>>(std::move(core_), part);
    }
    /// The same of what `fn(data)` refers to.
    template <class Fn>
        requires std::is_lvalue_reference_v<std::invoke_result_t<Fn&, T&>> &&
                 (!std::is_member_object_pointer_v<Fn>)
    [[nodiscard]] auto map(Fn fn) {
        check();
        auto& part = detail::call_on(fn, *value_);
        return guard<std::remove_reference_t<decltype(part)>>(std::move(core_), part);
    }

    /// map() to what `fn(T&)` points to. Returns: nothing if that is null; then this guard
    /// holds what it held.
    template <class Fn>
        requires std::is_pointer_v<std::remove_cvref_t<std::invoke_result_t<Fn&, T&>>>
    [[nodiscard]] auto try_map(Fn fn) {
        check();
        auto* const part = detail::call_on(fn, *value_);
        using narrowed = guard<std::remove_reference_t<decltype(*part)>>;
        if (!part) return std::optional<narrowed>();
        return std::optional<narrowed>(std::in_place, std::move(core_), *part);
    }

    /// Lets the lock go, runs what `fn()` gives, a task or any awaitable of the library, and
    /// takes the lock again. Others have had the data when it returns: reach it through the
    /// guard anew, never by a reference of before. (What map() has narrowed this guard to must
    /// still be there.) Until it returns, the guard stays where it is, alone.
    ///
    /// Returns: its result. Errors: what it throws, with the lock held; poison_error if the
    ///     mutex is poisoned then, with what it threw nested, and the guard holds nothing;
    ///     would_deadlock, likewise, if the lock's new holder waits for this task: what runs
    ///     inside must not give a guard of the same mutex; std::logic_error if it holds
    ///     nothing.
    /// Cancellation: reaches what runs inside, not the wait for the lock. The lock is held
    ///     again, even if it is poisoned, before any destructor of the task runs: they may look
    ///     by view(). That end does not poison, nor does an exception of `fn`'s, unless the
    ///     guard is used after it: the section was open to others. A limit of time around all
    ///     this gives the section back as it was. A forced shutdown leaves the guard empty. A
    ///     guard with on_cancel::defer defers nothing while it is open.
    template <class Fn>
        requires std::is_invocable_v<std::decay_t<Fn>&>
    [[nodiscard]] auto unlocked(Fn&& fn) {
        using F = std::decay_t<Fn>;
        toadstone::detail::check_closures<Fn>();
        using R = detail::unlocked_result_t<F>;
        return toadstone::detail::awaitable<false, detail::unlocked_awaiter<R, F>,
                                            detail::guard_core*, F>(&core_,
                                                                    F(std::forward<Fn>(fn)));
    }

    /// For the library.
    using core_type = detail::guard_core;
    /// For the library.
    guard(detail::guard_seed&& seed, T& value) noexcept
        : core_(std::move(seed)), value_(&value) {}
    /// For the library.
    guard(detail::guard_core&& core, T& value) noexcept
        : core_(std::move(core)), value_(&value) {}
    /// For the library.
    void make_strict() noexcept { core_.make_strict(); }
    /// For the library.
    [[nodiscard]] detail::guard_core& core() noexcept { return core_; }

private:
    void check() const {
        if (!core_.mutex()) refuse();
        core_.touch();
    }
    [[noreturn, gnu::cold]] static void refuse() {
        toadstone::detail::throw_misuse("a guard gives access only while it holds the lock");
    }

    detail::guard_core core_;
    T* value_;
};

/// What lock_or_poison() gives: the lock, and whether the data is healthy. Both arms hold it.
template <class T, class Guard = guard<T>>
class [[nodiscard]] lock_result {
public:
    /// The data is healthy.
    explicit operator bool() const noexcept { return !cause_; }
    /// The guard, whatever the state of the data.
    [[nodiscard]] Guard& guard() noexcept { return guard_; }
    /// Empty when healthy.
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    /// Takes the guard, whatever the state of the data. The poison stays until clear_poison().
    [[nodiscard]] Guard into_guard() { return std::move(guard_); }
    /// The same, said louder: access although it is poisoned.
    [[nodiscard]] Guard ignore() { return std::move(guard_); }

    /// For the library.
    lock_result(typename Guard::core_type::seed&& seed, T& value, poison_cause cause)
        : guard_(std::move(seed), value), cause_(std::move(cause)) {}

private:
    Guard guard_;
    poison_cause cause_;
};

/// The exclusive right to repair poisoned data. If complete() is not called before it dies, the
/// mutex stays poisoned, with a new cause chained to the old one, and the next in line may try.
///
/// Of a mutex that was healthy, cause() is empty and a recovery behaves like a guard.
template <class T, class Guard = guard<T>>
class [[nodiscard("a recovery that is dropped has repaired nothing")]] recovery {
public:
    recovery(recovery&&) noexcept = default;
    recovery& operator=(recovery&& other) noexcept {
        if (this != &other) {
            give_up();
            core_ = std::move(other.core_);
            value_ = other.value_;
            cause_ = std::move(other.cause_);
        }
        return *this;
    }
    ~recovery() { give_up(); }

    /// Errors: std::logic_error after complete().
    [[nodiscard]] T& operator*() const {
        check();
        return *value_;
    }
    /// The data.
    [[nodiscard]] T* operator->() const {
        check();
        return value_;
    }
    /// What is to be repaired; empty when the mutex was healthy, because another task had
    /// repaired it before.
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    /// It was poisoned: there is something to repair.
    [[nodiscard]] bool needed() const noexcept { return static_cast<bool>(cause_); }

    /// The data is right: clears the poison while the lock is still held. Errors:
    /// std::logic_error the second time.
    Guard complete() {
        if (!core_.mutex()) toadstone::detail::throw_misuse("a recovery is completed once");
        core_.mutex()->clear_poison();
        return Guard(std::move(core_), *value_);
    }

    /// For the library.
    recovery(typename Guard::core_type::seed&& seed, T& value, poison_cause cause) noexcept
        : core_(std::move(seed)), value_(&value), cause_(std::move(cause)) {}
    /// For the library: nobody was given it, so nothing was tried. The poison stays as it is.
    void hand_back() noexcept {
        if (core_.mutex()) core_.release_clean();
    }
    /// For the library.
    void repairs_for_others() noexcept { core_.repairs_for_others(); }

private:
    void check() const {
        if (!core_.mutex()) {
            toadstone::detail::throw_misuse("a recovery gives access until completed");
        }
        core_.touch();
    }
    void give_up() noexcept {
        if (cause_) {
            core_.release_unrepaired();
        } else if constexpr (requires(Guard& rolls_back) { rolls_back.rollback(); }) {
            core_.release_in_place();
        } // else by the rule, when the core dies
    }

    typename Guard::core_type core_;
    T* value_;
    poison_cause cause_;
};

} // namespace toadstone::sync

#endif
