// lock_all(): several mutexes at once, without a deadlock among those who do it.
#ifndef TOADSTONE_SYNC_LOCK_ALL_HPP
#define TOADSTONE_SYNC_LOCK_ALL_HPP

#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/detail/several_locks.hpp>
#include <toadstone/sync/mutex.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <source_location>
#include <tuple>
#include <utility>

namespace toadstone::sync {

/// What lock_all() gives: a guard for each mutex, in the order of its arguments.
///
///     auto held = co_await lock_all(from, to);
///     auto& [giver, taker] = held;
template <class... Guards>
class [[nodiscard("name it: a temporary guard releases at once")]] all_guards {
public:
    /// The guard of the mutex that was named at this place, counted from 0.
    template <std::size_t I>
    [[nodiscard]] auto& get() & noexcept {
        return std::get<I>(guards_);
    }
    /// The same, to be moved out.
    template <std::size_t I>
    [[nodiscard]] auto&& get() && noexcept {
        return std::get<I>(std::move(guards_));
    }
    /// Lets all go that are held.
    void unlock() noexcept {
        std::apply([](Guards&... each) { (each.unlock(), ...); }, guards_);
    }

    /// For the library.
    explicit all_guards(Guards&&... guards) noexcept : guards_(std::move(guards)...) {}

private:
    std::tuple<Guards...> guards_;
};

namespace detail {

/// The mutex with the data, of whatever is locked alone.
template <class Mutex>
[[nodiscard]] auto& exclusive(Mutex& of) noexcept {
    if constexpr (requires { of.of_writers(); }) {
        return of.of_writers();
    } else {
        return of;
    }
}

template <class... Guards, std::size_t... I, class... Mutexes>
all_guards<Guards...> make_guards(std::index_sequence<I...>, several_locks<sizeof...(I)>& all,
                                  Mutexes&... of) {
    std::tuple<std::optional<Guards>...> made; // one after the other: what copies may throw
    try {
        (std::get<I>(made).emplace(std::move(all.held(I)),
                                   exclusive(of).get_mut(ignore_poison)),
         ...);
    } catch (...) {
        const auto hand_back = []<class Guard>(std::optional<Guard>& one) {
            if (!one) return;
            if constexpr (requires { one->rollback(); }) {
                one->rollback();
            } else {
                one->unlock();
            }
        };
        (hand_back(std::get<I>(made)), ...);
        throw;
    }
    const auto begin = []<class Guard>(Guard& one) {
        if constexpr (requires { one.mark_inconsistent(); }) one.mark_inconsistent();
    };
    (begin(*std::get<I>(made)), ...);
    return all_guards<Guards...>(std::move(*std::get<I>(made))...);
}

template <class... Mutexes>
task<all_guards<typename Mutexes::guard...>> lock_each(std::source_location where,
                                                       Mutexes&... of) {
    using request = toadstone::detail::called_from<core_awaiter, mutex_core&, policies>;
    constexpr std::size_t count = sizeof...(of);
    several_locks<count> all(std::array<lock_to_take, count>{
        lock_to_take{&exclusive(of).core(), exclusive(of).policy_of_type()}...});
    for (std::size_t i = 0; i < count; ++i) {
        const lock_to_take& next = all.next(i);
        auto one = co_await request(where, *next.core, next.policy);
        all.keep(i, std::move(one));
    }
    co_return make_guards<typename Mutexes::guard...>(std::index_sequence_for<Mutexes...>(),
                                                      all, of...);
}

template <class... Mutexes>
class [[nodiscard("write co_await")]] lock_all_request {
    using guards = all_guards<typename Mutexes::guard...>;

public:
    static constexpr bool acquires = true;

    explicit lock_all_request(Mutexes&... of) noexcept : of_(of...) {}
    toadstone::detail::task_awaiter<guards> make_awaiter(toadstone::detail::context&,
                                                         std::source_location where) const {
        return toadstone::detail::task_awaiter<guards>(
            std::apply([&](Mutexes&... each) { return lock_each(where, each...); }, of_));
    }

private:
    std::tuple<Mutexes&...> of_;
};

} // namespace detail

/// Waits for all of them: mutexes, and shared_mutexes to write. They are taken one after the
/// other in the order of their addresses, whatever that of the arguments, so that two who call
/// this never wait for each other. (Who holds a lock before, or opens one of several by
/// unlocked(), has an order of his own.)
///
/// Returns: an all_guards. Errors: poison_error if one is poisoned; would_deadlock if one is
///     held already, or given twice; of those that roll back, what copying T throws;
///     std::bad_alloc. Nothing is held then.
/// Poisoning: none while it waits: what was taken goes back, clean, whatever happens.
/// Cancellation: a cancellation point until the last one is held. (One that defers
///     cancellation does so from when it is held.)
template <class... Mutexes>
[[nodiscard]] detail::lock_all_request<Mutexes...> lock_all(Mutexes&... of) noexcept {
    static_assert(sizeof...(of) > 0, "lock_all() locks something");
    static_assert((requires { detail::exclusive(of).core().owner_task(); } && ...),
                  "lock_all() is for mutex<T> and shared_mutex<T>");
    return detail::lock_all_request<Mutexes...>(of...);
}

} // namespace toadstone::sync

template <class... Guards>
struct std::tuple_size<toadstone::sync::all_guards<Guards...>>
    : std::integral_constant<std::size_t, sizeof...(Guards)> {};
template <std::size_t I, class... Guards>
struct std::tuple_element<I, toadstone::sync::all_guards<Guards...>>
    : std::tuple_element<I, std::tuple<Guards...>> {};

#endif
