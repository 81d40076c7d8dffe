// Messages in a channel: a node for each, linked in the order of sending.
#ifndef TOADSTONE_SYNC_DETAIL_MESSAGE_LIST_HPP
#define TOADSTONE_SYNC_DETAIL_MESSAGE_LIST_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

namespace toadstone::sync::detail {

/// The place of one message. What it holds is its derived class's affair.
struct message_node {
    toadstone::detail::plain<message_node*> next = nullptr;
};

/// First in, first out; whoever holds the lock of the channel.
class message_list {
public:
    [[nodiscard]] bool empty() const noexcept { return !first_; }
    void push_back(message_node& one) noexcept {
        one.next = nullptr;
        message_node* const last = last_;
        if (first_) {
            last->next = &one;
        } else {
            first_ = &one;
        }
        last_ = &one;
    }
    void push_front(message_node& one) noexcept {
        message_node* const first = first_;
        if (!first) last_ = &one;
        one.next = first;
        first_ = &one;
    }
    /// Null if it is empty.
    [[nodiscard]] message_node* pop() noexcept {
        message_node* const first = first_;
        if (first) first_ = static_cast<message_node*>(first->next);
        return first;
    }
    /// All of them, linked by `next`.
    [[nodiscard]] message_node* take_all() noexcept {
        message_node* const first = first_;
        first_ = nullptr;
        return first;
    }

private:
    toadstone::detail::plain<message_node*> first_ = nullptr;
    toadstone::detail::plain<message_node*> last_ = nullptr; // while there is a first
};

/// Somebody who waits for a node: for room, or for a message. Granted: has it. Refused: the
/// channel has ended.
class node_waiter : public toadstone::detail::waiter {
public:
    [[nodiscard]] message_node* node() const noexcept { return node_; }

protected:
    node_waiter() noexcept {} // not defaulted, or the links would be set to zero for nothing
    ~node_waiter() override = default;

    friend class mpsc_core;
    toadstone::detail::plain<message_node*> node_; // as the state
};

class room_waiter : public node_waiter {
protected:
    room_waiter() noexcept {}
    ~room_waiter() override = default;
};

class message_waiter : public node_waiter {
protected:
    message_waiter() noexcept {}
    ~message_waiter() override = default;
};

} // namespace toadstone::sync::detail

#endif
