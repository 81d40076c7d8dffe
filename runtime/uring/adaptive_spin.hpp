// Adaptive spinning: whether a worker that has run out of work stays awake for what another
// worker is about to hand it. A sleep and a wake-up cost both sides many microseconds.
#ifndef TOADSTONE_RUNTIME_URING_ADAPTIVE_SPIN_HPP
#define TOADSTONE_RUNTIME_URING_ADAPTIVE_SPIN_HPP

#include <algorithm>
#include <chrono>

namespace toadstone::detail {

/// Learns from how idle times end. A sleep that another worker has ended soon says that
/// spinning may pay; spins in vain, one after the other, say that it does not. Each time that
/// they do, twice as many such sleeps are needed before it is tried again: where nothing ever
/// comes in time, only a small part of the time is lost by spinning in vain.
class adaptive_spin {
public:
    /// The longest spin; 0: never.
    explicit adaptive_spin(std::chrono::nanoseconds longest) noexcept : longest_(longest) {}

    [[nodiscard]] std::chrono::nanoseconds longest() const noexcept { return longest_; }
    /// Sleeps are to be reported.
    [[nodiscard]] bool learns() const noexcept { return longest_.count() > 0; }
    [[nodiscard]] bool pays() const noexcept { return pays_; }

    /// A spin has ended because another thread handed something over.
    void found() noexcept {
        in_vain_ = 0;
        sleeps_needed_ = 1;
    }
    /// A spin has ended for another reason.
    void in_vain() noexcept {
        if (++in_vain_ < most_in_vain) return;
        pays_ = false;
        sleeps_left_ = sleeps_needed_;
        sleeps_needed_ = std::min(sleeps_needed_ * 2, most_sleeps);
    }
    /// Another thread has ended a sleep.
    void woken_after(std::chrono::nanoseconds slept) noexcept {
        if (pays_ || slept > longest_ * soon || --sleeps_left_ > 0) return;
        pays_ = true;
        in_vain_ = 0;
    }

private:
    static constexpr unsigned most_in_vain = 4;
    static constexpr unsigned most_sleeps = 1024;
    // A sleep for the same takes longer than a spin: by two wake-ups, or more on a busy
    // machine.
    static constexpr int soon = 10;

    std::chrono::nanoseconds longest_;
    bool pays_ = false;
    unsigned in_vain_ = 0;       // in a row
    unsigned sleeps_left_ = 1;   // before it is tried again
    unsigned sleeps_needed_ = 1; // the next time
};

} // namespace toadstone::detail

#endif
