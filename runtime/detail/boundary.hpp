// Boundaries: child contexts inside an awaiter, each with a cancellation state of its own.
#ifndef TOADSTONE_RUNTIME_DETAIL_BOUNDARY_HPP
#define TOADSTONE_RUNTIME_DETAIL_BOUNDARY_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/result.hpp>
#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

namespace toadstone::detail {

/// A leaf whose operation is child contexts. It completes when all of them have ended, and so
/// nothing below the awaiting frame is left when that frame goes on or is torn down.
class boundary : public leaf {
public:
    /// A child has ended; from the worker's loop. Returns what context::finish() does.
    virtual context* child_ended(context& child) noexcept = 0;

    boundary(const boundary&) = delete;
    boundary& operator=(const boundary&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }

protected:
    boundary(context& ctx, std::source_location where) noexcept { bind(ctx, where); }
    ~boundary() = default;

    /// The awaiting task goes on.
    [[nodiscard]] context* complete() noexcept { return ctx_; }
    /// The inside was cancelled by itself, so there is no result: the awaiting task stops for
    /// the same reason. If it cannot be stopped (it defers), it goes on and `stopped()` is set.
    [[nodiscard]] context* pass_on(cancel_reason reason) noexcept;
    /// For await_resume: throws task_cancelled if pass_on() could not stop the task.
    void check_stopped() const;
    /// Starts a child with whatever request the awaiting task has pending.
    void inherit_request(context& child) noexcept;

private:
    bool stopped_ = false;
    cancel_reason stop_reason_ = cancel_reason::requested;
};

/// One child context with its result. Lives in a boundary.
template <class T>
class child final : public context {
public:
    child(context& parent, boundary& owner) noexcept : context(parent), owner_(owner) {}
    ~child() = default;

    void begin(task<T>&& body) noexcept { start(body.release(outcome), frame_); }
    /// The same, for what `outside` has suspended for: it runs at once.
    void begin_within(context& outside, task<T>&& body) noexcept {
        promise_base& first = body.release(outcome);
        adopt(first, frame_);
        outside.call(first);
    }

    result<T> outcome;

private:
    context* finish() noexcept override { return owner_.child_ended(*this); }

    boundary& owner_;
    frame_owner frame_;
};

/// What co_await gives for an awaitable of the library; void for anything else, so that the
/// sentence about it is the only error.
template <class A>
struct await_result {
    static auto probe(A& awaitable) {
        if constexpr (convertible_to_awaiter<A>) {
            using awaiter = decltype(static_cast<A&&>(awaitable).make_awaiter(
                std::declval<context&>(), std::source_location()));
            return std::type_identity<decltype(std::declval<awaiter&>().await_resume())>();
        } else if constexpr (bindable<A>) {
            return std::type_identity<decltype(awaitable.await_resume())>();
        } else {
            return std::type_identity<void>();
        }
    }
    using type = typename decltype(probe(std::declval<A&>()))::type;
};
template <class T>
struct await_result<task<T>> {
    using type = T;
};
template <class A>
using await_result_t = typename await_result<std::remove_cvref_t<A>>::type;

/// An awaitable inside a combinator: the place that a user wants to read of is the one where he
/// awaits the combinator.
template <class A>
class located {
public:
    explicit located(A& inside) noexcept : inside_(inside) {}
    decltype(auto) make_awaiter(context& ctx, std::source_location where) {
        if (ctx.parent()) where = ctx.parent()->where();
        if constexpr (convertible_to_awaiter<A>) {
            return std::move(inside_).make_awaiter(ctx, where);
        } else {
            inside_.bind(ctx, where);
            return std::move(inside_);
        }
    }

private:
    A& inside_;
};

template <class A>
task<await_result_t<A>> run_awaitable(A awaitable) {
    co_return co_await located<A>(awaitable);
}

/// Marks the result of the coroutine that awaits it; suspends nothing.
class mark_acquired {
public:
    mark_acquired() noexcept {}
    void bind(context&, std::source_location) const noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class T>
    bool await_suspend(std::coroutine_handle<promise<T>> frame) const noexcept {
        frame.promise().out->mark_acquired();
        return false;
    }
    void await_resume() const noexcept {}
};

/// Instead of a body that threw before it was a task.
template <class T>
task<T> rethrows(std::exception_ptr error) {
    for (;;) {
        std::rethrow_exception(error);
        co_await mark_acquired();
    }
}

/// run_awaitable() for what gives an acquisition that is handed back if nobody takes it.
template <class A>
task<await_result_t<A>> run_acquisition(A awaitable) {
    co_await mark_acquired();
    co_return co_await located<A>(awaitable);
}

/// An awaitable whose result may go back to where it came from: a lock's guard, or that of a
/// lock inside a boundary. No code of the user has seen it in between.
template <class A>
concept acquisition = A::acquires;
template <class... A>
inline constexpr bool all_acquire = (acquisition<std::remove_cvref_t<A>> && ...);

/// Makes a task of any awaitable of the library, so that combinators take them all.
template <class A>
TOADSTONE_CORO_WRAPPER task<await_result_t<A>> as_task(A&& awaitable) {
    using plain = std::remove_cvref_t<A>;
    constexpr bool handle = is_join_handle<plain>::value;
    constexpr bool kept = !handle && std::is_lvalue_reference_v<A> && library_awaitable<A>;
    constexpr bool function = std::is_invocable_v<plain&>;
    static_assert(!handle, "a combinator would detach the task of a join_handle that it drops: "
                           "give it h.outcome()");
    static_assert(!kept, "hand the awaitable over: std::move(x)");
    static_assert(!function || library_awaitable<A>,
                  "this takes a task, not the function that makes one: call it");
    static_assert(function || library_awaitable<A>,
                  "a toadstone task awaits tasks and the awaitables of this library; "
                  "anything else could not be cancelled");
    if constexpr (handle || kept || !library_awaitable<A>) {
        std::terminate(); // it does not compile
    } else if constexpr (any_task<A>) {
        if (!awaitable.valid()) refuse_spent_task();
        return static_cast<A&&>(awaitable);
    } else if constexpr (acquisition<std::remove_cvref_t<A>>) {
        return run_acquisition<std::remove_cvref_t<A>>(static_cast<A&&>(awaitable));
    } else {
        return run_awaitable<plain>(static_cast<A&&>(awaitable));
    }
}

/// An awaitable that can still be moved: it makes its awaiter, which cannot, when it is
/// awaited. `Acquires`: see acquisition.
template <bool Acquires, class Awaiter, class... Parts>
class [[nodiscard("an awaitable does nothing until it is awaited")]] awaitable {
public:
    static constexpr bool acquires = Acquires;

