// foreign: awaiting another library's awaitable.
#ifndef TOADSTONE_RUNTIME_FOREIGN_HPP
#define TOADSTONE_RUNTIME_FOREIGN_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/foreign_bridge.hpp>

#include <concepts>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone {

/// What foreign() takes: an awaiter, or what has a member or free operator co_await that gives
/// one. The awaiter's await_suspend() takes a std::coroutine_handle of any promise.
template <class A>
concept foreign_awaitable =
    !detail::library_awaitable<A> && requires(detail::foreign_awaiter_t<A>& awaiter) {
        { awaiter.await_ready() } -> std::convertible_to<bool>;
        awaiter.await_suspend(detail::bridge_frame());
        awaiter.await_resume();
    };

namespace detail {

/// `A`: a type to be owned, or an lvalue reference.
template <class A>
class foreign_leaf final : public foreign_wait {
public:
    foreign_leaf(context& ctx, std::source_location where, A&& inside)
        : inside_(static_cast<A&&>(inside)) {
        this->bind(ctx, where);
    }
    foreign_result_t<A&&> await_resume() {
        this->check_ended();
        return step_->outcome.take();
    }

private:
    void start() override {
        auto step = std::make_unique<foreign_step_of<A>>(static_cast<A&&>(inside_));
        step_ = step.get();
        this->cross(std::move(step));
    }

    A inside_;
    foreign_step_of<A>* step_ = nullptr; // the bridge's
};

/// To be awaited once. Until then it can be moved.
template <class A>
class [[nodiscard("nothing is started until this is awaited")]] foreign_operation {
public:
    static constexpr bool acquires = false;

    explicit foreign_operation(A&& inside) : inside_(static_cast<A&&>(inside)) {}
    foreign_leaf<A> make_awaiter(context& ctx, std::source_location where) && {
        return foreign_leaf<A>(ctx, where, static_cast<A&&>(inside_));
    }

private:
    A inside_;
};

} // namespace detail

/// Awaits another library's awaitable: one that takes a std::coroutine_handle and knows nothing
/// of tasks. A coroutine on the heap, the bridge, takes it over and awaits it in the task's
/// place, so that no h.resume(), on whatever thread and however late it returns, touches a
/// frame of the task; the task goes on, on its own worker.
///
/// What is handed over is moved into the bridge; an lvalue is awaited where it is. What it
/// runs before it suspends runs here and now, on the task's worker.
///
/// Returns: what await_resume() gives, moved; an lvalue reference as it is: what it refers to
///     goes with the bridge, at the end of the full expression, if the awaitable owned it.
///     Errors: what await_ready(), await_suspend() and await_resume() throw; broken_completion,
///     if the other library destroys the bridge in place of resuming it; std::bad_alloc.
/// Cancellation: a cancellation point. A pending request is looked at before it starts. While
///     it runs it cannot be cancelled: the task waits for it, whatever time limit or force
///     there is, its result or exception is delivered, and the next cancellation point ends
///     the task. The shutdown of a runtime names it. An awaitable that can be cancelled in a
///     way of its own is better off with with_completion() or cancellable().
/// Poisoning: the bridge, and coroutines of the other library, are no frames of the task: they
///     are not torn down with it. A guard of the task stays held meanwhile.
/// Threads: resumed on any thread, once.
/// Shape: two blocks from the pool: a coroutine frame, and what it owns.
template <class A>
[[nodiscard("nothing is started until this is awaited")]] auto foreign(A&& awaitable) {
    // An lvalue by reference, anything else by value.
    using kept = std::conditional_t<std::is_lvalue_reference_v<A>, A, std::remove_cvref_t<A>>;
    constexpr bool movable = std::is_constructible_v<kept, A>;
    if constexpr (detail::library_awaitable<A>) {
        static_assert(detail::never<A>,
                      "foreign() is for what this library does not know: a "
                      "task, or an awaitable of its own, is awaited as it is");
        return detail::misused_awaitable();
    } else if constexpr (!foreign_awaitable<A>) {
        static_assert(detail::never<A>, "foreign() takes an awaiter, or what has an operator "
                                        "co_await that gives one");
        return detail::misused_awaitable();
    } else if constexpr (!movable) {
        static_assert(detail::never<A>,
                      "foreign() takes over what it is handed, and this cannot "
                      "be moved: give it a name and foreign() that");
        return detail::misused_awaitable();
    } else {
        static_assert(detail::fits_frame<kept> &&
                          detail::fits_frame<detail::foreign_result_t<kept&&>>,
                      "frames are aligned to 64 bytes: this needs more");
        return detail::foreign_operation<kept>(static_cast<kept&&>(awaitable));
    }
}

} // namespace toadstone

#endif
