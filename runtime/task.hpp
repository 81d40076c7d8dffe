// task<T>: a lazy coroutine. Awaiting it runs it inside the caller's logical task.
#ifndef TOADSTONE_RUNTIME_TASK_HPP
#define TOADSTONE_RUNTIME_TASK_HPP

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/result.hpp>

#include <concepts>
#include <coroutine>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone {

template <class T = void>
class task;

namespace detail {

template <class T>
class promise;
template <class T>
class task_awaiter;

template <class A>
struct is_task : std::false_type {};
template <class T>
struct is_task<task<T>> : std::true_type {};
template <class A>
concept any_task = is_task<std::remove_cvref_t<A>>::value;

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

/// Throws std::logic_error: there is no coroutine in it any more.
[[noreturn, gnu::cold]] void refuse_spent_task();

struct task_promise : promise_base {
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept {
        free_frame(frame, size);
    }

    std::suspend_always initial_suspend() const noexcept { return {}; }
    final_awaiter final_suspend() const noexcept { return {}; }

    template <class A>
    decltype(auto)
    await_transform(A&& awaitable,
                    std::source_location where = std::source_location::current()) {
        if constexpr (any_task<A>) {
            static_assert(!std::is_lvalue_reference_v<A>,
                          "a task is awaited once: write co_await std::move(task)");
            using awaiter = typename std::remove_cvref_t<A>::awaiter;
            return awaiter(static_cast<A&&>(awaitable));
        } else if constexpr (convertible_to_awaiter<A>) {
            return static_cast<A&&>(awaitable).make_awaiter(*ctx, where);
        } else {
            static_assert(bindable<std::remove_cvref_t<A>>,
                          "a toadstone task awaits tasks and the awaitables of this library; "
                          "anything else could not be cancelled");
            static_assert(!std::is_aggregate_v<std::remove_cvref_t<A>>,
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

    template <class U>
        requires std::convertible_to<U, T>
    void return_value(U&& value) {
        out->set_value(std::forward<U>(value));
    }
    void unhandled_exception() noexcept { fail(std::current_exception()); }

    result<T>* out = nullptr;

private:
    void fail(std::exception_ptr error) noexcept {
        explain_causes(error);
        out->set_error(std::move(error));
        threw = &out->error();
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
        threw = &out->error();
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
/// Shape: one pointer. The frame comes from a pool per thread.
template <class T>
class [[nodiscard("a task does nothing until it is awaited or spawned")]] task {
public:
    using promise_type = detail::promise<T>;
    using value_type = T;
    using awaiter = detail::task_awaiter<T>;

    task(task&& other) noexcept : promise_(std::exchange(other.promise_, nullptr)) {}
    task& operator=(task&& other) noexcept {
        task(std::move(other)).swap(*this);
        return *this;
    }
    ~task() {
        if (promise_) promise_->handle().destroy(); // never started: no teardown
    }
    void swap(task& other) noexcept { std::swap(promise_, other.promise_); }

    /// For the library: gives the frame away, with the place of its result.
    [[nodiscard]] detail::promise_base& release(detail::result<T>& out) noexcept {
        TOADSTONE_ASSERT(promise_ != nullptr, "a task is awaited or spawned once");
        promise_->out = &out;
        return *std::exchange(promise_, nullptr);
    }
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
    explicit task_awaiter(task<T>&& body) : body_(nullptr) {
        if (!body.valid()) refuse_spent_task();
        body_ = &body.release(result_);
    }
    task_awaiter(const task_awaiter&) = delete;
    task_awaiter& operator=(const task_awaiter&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        promise_base& caller = frame.promise();
        body_->ctx = caller.ctx;
        body_->parent = &caller;
        body_->owner = this;
        child = body_;
        caller.ctx->call(*body_);
    }
    T await_resume() { return result_.take(); }

private:
    result<T> result_;
    promise_base* body_;
};

} // namespace detail
} // namespace toadstone

#endif
