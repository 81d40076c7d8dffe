// What a toadstone task can await, and the sentences for what it cannot.
#ifndef TOADSTONE_RUNTIME_DETAIL_AWAITABLE_HPP
#define TOADSTONE_RUNTIME_DETAIL_AWAITABLE_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>

#include <coroutine>
#include <source_location>
#include <type_traits>

namespace toadstone {

template <class T>
class TOADSTONE_CORO_TASK task;
template <class T>
class join_handle;

namespace detail {

class context;

template <class A>
struct is_task : std::false_type {};
template <class T>
struct is_task<task<T>> : std::true_type {};
template <class A>
concept any_task = is_task<std::remove_cvref_t<A>>::value;

template <class A>
struct is_join_handle : std::false_type {};
template <class T>
struct is_join_handle<join_handle<T>> : std::true_type {};

/// An awaitable of the library that is its own awaiter: it is told who awaits it, and where.
template <class A>
concept bindable = requires(A& awaiter, context& ctx, std::source_location where) {
    awaiter.bind(ctx, where);
    awaiter.await_ready();
};

/// An awaitable of the library that makes its awaiter.
template <class A>
concept convertible_to_awaiter =
    requires(A&& awaitable, context& ctx, std::source_location where) {
        static_cast<A&&>(awaitable).make_awaiter(ctx, where);
    };

/// Anything that `co_await` takes in a task, once it is handed over.
template <class A>
concept library_awaitable = any_task<A> || convertible_to_awaiter<std::remove_cvref_t<A>> ||
                            bindable<std::remove_cvref_t<A>>;

/// What a co_await expression may have as a temporary.
template <class Fn>
inline constexpr bool safe_in_co_await = !TOADSTONE_OLD_GCC || std::is_lvalue_reference_v<Fn> ||
                                         std::is_trivially_destructible_v<Fn>;
template <class... Fn>
constexpr void check_closures() noexcept {
    static_assert((safe_in_co_await<Fn> && ...),
                  "g++ 12 destroys the captures of a temporary closure in a co_await "
                  "expression twice: name the lambda first, or capture by reference");
}

/// Fits into a frame. By-reference parameters always do.
template <class A>
inline constexpr bool fits_frame = alignof(A) <= frame_alignment;
template <>
inline constexpr bool fits_frame<void> = true;
template <class A>
inline constexpr bool fits_frame<A&> = true;
template <class A>
inline constexpr bool fits_frame<A&&> = true;

/// False, but not before the template is used.
template <class...>
inline constexpr bool never = false;

/// Stands for the result of what cannot be awaited, so that the sentence that says why is the
/// only error.
struct misused_result {
    template <class T>
    operator T() const noexcept; // implicit: it takes the place of any value
};
struct misused_awaitable {
    misused_awaitable() noexcept {}
    void bind(context&, std::source_location) const noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    misused_result await_resume() const noexcept { return {}; }
};

} // namespace detail
} // namespace toadstone

#endif
