// Timers of one worker: a hierarchical wheel with O(1) arm and disarm and no allocation.
#ifndef TOADSTONE_RUNTIME_DETAIL_TIMER_WHEEL_HPP
#define TOADSTONE_RUNTIME_DETAIL_TIMER_WHEEL_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <chrono>
#include <cstdint>

namespace toadstone::detail {

/// A timer that waits in a wheel. Lives in the frame of whoever waits; home worker only.
class timer_node {
public:
    using clock = std::chrono::steady_clock;
    timer_node() = default;
    timer_node(const timer_node&) = delete;
    timer_node& operator=(const timer_node&) = delete;
    [[nodiscard]] bool armed() const noexcept { return level_ >= 0; }

protected:
    virtual ~timer_node() = default;
    /// What it was last armed for, rounded up to its tick; the epoch if it never was. Stays as
    /// it is until it is armed again, so that other threads may ask who know that it was.
    [[nodiscard]] clock::time_point due() const noexcept;
    /// Called once by the worker after the deadline; the timer is disarmed by then.
    virtual void expired() noexcept = 0;

private:
    friend class timer_wheel;
    timer_node* next_ = nullptr;
    timer_node* previous_ = nullptr;
    std::uint64_t tick_ = 0;
    std::int8_t level_ = -1;
    std::uint8_t slot_ = 0;
    bool in_order_ = false;
};

/// Eleven levels of 64 slots over ticks of one microsecond: level n holds what is due within
/// 64^(n+1) ticks, and is spread over the level below when its slot comes up.
///
/// The list of a slot begins with timers in the order of their deadlines, marked in_order_; all
/// of it, as long as each that came was the latest. Behind them are those that came later and
/// are due earlier. So next() finds the first deadline without spreading the slot.
///
/// Source: Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987), scheme 6.
class timer_wheel {
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// Arms a timer. It never fires before `when`; at the earliest in the next advance().
    void arm(timer_node& timer, time_point when) noexcept;
    void disarm(timer_node& timer) noexcept;

    /// Fires everything that is due. Returns how many fired.
    unsigned advance(time_point now) noexcept;

    /// The next deadline, rounded up to its tick: when advance() has to be called again.
    /// time_point::max() when empty.
    /// Shape: O(1), unless the timer that was next has been disarmed; then it looks at those of
    ///     one slot that are not in order, and puts the slot in order when they are more than
    ///     the root of all timers.
    [[nodiscard]] time_point next() noexcept;
    /// The same without looking for it: not later than next(), and earlier only if the timer
    /// that was next has been disarmed since the last advance().
    [[nodiscard]] time_point next_or_before() const noexcept {
        return armed_ ? to_time(bound_) : time_point::max();
    }
    /// Timers that next() has looked at so far, which is what it costs.
    [[nodiscard]] std::uint64_t looked_at() const noexcept { return looked_at_; }
    [[nodiscard]] bool empty() const noexcept { return armed_ == 0; }
    [[nodiscard]] unsigned armed() const noexcept { return armed_; }

private:
    friend class timer_node;
    static constexpr int levels = 11; // 66 bits: every tick of a 64-bit clock has a place
    static constexpr int slots = 64;

    struct list {
        timer_node* head = nullptr;
        timer_node* tail = nullptr;
    };

    [[nodiscard]] static time_point to_time(std::uint64_t tick) noexcept {
        // The end of time is no whole tick: rounded up, it would be beyond.
        constexpr auto last =
            static_cast<std::uint64_t>(time_point::max().time_since_epoch().count());
        if (tick > last / 1000) return time_point::max();
        return time_point(std::chrono::nanoseconds(tick * 1000));
    }
    void find_next() noexcept;
    void insert(timer_node& timer) noexcept;
    [[nodiscard]] bool earliest(int& level, int& slot, std::uint64_t& tick) const noexcept;
    [[nodiscard]] std::uint64_t first_of(list& bucket) noexcept;
    void put_in_order(list& bucket) noexcept;
    [[nodiscard]] static timer_node* merged(timer_node* before, timer_node* after) noexcept;

    list slots_[levels][slots];
    std::uint64_t occupied_[levels] = {};
    std::uint64_t now_ = 0;   // every tick up to and including this one has been processed
    std::uint64_t next_ = 0;  // the first tick of all; 0: to be looked for
    std::uint64_t bound_ = 0; // no armed timer is due before it
    std::uint64_t looked_at_ = 0;
    unsigned armed_ = 0;
};

} // namespace toadstone::detail

#endif
