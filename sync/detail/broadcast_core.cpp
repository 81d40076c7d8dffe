// A broadcast: publishing, coming to messages, waiting, and how it ends.
#include <toadstone/sync/detail/broadcast_core.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/lagged.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace toadstone::sync::detail {

using state = toadstone::detail::waiter::state;

broadcast_core::claim broadcast_core::try_claim(broadcast_message*& node) noexcept {
    const std::uint32_t word = word_.lock();
    claim end = claim::made;
    if (word & closed_bit) {
        end = claim::closed;
    } else if (receivers_ == 0) {
        end = claim::nobody;
    } else {
        writing_ = writing_ + 1;
        node = free_;
        if (node) {
            free_ = static_cast<broadcast_message*>(node->next);
        } else if (fresh_ > 0) {
            node = ::new (static_cast<std::byte*>(fresh_at_)) broadcast_message;
            fresh_ = fresh_ - 1;
            fresh_at_ = fresh_at_ + stride_;
        } else {
            end = claim::none;
        }
    }
    word_.unlock(word);
    return end;
}

broadcast_core::published broadcast_core::publish(broadcast_message& node) noexcept {
    ended_waits ended;
    const std::uint32_t word = word_.lock();
    writing_ = writing_ - 1;
    published end{receivers_, &node};
    if (end.receivers > 0) {
        auto& place = at(sent_);
        broadcast_message* const replaced = place;
        if (replaced) replaced->wanted = 0;
        end.dead = replaced && replaced->held == 0 ? replaced : nullptr;
        node.wanted = end.receivers;
        node.held = 0;
        place = &node;
        sent_ = sent_ + 1;
    }
    while (auto* const first = static_cast<broadcast_waiter*>(takers_.first())) {
        static_cast<void>(look(word, *first->place_));
        first->place_->is_waited_at = false;
        ended.take(takers_, *first, state::granted);
    }
    word_.unlock(word);
    ended.wake();
    return end;
}

void broadcast_core::end_if_over(std::uint32_t word, ended_waits& ended) noexcept {
    if (!is_over(word)) return;
    while (auto* const first = static_cast<broadcast_waiter*>(takers_.first())) {
        first->place_->is_waited_at = false;
        ended.take(takers_, *first, state::refused);
    }
}

void broadcast_core::give_up(broadcast_message* node) noexcept {
    ended_waits ended;
    const std::uint32_t word = word_.lock();
    writing_ = writing_ - 1;
    if (node) {
        node->next = static_cast<broadcast_message*>(free_);
        free_ = node;
    }
    end_if_over(word, ended);
    word_.unlock(word);
    ended.wake();
}

void broadcast_core::give_back(broadcast_message& node) noexcept {
    const std::uint32_t word = word_.lock();
    node.next = static_cast<broadcast_message*>(free_);
    free_ = &node;
    word_.unlock(word);
}

broadcast_core::found broadcast_core::look(std::uint32_t word,
                                           broadcast_place& place) noexcept {
    if (place.held) return found::message;
    if (place.next < oldest()) return found::lag;
    if (place.next == sent_) return is_over(word) ? found::end : found::nothing;
    broadcast_message* const next = at(place.next);
    next->wanted = next->wanted - 1;
    next->held = next->held + 1;
    place.held = next;
    place.next = place.next + 1;
    return found::message;
}

broadcast_core::found broadcast_core::take(broadcast_place& place) noexcept {
    const std::uint32_t word = word_.lock();
    const found now = look(word, place);
    word_.unlock(word);
    return now;
}

broadcast_message* broadcast_core::dead_or_null(broadcast_message* one,
                                                std::uint64_t number) noexcept {
    if (one->wanted != 0 || one->held != 0) return nullptr;
    auto& place = at(number);
    if (one == place) place = nullptr; // else a newer one is there
    return one;
}

broadcast_message* broadcast_core::release(broadcast_place& place) noexcept {
    broadcast_message* const had = place.held;
    if (!had) return nullptr;
    place.held = nullptr;
    had->held = had->held - 1;
    return dead_or_null(had, place.next - 1);
}

broadcast_message* broadcast_core::let_go(broadcast_place& place) noexcept {
    const std::uint32_t word = word_.lock();
    broadcast_message* const dead = release(place);
    word_.unlock(word);
    return dead;
}

