// interval: ticks at a fixed rate, and what becomes of those that were missed.
#ifndef TOADSTONE_RUNTIME_INTERVAL_HPP
#define TOADSTONE_RUNTIME_INTERVAL_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/detail/timer_wheel.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <chrono>
#include <coroutine>
#include <stdexcept>

namespace toadstone {

/// What an interval does when a whole period or more has passed since a tick was due.
enum class missed_tick : unsigned char {
    burst, ///< those that were missed come one after the other, at once; then on time again
    delay, ///< the next one comes a period after the one that was late
    skip,  ///< they are left out; the next one comes at a multiple of the period
};

class interval;

namespace detail {

class interval_tick : public leaf, timer_node {
public:
    explicit interval_tick(interval& of) noexcept;
    ~interval_tick() { leave(); }

    bool cancel(cancel_reason, bool) noexcept override {
        const bool waiting = armed();
        ctx_->home().disarm(*this);
        return waiting;
    }
    bool taken() noexcept override { return true; } // the tick is still to come

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && (!enter() || is_due());
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) begin();
    }
    std::chrono::steady_clock::time_point await_resume();

private:
    void expired() noexcept override { ctx_->home().push(*ctx_); }
    [[nodiscard]] bool is_due() const noexcept { return ctx_->home().now() >= due(); }
    [[nodiscard]] std::chrono::steady_clock::time_point due() const noexcept;
    /// False: another task awaits the tick.
    [[nodiscard]] bool enter() noexcept;
    void begin() noexcept {
        if (enter()) {
            ctx_->home().arm(*this, due());
        } else {
            ctx_->home().push(*ctx_);
        }
    }
    void leave() noexcept;

    interval* of_;
};

} // namespace detail

/// Ticks at a fixed rate: `co_await every.tick()` suspends until the next one is due, and gives
/// the time at which it was due. The first is due at once, or at `start`. They do not drift:
/// each is due a period after the one before, however late that was awaited.
///
///     interval every(100ms, missed_tick::skip);
///     for (;;) {
///         co_await every.tick();
///         sample();
///     }
///
/// Errors: std::invalid_argument, from the constructor, for a period that is not positive, or
///     NaN; std::logic_error, from co_await, while another task awaits the tick.
/// Cancellation: tick() is a cancellation point; a tick that was not delivered is still to
///     come.
/// Threads: one task at a time, of any worker.
/// Units: resolution one microsecond, by this_task::now(); never early.
class interval {
public:
    /// By the steady clock.
    using time_point = std::chrono::steady_clock::time_point;

    /// The first tick one period from now. Errors: std::invalid_argument, not more than no
    /// time.
    template <class Rep, class Period>
    explicit interval(std::chrono::duration<Rep, Period> period,
                      missed_tick missed = missed_tick::burst)
        : interval(this_task::now(), period, missed) {}
    /// The first tick at `start`. Errors: as above.
    template <class Rep, class Period>
    interval(time_point start, std::chrono::duration<Rep, Period> period,
             missed_tick missed = missed_tick::burst)
        : period_(detail::to_nanoseconds(period)), due_(start), missed_(missed) {
        if (period_.count() <= 0)
            throw std::invalid_argument("the period of an interval is longer than nothing");
    }
    interval(const interval&) = delete;
    interval& operator=(const interval&) = delete;
    ~interval() {
        TOADSTONE_ASSERT(!awaited_by_, "an interval is destroyed while nobody awaits its tick");
    }

    /// As the class says. Returns: when it was due. Cancellation: see the class.
    [[nodiscard]] auto tick() noexcept {
        return detail::operation<detail::interval_tick, interval&>(*this);
    }

    /// The next tick is due a period from now; or at `when`. Not while a task awaits tick().
    void reset() noexcept { due_ = detail::deadline_after(this_task::now(), period_); }
    /// The next tick is at `when`, those after it a period each later.
    void reset(time_point when) noexcept { due_ = when; }
    /// As it was given.
    [[nodiscard]] std::chrono::nanoseconds period() const noexcept { return period_; }

private:
    friend class detail::interval_tick;
    /// The tick that was due has been delivered at `now`; returns when it was due.
    time_point delivered(time_point now) noexcept {
        const time_point was_due = due_;
        due_ = detail::deadline_after(due_, period_);
        if (now < due_) return was_due;
        if (missed_ == missed_tick::delay) due_ = detail::deadline_after(now, period_);
        if (missed_ == missed_tick::skip) {
            const auto late = now - due_;
            due_ = detail::deadline_after(now - late % period_, period_);
        }
        return was_due;
    }

    std::chrono::nanoseconds period_;
    time_point due_;
    missed_tick missed_;
    detail::interval_tick* awaited_by_ = nullptr;
};

namespace detail {

inline interval_tick::interval_tick(interval& of) noexcept : of_(&of) {}

inline std::chrono::steady_clock::time_point interval_tick::due() const noexcept {
    return of_->due_;
}

inline bool interval_tick::enter() noexcept {
    if (!of_->awaited_by_) of_->awaited_by_ = this;
    return of_->awaited_by_ == this;
}

inline void interval_tick::leave() noexcept {
    if (of_->awaited_by_ == this) of_->awaited_by_ = nullptr;
}

inline std::chrono::steady_clock::time_point interval_tick::await_resume() {
    if (of_->awaited_by_ != this)
        throw_misuse("one task at a time awaits the tick of an interval");
    leave();
    return of_->delivered(ctx_->home().now());
}

} // namespace detail
} // namespace toadstone

#endif
