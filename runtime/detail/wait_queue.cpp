// Joining and leaving a queue.
#include <toadstone/runtime/detail/wait_queue.hpp>

namespace toadstone::detail {

void wait_queue::add(waiter& one) noexcept {
    add_first(one);
    last_ = &one; // in a circle, before the first is behind the last
}

void wait_queue::add_first(waiter& one) noexcept {
    waiter* const last = last_;
    if (last) {
        waiter* const first = last->next_;
        one.next_ = first;
        one.previous_ = last;
        first->previous_ = &one;
        last->next_ = &one;
    } else {
        one.next_ = &one;
        one.previous_ = &one;
        last_ = &one;
    }
    one.state_ = waiter::state::queued;
}

void wait_queue::remove(waiter& one) noexcept {
    waiter* const next = one.next_;
    if (next == &one) {
        last_ = nullptr;
        return;
    }
    waiter* const previous = one.previous_;
    previous->next_ = next;
    next->previous_ = previous;
    if (last_ == &one) last_ = previous;
}

bool wait_queue::withdraw(waiter& one, waiter::state how) noexcept {
    if (!is_queued(one)) return false;
    remove(one);
    one.state_ = how;
    return true;
}

void ended_waits::take(wait_queue& from, waiter& one, waiter::state how) noexcept {
    from.remove(one);
    add(one, how);
}

void ended_waits::take_all(wait_queue& from, waiter::state how) noexcept {
    while (waiter* const first = from.first()) take(from, *first, how);
}

void ended_waits::add(waiter& one, waiter::state how) noexcept {
    one.state_ = how;
    one.next_ = nullptr;
    if (last_) {
        last_->next_ = &one;
    } else {
        first_ = &one;
    }
    last_ = &one;
}

void ended_waits::wake() noexcept {
    while (first_) {
        waiter* const one = first_;
        first_ = one->next_; // before wake(): the waiter may be gone after it
        one->wake();
    }
}

} // namespace toadstone::detail
