// The timer behind every time limit: fires when it has passed by the clock it was given in.
#ifndef TOADSTONE_RUNTIME_DETAIL_LIMIT_TIMER_HPP
#define TOADSTONE_RUNTIME_DETAIL_LIMIT_TIMER_HPP

#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/detail/timer_wheel.hpp>

#include <chrono>

namespace toadstone::detail {

class executor;

/// Armed for a time limit. A length and a point of the steady clock are one timer. The calendar
/// may be set while the timer waits: it looks again when the time seems to be up, so that it
/// never fires early, and every `look_again`, so that it is not later than that.
///
/// Threads: home worker only. Lifetime: disarmed before it is destroyed.
class limit_timer : timer_node {
public:
    static constexpr std::chrono::seconds look_again{10};

    explicit limit_timer(time_limit limit) noexcept
        : what_(limit.what()), time_(limit.time()) {}
    limit_timer(const limit_timer&) = delete;
    limit_timer& operator=(const limit_timer&) = delete;

    void arm(executor& home) noexcept;
    void disarm(executor& home) noexcept;
    /// It is up before it begins. The clock is read only for a point in time.
    [[nodiscard]] bool is_past(executor& home) const noexcept {
        return what_ == time_limit::kind::length ? time_.count() <= 0 : point_is_past(home);
    }
    /// When it is up, by the steady clock of `asking`, on which this is called: the worker of
    /// something that runs under the limit. One that was past when it began is up now.
    [[nodiscard]] std::chrono::steady_clock::time_point
    end(const executor& asking) const noexcept;
    using timer_node::armed;
    [[nodiscard]] time_limit limit() const noexcept { return {time_, what_}; }

protected:
    ~limit_timer() = default;
    /// Once, by the worker, when the limit has passed; disarmed by then.
    virtual void time_up() noexcept = 0;

private:
    [[nodiscard]] bool point_is_past(executor& home) const noexcept;
    void expired() noexcept final;

    const time_limit::kind what_; // first: it fits behind what timer_node ends with
    const std::chrono::nanoseconds time_;
    executor* home_ = nullptr;
};

} // namespace toadstone::detail

#endif
