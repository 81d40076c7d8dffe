// task_local<T>: a value that belongs to what a task does, as thread_local does to a thread.
#ifndef TOADSTONE_RUNTIME_TASK_LOCAL_HPP
#define TOADSTONE_RUNTIME_TASK_LOCAL_HPP

#include <toadstone/runtime/detail/boundary.hpp>

#include <coroutine>
#include <optional>
#include <utility>

namespace toadstone {

template <class T>
class task_local;

namespace detail {

/// The value that the running task finds at `key`, or null.
[[nodiscard]] const void* find_local(const void* key) noexcept;

template <class R, class T>
class local_awaiter final : public single_boundary<R> {
public:
    local_awaiter(context& ctx, std::source_location where, task<R>&& body, const void*&& key,
                  std::optional<T>&& value) noexcept
        : single_boundary<R>(ctx, where, std::move(body)), key_(key), value_(std::move(value)) {
    }

    [[nodiscard]] const void* local_inside(const void* key) const noexcept override {
        return key == key_ && value_ ? &*value_ : nullptr;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        this->inherit_request(this->prepare(frame));
        this->begin();
    }
    R await_resume() { return this->take(); }

private:
    context* child_ended(context& child) noexcept override {
        return child.unwound() ? this->pass_on(child.reason()) : this->complete();
    }

    const void* key_;
    std::optional<T> value_;
};

} // namespace detail

/// A value that everything finds that runs inside with(): functions and coroutines that are
/// called there, the insides of boundaries, the children of scopes that begin there, on
/// whatever worker. spawn()ed tasks, those of a join_set, children of a scope from outside, and
/// functions of spawn_blocking() do not; spawn(name.inherit(body())) hands a copy on.
///
///     constinit task_local<request_id> current_request;
///
///     co_await current_request.with(id, handle(client));
///     ... if (const request_id* id = current_request.get()) log(*id);
///
/// The object itself is the name of the value: it has static storage, and nothing is in it.
/// Threads: children read it at the same time; it is const.
/// Shape: one boundary for with(); get() looks at the boundaries around it, one by one.
template <class T>
class task_local {
public:
    /// Without a value, outside with().
    constexpr task_local() noexcept = default;
    task_local(const task_local&) = delete;
    task_local& operator=(const task_local&) = delete;

    /// Runs `awaitable` with that value, which hides one from outside and lives until all that
    /// runs inside has ended. Returns: its result. Errors: what it throws.
    /// Cancellation: as if it were awaited without this.
    template <class A>
    [[nodiscard]] auto with(T value, A&& awaitable) {
        return around(std::optional<T>(std::move(value)), std::forward<A>(awaitable));
    }
    /// The same with a copy of the present value, if there is one, for what will run elsewhere.
    /// Errors: what copying throws. Cancellation: as with().
    template <class A>
    [[nodiscard]] auto inherit(A&& awaitable) {
        const T* const present = get();
        return around(present ? std::optional<T>(*present) : std::nullopt,
                      std::forward<A>(awaitable));
    }
    /// Null where there is none, as on a plain thread. Valid inside the with().
    [[nodiscard]] const T* get() const noexcept {
        return static_cast<const T*>(detail::find_local(this));
    }

private:
    template <class A>
    auto around(std::optional<T>&& value, A&& awaitable) {
        using R = detail::await_result_t<A>;
        return detail::awaitable<detail::all_acquire<A>, detail::local_awaiter<R, T>, task<R>,
                                 const void*, std::optional<T>>(
            detail::as_task(std::forward<A>(awaitable)), this, std::move(value));
    }
};

} // namespace toadstone

#endif