    explicit awaitable(Parts&&... parts) noexcept : parts_(std::move(parts)...) {}

    Awaiter make_awaiter(context& ctx, std::source_location where) && {
        return std::apply(
            [&](Parts&... parts) { return Awaiter(ctx, where, std::move(parts)...); }, parts_);
    }

private:
    std::tuple<Parts...> parts_;
};

/// A boundary around one child, whose body is made when it begins.
template <class T>
class late_boundary : public boundary {
public:
    bool cancel(cancel_reason reason, bool force) noexcept override {
        inside_->request(reason, force);
        return false;
    }
    bool taken() noexcept override { return inside_->unwound(); }

protected:
    late_boundary(context& ctx, std::source_location where) noexcept : boundary(ctx, where) {}
    ~late_boundary() {
        if (started_) std::destroy_at(&inside());
    }

    [[nodiscard]] child<T>& inside() noexcept { return *inside_; }

    template <class Promise>
    child<T>& prepare(std::coroutine_handle<Promise> frame) noexcept {
        suspend_always(frame);
        inside_ = std::construct_at(&place_.inside, *ctx_, static_cast<boundary&>(*this));
        started_ = true;
        return *inside_;
    }
    void begin(task<T>&& body) noexcept { inside_->begin_within(*ctx_, std::move(body)); }
    /// There is an inside; else the awaiter was ready at once.
    [[nodiscard]] bool began() const noexcept { return started_; }

    T take() {
        check_stopped();
        ctx_->adopt_deferral_of(*inside_);
        return inside_->outcome.take();
    }
    outcome<T> take_outcome() {
        ctx_->adopt_deferral_of(*inside_);
        return outcome<T>::from(inside_->outcome, inside_->unwound(),
                                inside_->unwound() ? inside_->reason()
                                                   : cancel_reason::requested);
    }

private:
    union place {
        place() noexcept {}
        ~place() {}
        child<T> inside;
    };

    child<T>* inside_ = nullptr;
    place place_;
    bool started_ = false;
};

/// A boundary around one child.
template <class T>
class single_boundary : public late_boundary<T> {
public:
    single_boundary(context& ctx, std::source_location where, task<T>&& body) noexcept
        : late_boundary<T>(ctx, where), body_(std::move(body)) {}

protected:
    void begin() noexcept { late_boundary<T>::begin(std::move(body_)); }

private:
    task<T> body_;
};

} // namespace toadstone::detail

#endif
