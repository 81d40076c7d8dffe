// spawn_blocking: a function that blocks runs on a thread for such functions, and a task waits
// for it.
#ifndef TOADSTONE_RUNTIME_SPAWN_BLOCKING_HPP
#define TOADSTONE_RUNTIME_SPAWN_BLOCKING_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/blocking_call.hpp>
#include <toadstone/runtime/detail/kept_values.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/result.hpp>

#include <exception>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone {
namespace detail {

void explain_causes(const std::exception_ptr& error) noexcept;

/// What spawn_blocking() calls, with its arguments and its result. In the awaiting frame.
template <class R, class Kept>
class blocking_function : public blocking_call {
public:
    explicit blocking_function(Kept&& kept) : kept_(std::move(kept)) {}
    R await_resume() { return outcome_.take(); }

private:
    void invoke() noexcept override {
        try {
            if constexpr (std::is_void_v<R>) {
                kept_.call();
                outcome_.set_value();
            } else {
                outcome_.set_value(kept_.call());
            }
        } catch (...) {
            std::exception_ptr error = std::current_exception();
            explain_causes(error);
            outcome_.set_error(std::move(error));
        }
    }

    Kept kept_;
    result<R> outcome_;
};

/// To be awaited once. Until then it can be moved.
template <class R, class Kept>
class [[nodiscard("the function is not called until this is awaited")]] blocking_operation {
public:
    static constexpr bool acquires = false;

    template <class... Values>
    explicit blocking_operation(std::in_place_t, Values&&... values)
        : kept_(std::forward<Values>(values)...) {}
    bound<blocking_function<R, Kept>> make_awaiter(context& ctx,
                                                   std::source_location where) && {
        return bound<blocking_function<R, Kept>>(ctx, where, std::move(kept_));
    }

private:
    Kept kept_;
};

} // namespace detail

/// Calls `fn(args...)`, which may block, on a thread of the runtime's for such functions, and
/// suspends the task until it has returned: for what has no asynchronous form (a database
/// driver, getaddrinfo(), a compressor). Files and sockets need no thread: io does those.
///
/// `fn` and `args` are copied or moved into the awaiting frame, as by std::thread (std::ref()
/// passes a reference), and handed over as rvalues. They are destroyed by the task, on its
/// worker, when the co_await is over.
///
/// Returns: what it returns, moved; references as references. Errors: what it throws; what
///     copying throws; std::system_error when there is no thread for it and none can be
///     started.
/// Cancellation: a cancellation point. A request that comes before the function has begun takes
///     it out of the queue, and it is never called. Once it has begun nothing can stop it: the
///     task waits for it, whatever time limit or force there is, its result or exception is
///     delivered, and the next cancellation point ends the task. Guards and frames of the task
///     stay until then. To let it end sooner, hand it this_task::token(), which it may ask.
/// Poisoning: inside, guards behave as on any thread: one that an exception of the function
///     destroys poisons. A guard of the task that the function uses is the task's.
/// Fairness: first come, first served, once all runtime_options::blocking_threads are in use.
///     Functions that wait for each other need a thread each.
/// Threads: the function runs on a thread named "block-3", is no task there (this_task::id() is
///     0, stop_requested() false), and cannot spawn. In a simulation it runs on the one thread
///     there is, at a time that the world chooses; it must not wait for a task there.
/// Lifetime: see class runtime. A function that never returns keeps the runtime from ending,
///     which names it; see on_stuck.
template <class Fn, class... Args>
[[nodiscard("the function is not called until this is awaited")]] auto
spawn_blocking(Fn&& fn, Args&&... args) {
    using F = std::decay_t<Fn>;
    constexpr bool callable = std::is_invocable_v<F, std::decay_t<Args>...>;
    static_assert(
        detail::safe_in_co_await<Fn>,
        "g++ 12 destroys the captures of a temporary closure in a co_await expression "
        "twice: name the lambda first, capture by reference, or pass values as arguments");
    static_assert(callable, "this function does not take these arguments, copied or moved: "
                            "std::ref() passes a reference");
    if constexpr (callable) {
        using R = std::invoke_result_t<F, std::decay_t<Args>...>;
        static_assert(!detail::library_awaitable<R>,
                      "spawn_blocking() is for functions that block a thread: a task is "
                      "awaited, or spawned");
        static_assert(detail::fits_frame<F> &&
                          (detail::fits_frame<std::decay_t<Args>> && ...) &&
                          detail::fits_frame<R>,
                      "frames are aligned to 64 bytes: pass and return what needs more by "
                      "std::unique_ptr");
        return detail::blocking_operation<R, detail::kept_values<F, std::decay_t<Args>...>>(
            std::in_place, std::forward<Fn>(fn), std::forward<Args>(args)...);
    } else {
        return detail::misused_awaitable();
    }
}

} // namespace toadstone

#endif
