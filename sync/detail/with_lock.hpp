// with_lock(): a function under a lock, strictly.
#ifndef TOADSTONE_SYNC_DETAIL_WITH_LOCK_HPP
#define TOADSTONE_SYNC_DETAIL_WITH_LOCK_HPP

#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/guard.hpp>

#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone::sync::detail {

template <class R, class Mutex, class Fn>
task<R> run_locked(Mutex& mutex, Fn fn, std::source_location where) {
    auto held = co_await mutex.lock(where);
    held.make_strict();
    if constexpr (std::is_void_v<R>) {
        co_await detail::call_on(fn, *held);
        held.unlock();
    } else {
        R result = co_await detail::call_on(fn, *held);
        held.unlock();
        co_return result;
    }
}

template <class R, class Mutex, class Fn>
task<R> run_locked_plain(Mutex& mutex, Fn fn, std::source_location where) {
    auto held = co_await mutex.lock(where);
    held.make_strict();
    if constexpr (std::is_void_v<R>) {
        detail::call_on(fn, *held);
        held.unlock();
    } else {
        R result = detail::call_on(fn, *held);
        held.unlock();
        co_return result;
    }
}

template <class Mutex, class Fn>
TOADSTONE_CORO_WRAPPER auto run_with_lock(Mutex& mutex, Fn&& fn, std::source_location where) {
    using F = std::remove_cvref_t<Fn>;
    toadstone::detail::check_closures<Fn>();
    using R = std::invoke_result_t<F&, typename Mutex::value_type&>;
    if constexpr (toadstone::detail::any_task<R>) {
        return run_locked<typename R::value_type, Mutex, F>(mutex, std::forward<Fn>(fn), where);
    } else {
        return run_locked_plain<R, Mutex, F>(mutex, std::forward<Fn>(fn), where);
    }
}

} // namespace toadstone::sync::detail

#endif