void broadcast_core::tell_lag(broadcast_place& place) {
    std::uint32_t word = word_.lock();
    const std::uint64_t from = place.next;
    const std::uint64_t to = std::max(from, oldest());
    word_.unlock(word);
    const broadcast::lagged error(to - from); // if there is no memory for it, it is told later
    word = word_.lock();
    place.next = to;
    word_.unlock(word);
    throw error;
}

bool broadcast_core::settle_or_queue(broadcast_waiter& waiter) noexcept {
    const std::uint32_t word = word_.lock();
    bool settled = true;
    if (waiter.place_->is_waited_at) {
        waiter.state_ = state::deadlock;
    } else {
        const found now = look(word, *waiter.place_);
        if (now == found::nothing) {
            waiter.place_->is_waited_at = true;
            takers_.add(waiter);
            settled = false;
        } else {
            waiter.state_ = now == found::end ? state::refused : state::granted;
        }
    }
    word_.unlock(word); // from here on a queued waiter may be woken and gone
    return settled;
}

bool broadcast_core::withdraw(broadcast_waiter& waiter, state how) noexcept {
    const std::uint32_t word = word_.lock();
    const bool queued = takers_.withdraw(waiter, how);
    if (queued) waiter.place_->is_waited_at = false;
    word_.unlock(word);
    return queued;
}

broadcast_core::found broadcast_core::take_blocking(broadcast_place& place) {
    const found now = take(place);
    if (now != found::nothing) return now;
    toadstone::detail::thread_wait<broadcast_waiter> waiter(place);
    waiter.wait_for(*this, "blocking_recv()", "recv()");
    if (waiter.how() == state::deadlock) refuse_second_wait();
    if (waiter.how() == state::refused) return found::end;
    return place.held ? found::message : found::lag;
}

void broadcast_core::refuse_second_wait() {
    toadstone::detail::throw_misuse("one task at a time waits through a broadcast's receiver");
}

void broadcast_core::enter(broadcast_place& place) noexcept {
    const std::uint32_t word = word_.lock();
    place.next = sent_;
    receivers_ = receivers_ + 1;
    word_.unlock(word);
}

broadcast_message* broadcast_core::leave(broadcast_place& place) noexcept {
    constexpr int slice = 64; // messages; the lock is not for long
    std::uint32_t word = word_.lock();
    TOADSTONE_ASSERT(!place.is_waited_at,
                     "a receiver is destroyed only when nobody waits for its messages");
    receivers_ = receivers_ - 1;
    const std::uint64_t until = sent_; // what comes later does not count on this receiver
    broadcast_message* all = release(place);
    if (all) all->next = nullptr;
    for (;;) {
        std::uint64_t number = std::max<std::uint64_t>(place.next, oldest());
        for (int i = 0; i < slice && number < until; ++i, ++number) {
            broadcast_message* const each = at(number);
            each->wanted = each->wanted - 1;
            broadcast_message* const dead = dead_or_null(each, number);
            if (!dead) continue;
            dead->next = all;
            all = dead;
        }
        place.next = number;
        word_.unlock(word);
        if (number >= until) return all;
        word = word_.lock();
    }
}

void broadcast_core::close(std::uint32_t word) noexcept {
    ended_waits ended;
    word |= closed_bit;
    end_if_over(word, ended);
    word_.unlock(word);
    ended.wake();
}

bool broadcast_core::fail(poison_cause cause) noexcept {
    const std::uint32_t word = word_.lock();
    if (word & closed_bit) {
        word_.unlock(word);
        return false;
    }
    failure_ = std::move(cause);
    close(word | failed_bit);
    return true;
}

std::size_t broadcast_core::receivers() const noexcept {
    const std::uint32_t word = word_.lock();
    const std::size_t now = receivers_;
    word_.unlock(word);
    return now;
}

std::size_t broadcast_core::waiting_for(const broadcast_place& place) const noexcept {
    const std::uint32_t word = word_.lock();
    const std::uint64_t kept = sent_ - std::max<std::uint64_t>(place.next, oldest());
    const std::size_t all = static_cast<std::size_t>(kept) + (place.held ? 1 : 0);
    word_.unlock(word);
    return all;
}

bool broadcast_core::is_at_end(const broadcast_place& place) const noexcept {
    const std::uint32_t word = word_.lock();
    const bool over = is_over(word) && !place.held && place.next == sent_;
    word_.unlock(word);
    return over;
}

} // namespace toadstone::sync::detail
