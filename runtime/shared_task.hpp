// shared_task: one task that several others wait for.
#ifndef TOADSTONE_RUNTIME_SHARED_TASK_HPP
#define TOADSTONE_RUNTIME_SHARED_TASK_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/shared_task_core.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/spawn.hpp>

#include <coroutine>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone {

template <class T>
class shared_task;

namespace detail {

template <class T>
class typed_share final : public shared_task_core {
public:
    explicit typed_share(typed_root<T>& root) : shared_task_core(root) {}

    /// How the task ended, taken over by the first who asks.
    const outcome<T>& end() {
        const std::lock_guard hold(lock_);
        if (!end_) {
            auto& from = static_cast<typed_root<T>&>(root());
            from.mark_observed();
            from.await_requesters(); // who asks the task to stop may hold its state just now
            const bool unwound = from.unwound();
            end_.emplace(outcome<T>::from(from.outcome, unwound,
                                          unwound ? from.reason() : cancel_reason::requested));
        }
        return *end_;
    }

private:
    std::optional<outcome<T>> end_; // guarded by lock_ until it is there
};

/// What `co_await shared` and its outcome() give.
template <class T>
using shared_value = std::conditional_t<std::is_void_v<T> || std::is_reference_v<T>, T,
                                        std::add_lvalue_reference_t<const T>>;

template <class T, bool AsOutcome>
class [[nodiscard]] share_awaiter final : public wait_leaf<shared_task_core, share_waiter> {
public:
    share_awaiter(shared_task<T> of, context& ctx, std::source_location where)
        : wait_leaf(of.core()), of_(std::move(of)) {
        bind(ctx, where);
    }
    bool taken() noexcept override { return false; } // as a join: the end is there, deliver it

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && core_->ended();
    }
    decltype(auto) await_resume() {
        if constexpr (AsOutcome) {
            return as_outcome();
        } else {
            return value();
        }
    }

private:
    shared_value<T> value() {
        if constexpr (std::is_void_v<T>) {
            of_.core().end().value();
        } else {
            return of_.core().end().value();
        }
    }
    outcome<shared_value<T>> as_outcome() {
        using given = outcome<shared_value<T>>;
        const outcome<T>& end = of_.core().end();
        if (end.has_exception()) return given::of_exception(end.exception());
        if (end.is_cancelled()) return given::of_cancellation(end.reason());
        if constexpr (std::is_void_v<T>) {
            return given::of_value();
        } else {
            return given::of_value(end.value());
        }
    }

    shared_task<T> of_; // what waits keeps the task joined
};

template <class T>
class [[nodiscard("write co_await")]] outcome_of_share {
public:
    explicit outcome_of_share(const shared_task<T>& of) noexcept : of_(of) {}
    share_awaiter<T, true> make_awaiter(context& ctx, std::source_location where) const {
        return share_awaiter<T, true>(of_, ctx, where);
    }

private:
    shared_task<T> of_;
};

} // namespace detail

/// A task of its own that any number of tasks may wait for: `co_await shared` gives each of
/// them a `const T&`, rethrows the exception, or throws task_cancelled. Copies share the task;
/// the value lives as long as one of them does.
///
///     shared_task config(spawn(load_config()));   // and copies to all who need it
///     const settings& found = co_await config;
///
/// With the last copy the task is detached, as with a join_handle: abort with cancel(). An
/// exception that nobody fetched is then reported.
///
/// Cancellation: co_await is a cancellation point, and ends that one wait only, neither the
///     task nor the other waits. An end that is there is delivered. cancel() asks the task to
///     stop.
/// Errors: std::logic_error, from the constructor, of an empty handle, and of one that is being
///     awaited.
/// Threads: copies may be used on different threads at the same time; one copy as an int.
/// Shape: one small allocation; waiting allocates nothing.
template <class T = void>
class [[nodiscard]] shared_task {
public:
    /// Takes the handle over. Errors: also std::bad_alloc; the task is then detached.
    explicit shared_task(join_handle<T>&& handle) : core_(take(std::move(handle))) {}
    shared_task(const shared_task& other) noexcept : core_(other.core_) {
        if (core_) core_->add_owner();
    }
    shared_task(shared_task&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    shared_task& operator=(shared_task other) noexcept {
        std::swap(core_, other.core_);
        return *this;
    }
    ~shared_task() {
        if (core_) core_->drop_owner();
    }

    /// Asks the task to stop.
    void cancel(cancel_reason reason = cancel_reason::requested) noexcept {
        if (core_) core_->root().request_from_anywhere(reason);
    }
    /// It has ended; waiting for it does not wait.
    [[nodiscard]] bool done() const noexcept { return core_ && core_->ended(); }
    /// It has a task: false after a move.
    [[nodiscard]] bool valid() const noexcept { return core_ != nullptr; }
    /// Of the task, as in causes; 0 for none.
    [[nodiscard]] std::uint64_t id() const noexcept { return core_ ? core_->root().id() : 0; }

    /// `co_await shared.outcome()` gives the end as a value: an outcome<const T&>.
    [[nodiscard]] detail::outcome_of_share<T> outcome() const noexcept {
        return detail::outcome_of_share<T>(*this);
    }

    /// For the library.
    detail::share_awaiter<T, false> make_awaiter(detail::context& ctx,
                                                 std::source_location where) const {
        return detail::share_awaiter<T, false>(*this, ctx, where);
    }
    /// For the library.
    [[nodiscard]] detail::typed_share<T>& core() const {
        if (!core_) detail::refuse_join(nullptr);
        return *core_;
    }

private:
    static detail::typed_share<T>* take(join_handle<T>&& handle) {
        join_handle<T> taken(std::move(handle));
        if (!taken.valid()) detail::refuse_join(nullptr);
        shared_task made(new detail::typed_share<T>(*taken.root()));
        taken.give_up();
        if (!made.core_->begin()) detail::refuse_join(&made.core_->root());
        return std::exchange(made.core_, nullptr);
    }
    explicit shared_task(detail::typed_share<T>* made) noexcept : core_(made) {}

    detail::typed_share<T>* core_ = nullptr;
};

} // namespace toadstone

#endif
