// Measuring the rate of the time-stamp counter, and whether it can be trusted.
#include <toadstone/runtime/uring/quick_clock.hpp>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace toadstone::detail {
namespace {

// Of a reading between two looks at the counter: some 100, and 50 times as many under valgrind.
// With more, the thread was interrupted.
constexpr std::uint64_t longest_reading = 40'000;

constexpr std::chrono::milliseconds long_enough{10};

bool counter_is_invariant() noexcept {
#if defined(__x86_64__)
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1U << 8)) != 0;
#else
    return false;
#endif
}

} // namespace

bool quick_clock::counter_fits(const kernel& of) noexcept {
    static const bool invariant = counter_is_invariant();
    return invariant && of.real_time();
}

quick_clock::time_point quick_clock::now() noexcept {
    if (!usable_) return kernel_.now();
    const std::uint64_t before = counter();
    const time_point read = kernel_.now();
    const std::uint64_t after = counter();
    if (after - before > longest_reading) return read;
    if (ns_per_cycle_ == 0) {
        measure(read, before, after);
    } else if (after - counted_ < most_cycles_ && read_ + carried(after - counted_) < read) {
        usable_ = false; // the counter has fallen behind
        most_cycles_ = most_trusted_ = 0;
        return read;
    }
    read_ = read;
    counted_ = before;
    took_ = after - before;
    return read;
}

// From just after the first reading to just before the second: fewer cycles than have passed,
// so more time for each. The clock may be slewed, by 1 in 2000: 1 in 128 is added.
void quick_clock::measure(time_point read, std::uint64_t before, std::uint64_t after) noexcept {
    if (first_counted_ == 0) {
        first_read_ = read;
        first_counted_ = after;
        return;
    }
    const auto ns = std::chrono::nanoseconds(read - first_read_);
    if (ns < long_enough) return;
    // After a long sleep the numbers would be too large, and another pair is as good.
    if (ns > std::chrono::seconds(1) || before <= first_counted_) {
        first_counted_ = 0;
        return;
    }
    const auto passed = static_cast<std::uint64_t>(ns.count());
    const std::uint64_t rate = (passed << 32) / (before - first_counted_);
    ns_per_cycle_ = rate + rate / 128 + 1;
    const std::uint64_t oldest_ns = std::chrono::nanoseconds(oldest).count();
    most_cycles_ = (oldest_ns << 32) / ns_per_cycle_;
    most_trusted_ = 2000 * most_cycles_;
    static_assert(2000 * oldest == std::chrono::milliseconds(100));
}

} // namespace toadstone::detail
