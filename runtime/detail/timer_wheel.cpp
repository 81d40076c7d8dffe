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

timer_node::clock::time_point timer_node::due() const noexcept {
    return timer_wheel::to_time(tick_);
}

void timer_wheel::insert(timer_node& timer) noexcept {
    const int level = level_of(now_, timer.tick_);
    const auto slot = static_cast<int>((timer.tick_ >> (6 * level)) & 63);
    timer.level_ = static_cast<std::int8_t>(level);
    timer.slot_ = static_cast<std::uint8_t>(slot);
    auto& bucket = slots_[level][slot];
    timer.next_ = nullptr;
    timer.previous_ = bucket.tail;
    timer.in_order_ =
        !bucket.tail || (bucket.tail->in_order_ && bucket.tail->tick_ <= timer.tick_);
    (bucket.tail ? bucket.tail->next_ : bucket.head) = &timer;
    bucket.tail = &timer;
    occupied_[level] |= std::uint64_t{1} << slot;
}

void timer_wheel::arm(timer_node& timer, time_point when) noexcept {
    TOADSTONE_ASSERT(!timer.armed(), "a timer is armed only once at a time");
    timer.tick_ = ceil_tick(when);
    if (timer.tick_ <= now_) timer.tick_ = now_ + 1; // what is due already fires next
    if (armed_ == 0) {
        next_ = bound_ = timer.tick_;
    } else {
        if (timer.tick_ < next_) next_ = timer.tick_;
        if (timer.tick_ < bound_) bound_ = timer.tick_;
    }
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
    if (timer.tick_ == next_) next_ = 0;
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
    if (armed_) {
        find_next();
        bound_ = next_;
    }
    return fired;
}

void timer_wheel::find_next() noexcept {
    int level = 0;
    int slot = 0;
    std::uint64_t tick = 0;
    if (next_ == 0 && earliest(level, slot, tick)) {
        next_ = level == 0 ? tick : first_of(slots_[level][slot]);
    }
}

// The first of those in order, or one of the others, which are at the end.
std::uint64_t timer_wheel::first_of(list& bucket) noexcept {
    std::uint64_t first = bucket.head->tick_;
    std::uint64_t count = 1;
    for (const timer_node* each = bucket.tail; !each->in_order_; each = each->previous_) {
        if (each->tick_ < first) first = each->tick_;
        if (each == bucket.head) break;
        ++count;
        if (count * count > armed_ + 64) {
            looked_at_ += count;
            put_in_order(bucket);
            return bucket.head->tick_;
        }
    }
    looked_at_ += count;
    return first;
}

/// Two lists in order as one; of two equal deadlines that of `before` comes first.
timer_node* timer_wheel::merged(timer_node* before, timer_node* after) noexcept {
    timer_node* head = nullptr;
    timer_node** end = &head;
    while (before && after) {
        timer_node*& first = after->tick_ < before->tick_ ? after : before;
        *end = first;
        end = &first->next_;
        first = *end;
    }
    *end = before ? before : after;
    return head;
}

// Sorts those at the end, bottom-up, and merges them into those that are in order.
void timer_wheel::put_in_order(list& bucket) noexcept {
    timer_node* others = bucket.tail;
    while (others->previous_ && !others->previous_->in_order_) others = others->previous_;
    if (others->previous_) others->previous_->next_ = nullptr;
    timer_node* in_order = others == bucket.head ? nullptr : bucket.head;

    timer_node* runs[64] = {}; // runs[n]: none, or 2^n timers, before those of the runs below
    while (others) {
        timer_node* run = others;
        others = others->next_;
        run->next_ = nullptr;
        int level = 0;
        for (; runs[level]; ++level) {
            run = merged(runs[level], run);
            runs[level] = nullptr;
        }
        runs[level] = run;
    }
    timer_node* sorted = nullptr;
    for (timer_node* const run : runs) sorted = merged(run, sorted);

    bucket.head = merged(in_order, sorted);
    bucket.tail = nullptr;
    for (timer_node* each = bucket.head; each; each = each->next_) {
        ++looked_at_;
        each->previous_ = bucket.tail;
        each->in_order_ = true;
        bucket.tail = each;
    }
}

timer_wheel::time_point timer_wheel::next() noexcept {
    if (!armed_) return time_point::max();
    find_next();
    return to_time(next_);
}

} // namespace toadstone::detail
