// await_future: a std::future, which can only be waited for by a thread, awaited by a task.
#ifndef TOADSTONE_RUNTIME_AWAIT_FUTURE_HPP
#define TOADSTONE_RUNTIME_AWAIT_FUTURE_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/spawn_blocking.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace toadstone {
namespace detail {

/// get() of a future that has no state, and of one that another get() has emptied, is undefined
/// in std.
template <class Future>
decltype(auto) get_of_valid(Future& from) {
    if (!from.valid()) throw_misuse("a future is awaited once, and only if it has a state");
    return from.get();
}

} // namespace detail

/// Waits for a std::future, std::shared_future, or another type with valid() and get(), on a
/// thread for functions that block: a future has no callback, so somebody has to block.
///
/// The future is handed over; a std::shared_future may be copied. One of std::async() with
/// std::launch::deferred runs on that thread.
///
/// Returns: what get() returns; the reference of a shared_future is good as long as another
///     copy is there. Errors: what get() throws, such as std::future_error for a broken
///     promise; std::logic_error for one without a state; those of spawn_blocking().
/// Cancellation: as spawn_blocking(): before the thread waits, the task ends at once; once it
///     waits, the task waits with it, and the shutdown of a runtime names it. A promise that is
///     never kept keeps task and thread for ever. Where the other side is yours, answer by a
///     completion, which can be cancelled.
template <class Future>
[[nodiscard("nothing waits until this is awaited")]] auto await_future(Future&& future) {
    using kept = std::remove_cvref_t<Future>;
    if constexpr (!requires(kept& f) {
                      { f.valid() } -> std::convertible_to<bool>;
                      f.get();
                  }) {
        static_assert(detail::never<Future>, "await_future() takes a std::future or its like");
        return detail::misused_awaitable();
    } else if constexpr (!std::is_constructible_v<kept, Future>) {
        static_assert(detail::never<Future>, "hand the future over: std::move(f)");
        return detail::misused_awaitable();
    } else {
        return spawn_blocking(
            [](kept&& from) -> decltype(auto) { return detail::get_of_valid(from); },
            std::forward<Future>(future));
    }
}

} // namespace toadstone

#endif
