// task<T>: a lazy coroutine. Awaiting it runs it inside the caller's logical task.
#ifndef TOADSTONE_RUNTIME_TASK_HPP
#define TOADSTONE_RUNTIME_TASK_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/result.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone {

template <class T = void>
class TOADSTONE_CORO_TASK task;

namespace detail {

template <class T>
class promise;
template <class T>
class task_awaiter;

/// Runs when a coroutine has ended: the trampoline destroys the frame and goes on.
struct final_awaiter {
    final_awaiter() noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
        promise_base& ended = frame.promise();
        ended.ctx->ended(ended);
    }
    void await_resume() const noexcept {}
};

/// Tells the causes of poison that are still without their exception which one it was.
void explain_causes(const std::exception_ptr& error) noexcept;

/// For a coroutine that promises a value and ended without one.
[[nodiscard]] std::exception_ptr ended_without_value(const context& task) noexcept;

/// Throws std::logic_error: there is no coroutine in it any more.
[[noreturn, gnu::cold]] void refuse_spent_task();

struct task_promise : promise_base, pooled {
    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter final_suspend() const noexcept { return {}; }

    /// Its place is nobody's concern: g++ would keep it in the frame.
    template <class T>
    task_awaiter<T> await_transform(task<T>&& body) {
        return task_awaiter<T>(std::move(body));
    }
    template <class A>
    decltype(auto)
    await_transform(A&& awaitable,
                    std::source_location where = std::source_location::current()) {
        using plain = std::remove_cvref_t<A>;
        if constexpr (any_task<A>) {
            static_assert(never<A>, "a task is awaited once: write co_await std::move(task)");
            return misused_awaitable();
        } else if constexpr (convertible_to_awaiter<A>) {
            return static_cast<A&&>(awaitable).make_awaiter(*ctx, where);
        } else if constexpr (convertible_to_awaiter<plain>) {
            static_assert(never<A>, "with_timeout(), when_all() and their like are awaited "
                                    "once: write co_await std::move(x)");
            return misused_awaitable();
        } else if constexpr (!bindable<plain>) {
            static_assert(never<A>,
                          "a toadstone task awaits tasks and the awaitables of this library; "
                          "anything else could not be cancelled");
            return misused_awaitable();
        } else {
            static_assert(!std::is_aggregate_v<plain>,
                          "g++ 12 destroys aggregate awaiters twice: give it a constructor");
            awaitable.bind(*ctx, where);
            return static_cast<A&&>(awaitable);
        }
    }
};

template <class T>
class promise final : public task_promise {
public:
    task<T> get_return_object() noexcept;

    /// The default argument is for `co_return {a, b};` and `co_return {};`.
    template <class U = T>
        requires std::convertible_to<U, T>
    void return_value(U&& value) {
        out->set_value(std::forward<U>(value));
    }
    void unhandled_exception() noexcept { fail(std::current_exception()); }
    final_awaiter final_suspend() noexcept {
        if (!out->has_value() && !out->error()) [[unlikely]]
            fail(ended_without_value(*ctx));
        return {};
    }

    result<T>* out = nullptr;

private:
    void fail(std::exception_ptr error) noexcept {
        explain_causes(error);
        out->set_error(std::move(error));
        threw = out->error_place();
    }
};

template <>
class promise<void> final : public task_promise {
public:
    task<void> get_return_object() noexcept;
    void return_void() noexcept { out->set_value(); }
    void unhandled_exception() noexcept {
        std::exception_ptr error = std::current_exception();
        explain_causes(error);
        out->set_error(std::move(error));
        threw = out->error_place();
    }

    result<void>* out = nullptr;
};

} // namespace detail

/// A coroutine that has not started. `co_await std::move(t)` starts it and gives its result or
/// rethrows its exception; spawn() and the combinators take it over. A task that is dropped
/// without being started destroys its parameters and does nothing else.
///
/// Errors: std::logic_error where one that was awaited, handed over or moved from before is
///     awaited or handed over again.
/// Cancellation: awaiting a task is no cancellation point by itself; the leaves inside are.
///     When the logical task is cancelled, this frame is destroyed after the frames that it
///     awaits.
/// Errors: a coroutine that promises a value and ends without co_return fails with a
///     std::logic_error that names the task.
/// Shape: one pointer. The frame comes from a pool per thread and is aligned to 64 bytes;
///     parameters and results that need more do not compile. A local variable that does is
///     misplaced, unless clang is given -fcoro-aligned-allocation.
template <class T>
class [[nodiscard("a task does nothing until it is awaited or spawned")]]
TOADSTONE_CORO_TASK task {
public:
    /// For the compiler.
    using promise_type = detail::promise<T>;
    /// What it returns.
    using value_type = T;
    /// For the library.
    using awaiter = detail::task_awaiter<T>;

    task(task&& other) noexcept : promise_(std::exchange(other.promise_, nullptr)) {}
    task& operator=(task&& other) noexcept {
        task(std::move(other)).swap(*this);
        return *this;
    }
    ~task() {
        if (promise_) promise_->handle().destroy(); // never started: no teardown
    }
    /// Exchanges two tasks.
    void swap(task& other) noexcept { std::swap(promise_, other.promise_); }

    /// For the library: gives the frame away, with the place of its result.
    [[nodiscard]] detail::promise_base& release(detail::result<T>& out) noexcept {
        TOADSTONE_ASSERT(promise_ != nullptr, "a task is awaited or spawned once");
        promise_->out = &out;
        return *std::exchange(promise_, nullptr);
    }
    /// It has a coroutine: false after a move or a co_await.
    [[nodiscard]] bool valid() const noexcept { return promise_ != nullptr; }

private:
    friend promise_type;
    explicit task(promise_type& promise) noexcept : promise_(&promise) {}

    promise_type* promise_;
};

namespace detail {

template <class T>
task<T> promise<T>::get_return_object() noexcept {
    return task<T>(*this);
}
inline task<void> promise<void>::get_return_object() noexcept {
    return task<void>(*this);
}

template <class T>
class [[nodiscard]] task_awaiter final : frame_owner {
public:
    explicit task_awaiter(task<T>&& body) {
        if (!body.valid()) refuse_spent_task();
        child = &body.release(result_);
    }
    task_awaiter(const task_awaiter&) = delete;
    task_awaiter& operator=(const task_awaiter&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        promise_base& caller = frame.promise();
        child->ctx = caller.ctx;
        child->parent = &caller;
        child->owner = this;
        caller.ctx->call(*child);
    }
    T await_resume() { return result_.take(); }

private:
    result<T> result_;
};

} // namespace detail
} // namespace toadstone

/// The compiler asks here for the promise of a coroutine, and tells its parameters.
template <class T, class... Parameters>
struct std::coroutine_traits<toadstone::task<T>, Parameters...> {
    static_assert((toadstone::detail::fits_frame<Parameters> && ...),
                  "coroutine frames are aligned to 64 bytes: pass what needs more by reference "
                  "or by std::unique_ptr");
    static_assert(
        toadstone::detail::fits_frame<T>,
        "results are kept in frames, aligned to 64 bytes: return a std::unique_ptr to "
        "what needs more");
    using promise_type = typename toadstone::task<T>::promise_type;
};

#endif
