// The clock of a worker, for which the time-stamp counter stands in between two readings.
#ifndef TOADSTONE_RUNTIME_URING_QUICK_CLOCK_HPP
#define TOADSTONE_RUNTIME_URING_QUICK_CLOCK_HPP

#include <toadstone/runtime/uring/kernel.hpp>

#include <chrono>
#include <cstdint>

namespace toadstone::detail {

/// Reads the kernel's clock, and remembers the reading for what is armed soon afterwards. What
/// is remembered is never taken for the time itself, or a timer would be early by its age: the
/// time-stamp counter adds what has passed, by a rate that is rounded up.
///
/// Only where the kernel's time is the machine's and the counter has a constant rate: x86-64
/// with an invariant counter. The rate is measured between two readings that are at least 10 ms
/// apart; until then, and everywhere else, each call reads the clock.
///
/// Threads: the worker's only.
class quick_clock {
public:
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr std::chrono::microseconds oldest{50};

    explicit quick_clock(kernel& of) noexcept : kernel_(of), usable_(counter_fits(of)) {}

    /// The kernel's clock.
    [[nodiscard]] time_point now() noexcept;

    /// Never behind the clock, and ahead of it by a microsecond, or by 20 if the thread was
    /// interrupted while it read the clock: for the deadline of a length, which may be late and
    /// must not be early. Reads the clock if the last reading is older than 50 us by the
    /// counter.
    [[nodiscard]] time_point now_or_later() noexcept {
        const std::uint64_t passed = counter() - counted_;
        return passed < most_cycles_ ? read_ + carried(passed) : now();
    }

    /// `when` has not come, as far as the counter tells by the last reading, if that is not
    /// older than 100 ms. Without a reading; false where one would be needed.
    [[nodiscard]] bool surely_before(time_point when) const noexcept {
        const std::uint64_t passed = counter() - counted_;
        return passed < most_trusted_ && read_ + carried(passed) < when;
    }
    /// Not ahead of the clock, and 160 microseconds behind it at most: for a wait of seconds.
    /// Reads the clock if the last reading is older than 10 ms.
    [[nodiscard]] time_point now_or_earlier() noexcept {
        const std::uint64_t passed = counter() - counted_;
        if (passed >= most_trusted_ / 10) return now();
        const std::uint64_t at_least = passed - took_;
        return read_ + carried(at_least - at_least / 64) - std::chrono::nanoseconds(1);
    }

private:
    [[nodiscard]] static bool counter_fits(const kernel& of) noexcept;
    [[nodiscard]] static std::uint64_t counter() noexcept {
#if defined(__x86_64__)
        return __builtin_ia32_rdtsc();
#else
        return 0;
#endif
    }
    [[nodiscard]] std::chrono::nanoseconds carried(std::uint64_t cycles) const noexcept {
        return std::chrono::nanoseconds((cycles * ns_per_cycle_ >> 32) + 1);
    }
    void measure(time_point read, std::uint64_t before, std::uint64_t after) noexcept;

    kernel& kernel_;
    bool usable_;
    time_point read_;
    std::uint64_t counted_ = 0;      // just before read_
    std::uint64_t took_ = 0;         // the reading, in cycles
    std::uint64_t ns_per_cycle_ = 0; // in 2^-32, rounded up; 0: not known yet
    std::uint64_t most_cycles_ = 0;  // in `oldest`; 0: the rate is not known, or not trusted
    std::uint64_t most_trusted_ = 0; // in 100 ms; 0: not at all
    time_point first_read_;
    std::uint64_t first_counted_ = 0; // just after first_read_; 0: not yet
};

} // namespace toadstone::detail

#endif
