// The slow paths of a channel: waiting for room and for messages, and how it ends.
#include <toadstone/sync/detail/mpsc_core.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>

#include <new>
#include <utility>

namespace toadstone::sync::detail {

using toadstone::detail::wait_queue;
using state = toadstone::detail::waiter::state;

message_node* mpsc_core::free_node() noexcept {
    message_node* node = free_;
    if (node) {
        free_ = static_cast<message_node*>(node->next);
    } else if (fresh_ > 0) {
        node = ::new (static_cast<std::byte*>(fresh_at_)) message_node;
        fresh_ = fresh_ - 1;
        fresh_at_ = fresh_at_ + stride_;
    }
    if (node) live_ = live_ + 1;
    return node;
}

void mpsc_core::grant(wait_queue& waits, message_node& node, ended_waits& ended) noexcept {
    auto* const first = static_cast<node_waiter*>(waits.first());
    first->node_ = &node;
    ended.take(waits, *first, state::granted);
}

void mpsc_core::unlock(std::uint32_t word) const noexcept {
    const bool none = takers_.empty() && rooms_.empty();
    word_.unlock(none ? word & ~waits : word | waits);
}

mpsc_core::claim mpsc_core::claim_slowly() noexcept {
    const std::uint32_t word = word_.lock();
    const bool refused = (word & closed) != 0;
    message_node* const node = refused ? nullptr : free_node();
    unlock(word);
    return {node, refused};
}

bool mpsc_core::claim_for_new_slowly() noexcept {
    const std::uint32_t word = word_.lock();
    const bool open = !(word & closed);
    if (open) live_ = live_ + 1;
    unlock(word);
    return open;
}

bool mpsc_core::settle_or_queue(room_waiter& waiter) noexcept {
    const std::uint32_t word = word_.lock();
    bool settled = true;
    if (word & closed) {
        waiter.state_ = state::refused;
    } else if (message_node* const node = free_node()) {
        waiter.node_ = node;
        waiter.state_ = state::granted;
    } else {
        rooms_.add(waiter);
        settled = false;
    }
    unlock(word); // from here on a queued waiter may be woken and gone
    return settled;
}

bool mpsc_core::push_slowly(message_node& node) noexcept {
    ended_waits ended;
    const std::uint32_t word = word_.lock();
    const bool wanted = !(word & gone);
    if (wanted) deliver(node, ended);
    unlock(word);
    ended.wake();
    return wanted;
}

void mpsc_core::deliver(message_node& node, ended_waits& ended) noexcept {
    if (takers_.empty()) {
        list_.push_back(node);
    } else {
        grant(takers_, node, ended);
    }
}

void mpsc_core::give_back_slowly(message_node& node) noexcept {
    ended_waits ended;
    const std::uint32_t word = word_.lock();
    if (!rooms_.empty()) { // and so it is not closed
        grant(rooms_, node, ended);
        unlock(word);
        ended.wake();
        return;
    }
    node.next = static_cast<message_node*>(free_);
    free_ = &node;
    live_ = live_ - 1;
    end_takers_if_over(word);
}

void mpsc_core::forget_node_slowly() noexcept {
    const std::uint32_t word = word_.lock();
    live_ = live_ - 1;
    end_takers_if_over(word);
}

void mpsc_core::end_takers_if_over(std::uint32_t word) noexcept {
    ended_waits ended;
    if (is_over(word)) ended.take_all(takers_, state::refused);
    unlock(word);
    ended.wake();
}

mpsc_core::claim mpsc_core::take_slowly() noexcept {
    const std::uint32_t word = word_.lock();
    message_node* const node = list_.pop();
    const bool over = !node && is_over(word);
    unlock(word);
    return {node, over};
}

bool mpsc_core::settle_or_queue(message_waiter& waiter) noexcept {
    const std::uint32_t word = word_.lock();
    bool settled = true;
    if (message_node* const node = list_.pop()) {
        waiter.node_ = node;
        waiter.state_ = state::granted;
    } else if (is_over(word)) {
        waiter.state_ = state::refused;
    } else {
        takers_.add(waiter);
        settled = false;
    }
    unlock(word);
    return settled;
}

void mpsc_core::put_back(message_node& node) noexcept {
    ended_waits ended;
    const std::uint32_t word = word_.lock();
    if (takers_.empty()) {
        list_.push_front(node);
    } else {
        grant(takers_, node, ended);
    }
    unlock(word);
    ended.wake();
}

bool mpsc_core::withdraw(room_waiter& waiter, state how) noexcept {
    const std::uint32_t word = word_.lock();
    const bool queued = rooms_.withdraw(waiter, how);
    unlock(word);
    return queued;
}

bool mpsc_core::withdraw(message_waiter& waiter, state how) noexcept {
    const std::uint32_t word = word_.lock();
    const bool queued = takers_.withdraw(waiter, how);
    unlock(word);
    return queued;
}

void mpsc_core::hand_back(room_waiter& waiter) noexcept {
    if (waiter.how() == state::granted) give_back(*waiter.node());
}

void mpsc_core::hand_back(message_waiter& waiter) noexcept {
    if (waiter.how() == state::granted) put_back(*waiter.node());
}

void mpsc_core::last_sender_goes() noexcept {
    const std::uint32_t word = word_.lock();
    TOADSTONE_ASSERT(rooms_.empty(),
                     "the last sender is destroyed only when nobody waits for room");
    close(word);
}

void mpsc_core::close() noexcept {
    close(word_.lock());
}

void mpsc_core::close(std::uint32_t word) noexcept {
    ended_waits ended;
    word |= closed;
    ended.take_all(rooms_, state::refused);
    if (is_over(word)) ended.take_all(takers_, state::refused);
    unlock(word);
    ended.wake();
}

bool mpsc_core::fail(poison_cause cause) noexcept {
    const std::uint32_t word = word_.lock();
    if (word & closed) {
        unlock(word);
        return false;
    }
    failure_ = std::move(cause);
    close(word | failed);
    return true;
}

message_node* mpsc_core::abandon() noexcept {
    const std::uint32_t word = word_.lock();
    TOADSTONE_ASSERT(takers_.empty(),
                     "a receiver is destroyed only when nobody waits for its messages");
    message_node* const rest = list_.take_all();
    close(word | gone);
    return rest;
}

std::size_t mpsc_core::live() const noexcept {
    const std::uint32_t word = word_.lock();
    const std::size_t now = live_;
    unlock(word);
    return now;
}

bool mpsc_core::is_at_end() const noexcept {
    const std::uint32_t word = word_.lock();
    const bool over = is_over(word);
    unlock(word);
    return over;
}

message_node* mpsc_core::claim_blocking() {
    const claim now = try_claim();
    if (now.node || now.closed) return now.node;
    toadstone::detail::thread_wait<room_waiter> waiter;
    waiter.wait_for(*this, "blocking_send()", "send()");
    return waiter.how() == state::granted ? waiter.node() : nullptr;
}

message_node* mpsc_core::take_blocking() {
    const claim now = try_take();
    if (now.node || now.closed) return now.node;
    toadstone::detail::thread_wait<message_waiter> waiter;
    waiter.wait_for(*this, "blocking_recv()", "recv()");
    return waiter.how() == state::granted ? waiter.node() : nullptr;
}

} // namespace toadstone::sync::detail
