// run_fiber: code that cannot be a coroutine, on a stack of its own.
#ifndef TOADSTONE_RUNTIME_FIBER_HPP
#define TOADSTONE_RUNTIME_FIBER_HPP

#include <toadstone/runtime/detail/fiber_core.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#ifdef TOADSTONE_NO_FIBERS
#error "this toadstone was built with -Dfibers=disabled: it has no run_fiber"
#endif

namespace toadstone {

/// What run_fiber() is told.
struct fiber_options {
    /// Bytes, rounded up to whole pages; what is not touched takes no memory. Below it lie
    /// 64 KiB in which every access is a fault (SIGSEGV).
    std::size_t stack_size = 256 * 1024;
};

/// Runs fn() on a stack of its own, as a part of the task that awaits it. There fn, and what
/// it calls, awaits by fiber::await(): a parser's callback, a comparator, a C library.
/// The function, or what it captures, is copied; it ends with the task that this returns.
///
/// Returns: a task<R>, R what fn() returns; to be awaited, spawned, or given to a combinator.
/// Errors: what fn() throws. std::system_error if the system gives no stack.
/// Cancellation: no cancellation point by itself; each fiber::await() is one. There the stack
///     is unwound, as by an exception that only `catch (...)` sees: everything on it is
///     destroyed, and a lock that is held poisons with the reason and the place. A
///     `catch (...)` that does not end with `throw;` then ends the process with a sentence. C
///     code cannot be unwound: see fiber::no_unwind.
/// Threads: a fiber runs on the worker of its task, always on the same.
/// Locks: blocking_lock() and the other blocking_ forms await there, instead of blocking.
/// Shape: stacks are kept per thread, up to 16 MiB. vm.max_map_count (mostly 65,530) bounds
///     how many there are at once: two mappings each.
template <class Fn>
[[nodiscard("a task does nothing until it is awaited or spawned")]] TOADSTONE_CORO_WRAPPER auto
run_fiber(fiber_options options, Fn&& fn,
          std::source_location where = std::source_location::current()) {
    using function = std::decay_t<Fn>;
    static_assert(std::is_invocable_v<function&>, "run_fiber() takes a function of nothing");
    detail::check_closures<Fn>();
    return detail::drive_fiber<function>(std::forward<Fn>(fn), options.stack_size, where);
}
/// With the usual options. Cancellation: as above.
template <class Fn>
[[nodiscard("a task does nothing until it is awaited or spawned")]] TOADSTONE_CORO_WRAPPER auto
run_fiber(Fn&& fn, std::source_location where = std::source_location::current()) {
    return run_fiber(fiber_options(), std::forward<Fn>(fn), where);
}

namespace fiber {

/// Awaits an awaitable of the library from code on a fiber's stack, however deep; like
/// `co_await` in a coroutine, and with the same rules for what may be awaited.
///
/// Returns: what co_await gives. Errors: what it throws; std::logic_error where no fiber runs.
/// Cancellation: that of what is awaited. Where the task has to stop the stack is unwound. In a
///     `catch` handler of an exception it is allowed, unlike co_await. Where a cancellation
///     could not unwind it ends the process with a sentence: within no_unwind, while the fiber
///     is being unwound, and in a destructor of a coroutine's local variable.
template <class A>
decltype(auto) await(A&& awaitable,
                     std::source_location where = std::source_location::current()) {
    detail::fiber_core& fiber = detail::this_fiber();
    fiber.check_await(false);
    return detail::await_here(fiber, std::forward<A>(awaitable), where);
}

/// While one lives, the fiber is not unwound: code stands between that cannot be, as in a
/// callback of a C library, whose own locks and memory would be lost. Only try_await() awaits
/// meanwhile. Around the call into C, or in the callback; where no fiber runs it does nothing.
///
/// Cancellation: after the last one has gone, the fiber's next await ends the task. The
///     blocking_ forms of locks and channels wait on meanwhile.
class no_unwind {
public:
    /// Where C code begins that must not be unwound.
    no_unwind() noexcept : fiber_(detail::find_fiber()) {
        if (fiber_) fiber_->forbid_unwind();
    }
    ~no_unwind() {
        if (fiber_) fiber_->allow_unwind();
    }
    no_unwind(const no_unwind&) = delete;
    no_unwind& operator=(const no_unwind&) = delete;

private:
    detail::fiber_core* fiber_;
};

/// As await(), but how it ended is a value: also that the task has to stop, which a callback
/// tells its C library by that library's own error code.
///
/// Returns: outcome<R>. Errors: none, but std::logic_error where no fiber runs: what goes
///     wrong, a lack of memory too, is in the outcome.
/// Cancellation: never unwinds. A request is in the outcome as is_cancelled(); completion wins.
///     While the fiber is being unwound nothing is awaited, and the outcome is is_cancelled().
template <class A>
auto try_await(A&& awaitable, std::source_location where = std::source_location::current())
    -> outcome<detail::await_result_t<A>> {
    using T = detail::await_result_t<A>;
    detail::fiber_core& fiber = detail::this_fiber();
    if (fiber.unwinding()) return outcome<T>::of_cancellation(fiber.task().reason());
    fiber.check_await(true);
    std::optional<task<T>> body;
    try {
        body.emplace(detail::as_task(std::forward<A>(awaitable)));
    } catch (...) { // no memory for it
        return outcome<T>::of_exception(std::current_exception());
    }
    detail::try_awaiter<T> awaiter(fiber.task(), where, *std::move(body));
    return detail::await_by(fiber, awaiter);
}

} // namespace fiber
} // namespace toadstone

#endif
