// The timing wheel: placing, spreading and firing.
#include <toadstone/runtime/detail/timer_wheel.hpp>

#include <toadstone/runtime/detail/config.hpp>

#include <bit>

namespace toadstone::detail {
namespace {

std::uint64_t floor_tick(timer_wheel::time_point when) noexcept {
    const auto count = when.time_since_epoch().count();
    return count <= 0 ? 0 : static_cast<std::uint64_t>(count) / 1000;
}

// Rounded up, so that no timer fires early.
std::uint64_t ceil_tick(timer_wheel::time_point when) noexcept {
    const auto count = when.time_since_epoch().count();
    return count <= 0 ? 0 : (static_cast<std::uint64_t>(count) + 999) / 1000;
}

int level_of(std::uint64_t now, std::uint64_t tick) noexcept {
    const std::uint64_t differs = (now ^ tick) | 63;
    return (63 - std::countl_zero(differs)) / 6;
}

} // namespace

void timer_wheel::insert(timer_node& timer) noexcept {
    const int level = level_of(now_, timer.tick_);
    const auto slot = static_cast<int>((timer.tick_ >> (6 * level)) & 63);
    timer.level_ = static_cast<std::int8_t>(level);
    timer.slot_ = static_cast<std::uint8_t>(slot);
    auto& bucket = slots_[level][slot];
    timer.next_ = nullptr;
    timer.previous_ = bucket.tail;
    (bucket.tail ? bucket.tail->next_ : bucket.head) = &timer;
    bucket.tail = &timer;
    occupied_[level] |= std::uint64_t{1} << slot;
}

void timer_wheel::arm(timer_node& timer, time_point when) noexcept {
    TOADSTONE_ASSERT(!timer.armed(), "a timer is armed only once at a time");
    timer.tick_ = ceil_tick(when);
    if (timer.tick_ <= now_) timer.tick_ = now_ + 1; // what is due already fires next
    insert(timer);
    ++armed_;
}

void timer_wheel::disarm(timer_node& timer) noexcept {
    if (!timer.armed()) return;
    auto& bucket = slots_[timer.level_][timer.slot_];
    (timer.previous_ ? timer.previous_->next_ : bucket.head) = timer.next_;
    (timer.next_ ? timer.next_->previous_ : bucket.tail) = timer.previous_;
    if (!bucket.head) occupied_[timer.level_] &= ~(std::uint64_t{1} << timer.slot_);
    timer.level_ = -1;
    --armed_;
}

// Finds the first occupied slot at or after now. Lower levels always come up first, because a
// higher level only holds ticks beyond the present span of the lower ones.
bool timer_wheel::earliest(int& level, int& slot, std::uint64_t& tick) const noexcept {
    for (int each = 0; each < levels; ++each) {
        if (!occupied_[each]) continue;
        const auto here = static_cast<int>((now_ >> (6 * each)) & 63);
        const std::uint64_t turned = std::rotr(occupied_[each], here);
        const int ahead = std::countr_zero(turned);
        level = each;
        slot = (here + ahead) & 63;
        const std::uint64_t unit = std::uint64_t{1} << (6 * each);
        const std::uint64_t span_start =
            each == levels - 1 ? 0 : now_ & ~((unit << 6) - 1); // the top level never wraps
        tick = span_start + static_cast<std::uint64_t>(slot) * unit;
        return true;
    }
    return false;
}

unsigned timer_wheel::advance(time_point now) noexcept {
    const std::uint64_t target = floor_tick(now);
    unsigned fired = 0;
    int level = 0;
    int slot = 0;
    std::uint64_t tick = 0;
    while (armed_ && earliest(level, slot, tick) && tick <= target) {
        if (tick > now_) now_ = tick;
        // One at a time from the slot itself: a timer that fires may disarm its neighbours.
        // What is put back or newly armed is due later than now_, so it lands in another slot.
        while (timer_node* timer = slots_[level][slot].head) {
            disarm(*timer);
            if (timer->tick_ <= now_) {
                ++fired;
                timer->expired();
            } else {
                insert(*timer);
                ++armed_;
            }
        }
    }
    if (target > now_) now_ = target;
    return fired;
}

timer_wheel::time_point timer_wheel::next() const noexcept {
    int level = 0;
    int slot = 0;
    std::uint64_t tick = 0;
    if (!armed_ || !earliest(level, slot, tick)) return time_point::max();
    // The end of time is no whole tick: rounded up, it would be beyond.
    constexpr auto last =
        static_cast<std::uint64_t>(time_point::max().time_since_epoch().count());
    if (tick > last / 1000) return time_point::max();
    return time_point(std::chrono::nanoseconds(tick * 1000));
}

} // namespace toadstone::detail
