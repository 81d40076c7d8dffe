// A limit on time, as a duration or as a point of one of two clocks, that cannot overflow.
#ifndef TOADSTONE_RUNTIME_DETAIL_TIME_LIMIT_HPP
#define TOADSTONE_RUNTIME_DETAIL_TIME_LIMIT_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

namespace toadstone::detail {

/// No time that comes from outside is longer: 146 years, in either direction. The sum of two is
/// still a number.
inline constexpr std::chrono::nanoseconds longest_wait = std::chrono::nanoseconds::max() / 2;

[[noreturn]] inline void refuse_no_time() {
    throw std::invalid_argument("a time that is not a number (NaN) is no time to wait for");
}

/// Every duration that comes from outside goes through here. Too long, also infinite: the
/// longest; fractions of a nanosecond are rounded up, so that nothing fires early.
/// Errors: std::invalid_argument for NaN.
template <class Rep, class Period>
[[nodiscard]] constexpr std::chrono::nanoseconds
to_signed_nanoseconds(std::chrono::duration<Rep, Period> time) {
    using namespace std::chrono;
    if constexpr (treat_as_floating_point_v<Rep>) {
        if (time.count() != time.count()) refuse_no_time();
    }
    if (time >= duration<double, std::nano>(longest_wait)) return longest_wait;
    if (time <= duration<double, std::nano>(-longest_wait)) return -longest_wait;
    return ceil<nanoseconds>(time);
}

/// to_signed_nanoseconds() of a wait: what is negative is no time.
template <class Rep, class Period>
[[nodiscard]] constexpr std::chrono::nanoseconds
to_nanoseconds(std::chrono::duration<Rep, Period> wait) {
    const std::chrono::nanoseconds time = to_signed_nanoseconds(wait);
    return time.count() < 0 ? std::chrono::nanoseconds(0) : time;
}

/// Saturating: a timeout of hours::max() means "never".
[[nodiscard]] constexpr std::chrono::steady_clock::time_point
deadline_after(std::chrono::steady_clock::time_point now,
               std::chrono::nanoseconds wait) noexcept {
    using point = std::chrono::steady_clock::time_point;
    return wait > point::max() - now ? point::max() : now + wait;
}

/// What a limit was given as: a length, a point of the worker's clock, or one of the calendar.
class time_limit {
    using steady = std::chrono::steady_clock;
    using calendar = std::chrono::system_clock;

public:
    enum class kind : unsigned char { length, steady, calendar };

    /// Errors: std::invalid_argument for NaN.
    template <class Rep, class Period>
    explicit time_limit(std::chrono::duration<Rep, Period> length)
        : time_(to_nanoseconds(length)) {}
    template <class Duration>
    explicit time_limit(std::chrono::time_point<steady, Duration> end)
        : time_(to_signed_nanoseconds(end.time_since_epoch())), kind_(kind::steady) {}
    template <class Duration>
    explicit time_limit(std::chrono::time_point<calendar, Duration> end)
        : time_(to_signed_nanoseconds(end.time_since_epoch())), kind_(kind::calendar) {}

    [[nodiscard]] kind what() const noexcept { return kind_; }
    /// A length, or the time since the epoch of its clock.
    [[nodiscard]] std::chrono::nanoseconds time() const noexcept { return time_; }
    /// "1.5 s", "250 ms"; a point in time: "a deadline".
    [[nodiscard]] std::string to_string() const;

    /// From its parts.
    time_limit(std::chrono::nanoseconds time, kind what) noexcept : time_(time), kind_(what) {}

private:
    std::chrono::nanoseconds time_;
    kind kind_ = kind::length;
};

} // namespace toadstone::detail

#endif
