// movable_sleep: a sleep whose end can be moved while it lasts.
#ifndef TOADSTONE_RUNTIME_MOVABLE_SLEEP_HPP
#define TOADSTONE_RUNTIME_MOVABLE_SLEEP_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/detail/timer_wheel.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <chrono>
#include <coroutine>
#include <source_location>

namespace toadstone {

class movable_sleep;

namespace detail {

class movable_sleep_awaiter final : public leaf, timer_node {
public:
    movable_sleep_awaiter(movable_sleep& of, context& ctx, std::source_location where) noexcept
        : of_(&of) {
        bind(ctx, where);
    }
    ~movable_sleep_awaiter() { leave(); }

    bool cancel(cancel_reason, bool) noexcept override {
        const bool waiting = armed();
        ctx_->home().disarm(*this);
        return waiting;
    }
    bool taken() noexcept override { return true; } // nothing is lost with it

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) begin();
    }
    void await_resume() {
        leave();
        if (refused_) throw_misuse("one task at a time awaits a movable_sleep");
    }

    /// False: the wait is over.
    [[nodiscard]] bool move_to(std::chrono::steady_clock::time_point when) {
        if (!ctx_->home().is_current())
            throw_misuse("a movable_sleep is moved on the worker of the task that awaits it");
        if (!armed()) return false;
        ctx_->home().disarm(*this);
        ctx_->home().arm(*this, when);
        return true;
    }

private:
    void begin() noexcept;
    void leave() noexcept;
    void expired() noexcept override { ctx_->home().push(*ctx_); }

    movable_sleep* of_;
    bool refused_ = false;
};

} // namespace detail

/// A sleep that one task awaits, `co_await s`, and others prolong, or shorten, with reset():
/// the idle timer of a connection, a flush that waits for more. Awaited again it sleeps until
/// the same end, which is then past, unless reset() has moved it.
///
/// Errors: std::logic_error, from co_await, while another task awaits it;
///     std::invalid_argument, from the constructor and reset(), for a length that is NaN.
/// Cancellation: co_await is a cancellation point; a sleeping task wakes at once.
/// Threads: the tasks of one worker, while a task awaits it.
/// Lifetime: it outlives the co_await.
/// Units: as sleep_until; lengths count from the call.
class movable_sleep {
public:
    /// By the steady clock.
    using time_point = std::chrono::steady_clock::time_point;

    /// Ends at `end`.
    explicit movable_sleep(time_point end) noexcept : end_(end) {}
    /// Ends `length` after now.
    template <class Rep, class Period>
    explicit movable_sleep(std::chrono::duration<Rep, Period> length) : end_(after(length)) {}
    movable_sleep(const movable_sleep&) = delete;
    movable_sleep& operator=(const movable_sleep&) = delete;
    ~movable_sleep() {
        TOADSTONE_ASSERT(!sleeper_, "a movable_sleep is destroyed while nobody awaits it");
    }

    /// Moves the end, in either direction. Returns: false if a task awaits it whose sleep is
    /// over already, although it has not gone on yet; the new end is for who sleeps next.
    /// Errors: also std::logic_error on another worker than that of the task that awaits it.
    bool reset(time_point end) {
        const bool in_time = !sleeper_ || sleeper_->move_to(end);
        end_ = end;
        return in_time;
    }
    /// reset() to so long after now.
    template <class Rep, class Period>
    bool reset(std::chrono::duration<Rep, Period> length) {
        return reset(after(length));
    }
    /// When it is to end, as it was set last.
    [[nodiscard]] time_point end() const noexcept { return end_; }

    /// For the library.
    detail::movable_sleep_awaiter make_awaiter(detail::context& ctx,
                                               std::source_location where) noexcept {
        return detail::movable_sleep_awaiter(*this, ctx, where);
    }

private:
    friend class detail::movable_sleep_awaiter;
    template <class Rep, class Period>
    [[nodiscard]] static time_point after(std::chrono::duration<Rep, Period> length) {
        return detail::deadline_after(this_task::now(), detail::to_nanoseconds(length));
    }

    time_point end_;
    detail::movable_sleep_awaiter* sleeper_ = nullptr;
};

namespace detail {

inline void movable_sleep_awaiter::begin() noexcept {
    refused_ = of_->sleeper_ != nullptr;
    if (refused_) {
        ctx_->home().push(*ctx_);
        return;
    }
    of_->sleeper_ = this;
    ctx_->home().arm(*this, of_->end_);
}

inline void movable_sleep_awaiter::leave() noexcept {
    if (of_->sleeper_ == this) of_->sleeper_ = nullptr;
}

} // namespace detail
} // namespace toadstone

#endif
