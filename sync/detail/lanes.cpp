// The lanes of a batched mutex: finding, joining and leaving one.
#include <toadstone/sync/detail/lanes.hpp>

namespace toadstone::sync::detail {

// What the whole queue has is kept at the entry, because the mutex has no room for it.
void lanes::enter_at(lock_waiter& first) noexcept {
    first.newest_ = static_cast<std::uint32_t>(entry()->newest_);
    first.batch_ = static_cast<std::uint32_t>(entry()->batch_);
    entry_ = &first;
}

lock_waiter* lanes::find(const executor* home) noexcept {
    lock_waiter* const entry = this->entry();
    if (!entry) return nullptr;
    lock_waiter* before = entry;
    do {
        lock_waiter* const lane = before->lane_;
        if (lane->home_ == home) {
            enter_at(*before);
            return lane;
        }
        before = lane;
    } while (before != entry);
    return nullptr;
}

void lanes::add(lock_waiter& waiter, const executor* home) noexcept {
    waiter.home_ = home;
    waiter.next_ = &waiter;
    waiter.previous_ = &waiter;
    waiter.state_ = lock_waiter::state::queued;
    if (empty()) {
        waiter.arrived_ = 0;
        waiter.newest_ = 0;
        waiter.batch_ = 0;
        waiter.lane_ = &waiter;
        entry_ = &waiter;
        return;
    }
    lock_waiter* const first = find(home);
    lock_waiter* const entry = this->entry();
    const std::uint32_t number = entry->newest_ + 1;
    entry->newest_ = number;
    waiter.arrived_ = number;
    if (first) {
        lock_waiter* const last = previous(*first);
        waiter.lane_ = nullptr;
        waiter.next_ = first;
        waiter.previous_ = last;
        last->next_ = &waiter;
        first->previous_ = &waiter;
    } else {
        waiter.lane_ = static_cast<lock_waiter*>(entry->lane_);
        entry->lane_ = &waiter;
    }
}

void lanes::remove(lock_waiter& waiter) noexcept {
    lock_waiter* const next = lanes::next(waiter);
    const bool alone = next == &waiter;
    if (lock_waiter* const next_lane = waiter.lane_) {
        lock_waiter* before = entry();
        while (before->lane_ != &waiter) before = before->lane_;
        const bool only_lane = before == &waiter;
        if (alone && only_lane) {
            entry_ = nullptr;
            return;
        }
        if (!alone) next->lane_ = only_lane ? next : next_lane;
        if (!only_lane) before->lane_ = alone ? next_lane : next;
        enter_at(only_lane ? *next : *before);
    }
    if (alone) return;
    lock_waiter* const previous = lanes::previous(waiter);
    previous->next_ = next;
    next->previous_ = previous;
}

bool lanes::withdraw(lock_waiter& waiter, lock_waiter::state how) noexcept {
    if (!toadstone::detail::wait_queue::is_queued(waiter)) return false;
    remove(waiter);
    waiter.state_ = how;
    return true;
}

bool lanes::is_batch_of(const executor& worker) noexcept {
    const std::uint32_t number = number_of(&worker);
    if (entry()->batch_ == 0) entry()->batch_ = number;
    return entry()->batch_ == number;
}

lock_waiter* lanes::oldest() noexcept {
    lock_waiter* const entry = this->entry();
    lock_waiter* found = entry;
    for (lock_waiter* each = entry->lane_; each != entry; each = each->lane_) {
        if (is_older(*each, *found)) found = each;
    }
    return found;
}

lock_waiter* lanes::oldest(bool (*such)(wants)) noexcept {
    lock_waiter* found = nullptr;
    lock_waiter* const entry = this->entry();
    lock_waiter* lane = entry;
    do {
        lock_waiter* each = lane;
        do {
            if (such(each->wants_)) {
                if (!found || is_older(*each, *found)) found = each;
                break;
            }
            each = next(*each);
        } while (each != lane);
        lane = lane->lane_;
    } while (lane != entry);
    return found;
}

} // namespace toadstone::sync::detail
