// local_guard: holding a local_mutex, all of its data or a part.
#ifndef TOADSTONE_SYNC_LOCAL_GUARD_HPP
#define TOADSTONE_SYNC_LOCAL_GUARD_HPP

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/local_guard_core.hpp>
#include <toadstone/sync/detail/local_open_section.hpp>
#include <toadstone/sync/detail/unlocked.hpp>
#include <toadstone/sync/guard.hpp>
#include <toadstone/sync/rollback_guard.hpp>
#include <toadstone/sync/transaction.hpp>

#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::sync {
namespace detail {

/// The mutex with its data: a guard that knows the one finds the other.
template <class T>
struct local_data : local_core {
    constexpr local_data(std::string_view name, policies policy)
        requires std::is_default_constructible_v<T>
        : local_core(name, policy) {}
    constexpr local_data(T data, std::string_view name, policies policy)
        : local_core(name, policy), value(std::move(data)) {}
    T value{};
};

/// Where the data of a local guard is: in its mutex.
template <class T>
class whole_data {
public:
    explicit whole_data(T&) noexcept {}
    [[nodiscard]] T& in(local_core& mutex) const noexcept {
        return static_cast<local_data<T>&>(mutex).value;
    }
};
/// A part of that, or what it leads to.
template <class T>
class part_of_data {
public:
    explicit part_of_data(T& part) noexcept : part_(&part) {}
    [[nodiscard]] T& in(local_core&) const noexcept { return *part_; }

private:
    T* part_;
};

} // namespace detail

template <class T, class Place = detail::whole_data<T>>
class local_guard;

/// What local_guard::map() gives.
template <class T>
using local_part_guard = local_guard<T, detail::part_of_data<T>>;
/// The guard of a local_mutex whose type rolls back: see rollback_guard.
template <class T>
using local_rollback_guard = rollback_guard<T, detail::local_guard_core>;
/// What local_mutex::transaction() gives: see transaction.
template <class T>
using local_transaction = transaction<T, detail::local_guard_core>;
/// What local_mutex::lock_or_poison() gives.
template <class T, class Guard = local_guard<T>>
using local_lock_result = lock_result<T, Guard>;
/// What local_mutex::recover() gives.
template <class T, class Guard = local_guard<T>>
using local_recovery = recovery<T, Guard>;

/// The right to the data of a local_mutex. Move-only; one that was moved from holds nothing.
///
/// Poisoning: as guard<T>. Threads: dies on the worker that its mutex belongs to.
/// Lifetime: not longer than the mutex.
template <class T, class Place>
class [[nodiscard("name it: a temporary guard releases at once")]] local_guard {
public:
    local_guard(local_guard&&) noexcept = default;
    local_guard& operator=(local_guard&&) noexcept = default;
    ~local_guard() = default;

    /// Errors: std::logic_error if it holds nothing, as of every member that needs the lock.
    [[nodiscard]] T& operator*() const { return place_.in(core_.dereferenced()); }
    /// The data.
    [[nodiscard]] T* operator->() const { return &place_.in(core_.dereferenced()); }
    /// To look at the data only: with a policy if_touched, it does not count as access.
    [[nodiscard]] const T& view() const { return place_.in(core_.locked()); }
    /// False after unlock() and after a move.
    [[nodiscard]] bool held() const noexcept { return core_.held(); }
    /// held().
    explicit operator bool() const noexcept { return held(); }

    /// Releases; never poisons, never suspends. Nothing happens if nothing is held.
    void unlock() noexcept { core_.release_clean(); }

    /// Says that the data is broken: everybody else gets a poison_error with this reason.
    void poison(std::string_view why) { core_.declare_poisoned(why); }
    /// Says that the data is right again.
    void clear_poison() { core_.locked().clear_poison(); }
    /// As guard::is_poisoned().
    [[nodiscard]] bool is_poisoned() const { return core_.locked().is_poisoned(); }

    /// From here on, leaving early does no harm: an interruption leaves the lock clean.
    void mark_consistent() { core_.locked().set_consistent(true); }
    /// Takes mark_consistent() back.
    void mark_inconsistent() { core_.locked().set_consistent(false); }

    /// Narrows the guard to a member, or to whatever `fn(T&)` refers to. This guard is empty
    /// afterwards; the verdict goes on with the new one, a local_part_guard.
    template <class Fn>
        requires std::is_lvalue_reference_v<std::invoke_result_t<Fn&, T&>>
    [[nodiscard]] auto map(Fn fn) {
        auto& part = detail::call_on(fn, **this);
        return local_part_guard<std::remove_reference_t<decltype(part)>>(std::move(core_),
                                                                         part);
    }
    /// map() to what `fn(T&)` points to. Returns: nothing if that is null; then this guard
    /// holds what it held.
    template <class Fn>
        requires std::is_pointer_v<std::invoke_result_t<Fn&, T&>>
    [[nodiscard]] auto try_map(Fn fn) {
        auto* const part = detail::call_on(fn, **this);
        using narrowed = local_part_guard<std::remove_reference_t<decltype(*part)>>;
        if (!part) return std::optional<narrowed>();
        return std::optional<narrowed>(std::in_place, std::move(core_), *part);
    }

    /// guard::unlocked(), to the letter, on this worker. Cancellation: as that.
    template <class Fn>
        requires std::is_invocable_v<std::decay_t<Fn>&>
    [[nodiscard]] auto unlocked(Fn&& fn) {
        using F = std::decay_t<Fn>;
        toadstone::detail::check_closures<Fn>();
        using awaiter = detail::unlocked_awaiter<detail::unlocked_result_t<F>, F,
                                                 detail::local_open_section, core_type>;
        return toadstone::detail::awaitable<false, awaiter, core_type*, F>(
            &core_, F(std::forward<Fn>(fn)));
    }

    /// For the library.
    using core_type = detail::local_guard_core;
    /// For the library.
    local_guard(detail::local_seed&& seed, T& value) noexcept
        : core_(std::move(seed)), place_(value) {}
    /// For the library.
    local_guard(core_type&& core, T& value) noexcept : core_(std::move(core)), place_(value) {}
    /// For the library.
    void make_strict() noexcept { core_.make_strict(); }

private:
    core_type core_;
    [[no_unique_address]] Place place_;
};

} // namespace toadstone::sync

#endif
