// A channel without its messages' type: who may send, who receives next, and how it ends.
#ifndef TOADSTONE_SYNC_DETAIL_MPSC_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_MPSC_CORE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/channel_counts.hpp>
#include <toadstone/sync/detail/message_list.hpp>

#include <cstddef>
#include <cstdint>

namespace toadstone::sync::detail {

/// The first of what is in the core: at the address of the core itself, which is in a register
/// already.
class mpsc_word {
protected:
    static constexpr std::uint32_t busy = 1;
    mutable toadstone::detail::locked_word<std::uint32_t, busy> word_{0};
};

/// A node goes from hand to hand, and no code of the user runs while the channel is locked:
///
///     free -> claimed by a sender -> in the list -> taken by a receiver -> free
///
/// A sender that has claimed a node writes its message there and pushes it, or gives the node
/// back. A receiver that has taken one moves the message out and gives the node back, or
/// returns it to the front. A waiter that is granted a node and has to stop does the latter in
/// either case. `live` counts the nodes that are not free. An unbounded channel has no free
/// nodes: they are made for each push.
///
///     closed  gone  failed   meaning
///       0      0      0      open
///       1      0      0      nothing can be claimed any more; what is live is still delivered
///       1      1      0      the receiver is gone: pushes are dropped
///       1      0/1    1      as without `failed`; who finds the end finds the cause
///
/// Each of these bits is set once, under the lock `busy`, and stays. The end is `closed` and
/// nothing live: a taker that is told so has missed no message, for one that is in hand is
/// live. A fifth bit, `waits`, says that somebody waits, for room or for a message. So a word
/// of 0 is all that the fast paths have to look for.
///
/// While somebody waits for room no node is free, and while somebody waits for a message the
/// list is empty, and it is not the end: every change under the lock keeps this so, and tells
/// whose wait it ended when it is unlocked.
///
/// Orderings: (A) whoever locks sees, by (R), what was changed under the lock before; the
/// message in a node with it.
class mpsc_core : mpsc_word, public channel_counts {
public:
    /// `nodes`: memory for so many, each `stride` bytes, that are made as they are needed. An
    /// unbounded channel has none.
    mpsc_core(std::size_t capacity, std::byte* nodes, std::size_t stride) noexcept
        : channel_counts(2), fresh_(capacity), fresh_at_(nodes), stride_(stride),
          capacity_(capacity) {}

    /// For the halves; references are as many as senders, receivers and permits. The last
    /// sender closes the channel.
    void drop_sender() noexcept {
        if (was_last_sender()) last_sender_goes();
    }

    struct claim {
        message_node* node; ///< null: no room, or closed
        bool closed;
    };
    /// Claims a node if one is free.
    [[nodiscard]] claim try_claim() noexcept {
        if (lock_quiet()) [[likely]] {
            message_node* const node = free_;
            if (node) {
                free_ = static_cast<message_node*>(node->next);
                live_ = live_ + 1;
            }
            unlock_quiet();
            if (node) [[likely]]
                return {node, false};
        }
        return claim_slowly();
    }
    /// True: settled, the waiter has a node or is refused. False: it is queued.
    [[nodiscard]] bool settle_or_queue(room_waiter& waiter) noexcept;

    /// A node that was claimed goes into the list, or to whoever waits for it. False: the
    /// receiver is gone, and the caller destroys the message and gives the node back.
    [[nodiscard]] bool push(message_node& node) noexcept {
        if (!lock_quiet()) [[unlikely]]
            return push_slowly(node);
        list_.push_back(node);
        unlock_quiet();
        return true;
    }
    /// Claims a node, has it filled, and pushes it, in one step; `fill` is a few instructions.
    /// False: nothing was done, and what would have to be is for the slower ways.
    template <class Fill>
    [[nodiscard]] bool push_at_once(const Fill& fill) noexcept {
        if (!lock_quiet()) [[unlikely]]
            return false;
        message_node* const node = free_;
        if (node) [[likely]] {
            free_ = static_cast<message_node*>(node->next);
            live_ = live_ + 1;
            fill(*node);
            list_.push_back(*node);
        }
        unlock_quiet();
        return node != nullptr;
    }
    /// Of an unbounded channel: the caller has a node of its own to push. False: closed.
    [[nodiscard]] bool claim_for_new() noexcept {
        if (!lock_quiet()) [[unlikely]]
            return claim_for_new_slowly();
        live_ = live_ + 1;
        unlock_quiet();
        return true;
    }
    /// A node that was claimed and not pushed, or taken and emptied, is free again.
    void give_back(message_node& node) noexcept {
        if (!lock_quiet()) [[unlikely]]
            return give_back_slowly(node);
        node.next = static_cast<message_node*>(free_);
        free_ = &node;
        live_ = live_ - 1;
        unlock_quiet();
    }
    /// The same in an unbounded channel, whose caller frees the node.
    void forget_node() noexcept {
        if (!lock_quiet()) [[unlikely]]
            return forget_node_slowly();
        live_ = live_ - 1;
        unlock_quiet();
    }

    /// Takes the first message: a claim as above. Closed: the end.
    [[nodiscard]] claim try_take() noexcept {
        if (lock_quiet()) [[likely]] {
            message_node* const node = list_.pop();
            unlock_quiet();
            return {node, false};
        }
        return take_slowly();
    }
    /// Of a bounded channel: takes the first message, has it moved out, and frees the node, in
    /// one step; `move` is a few instructions. False: as of push_at_once().
    template <class Move>
    [[nodiscard]] bool take_at_once(const Move& move) noexcept {
        if (!lock_quiet()) [[unlikely]]
            return false;
        message_node* const node = list_.pop();
        if (node) [[likely]] {
            move(*node);
            node->next = static_cast<message_node*>(free_);
            free_ = node;
            live_ = live_ - 1;
        }
        unlock_quiet();
        return node != nullptr;
    }
    [[nodiscard]] bool settle_or_queue(message_waiter& waiter) noexcept;
    /// A message that was taken and could not be moved out is the first again.
    void put_back(message_node& node) noexcept;

    [[nodiscard]] bool withdraw(room_waiter& waiter,
                                toadstone::detail::waiter::state how) noexcept;
    [[nodiscard]] bool withdraw(message_waiter& waiter,
                                toadstone::detail::waiter::state how) noexcept;
    void hand_back(room_waiter& waiter) noexcept;
    void hand_back(message_waiter& waiter) noexcept;

    /// Nothing can be claimed any more.
    void close() noexcept;
    /// close(), with a cause that is told at the end. False: it was closed already.
    bool fail(poison_cause cause) noexcept;
    /// close(), and returns what nobody will receive. Errors: a wait for a message is a
    /// violated contract.
    [[nodiscard]] message_node* abandon() noexcept;

    [[nodiscard]] bool is_closed() const noexcept { return (word_.read() & closed) != 0; }
    [[nodiscard]] bool is_abandoned() const noexcept { return (word_.read() & gone) != 0; }
    /// For whoever has been refused: empty unless it was failed.
    [[nodiscard]] poison_cause cause() const noexcept {
        return word_.read() & failed ? failure_ : poison_cause();
    }
    /// 0: unbounded.
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    /// How many nodes there are in the memory for them. For whoever ends the channel.
    [[nodiscard]] std::size_t made() const noexcept { return capacity_ - fresh_; }
    /// Claimed, sent, or in the hands of a receiver. A hint.
    [[nodiscard]] std::size_t live() const noexcept;
    /// Closed, and nothing is to come any more. Stays so.
    [[nodiscard]] bool is_at_end() const noexcept;

    /// Blocks the thread. Null: refused. Errors: std::logic_error on a worker that would.
    [[nodiscard]] message_node* claim_blocking();
    [[nodiscard]] message_node* take_blocking();

private:
    static constexpr std::uint32_t closed = 2;
    static constexpr std::uint32_t gone = 4;
    static constexpr std::uint32_t failed = 8;
    static constexpr std::uint32_t waits = 16;

    using ended_waits = toadstone::detail::ended_waits;
    /// Locks a channel that is open and that nobody waits at. False: it is not, or is locked.
    [[nodiscard]] bool lock_quiet() noexcept {
        std::uint32_t quiet = 0;
        return word_.acquire(quiet, busy);
    }
    void unlock_quiet() noexcept { word_.unlock(0); }
    void unlock(std::uint32_t word) const noexcept;
    [[nodiscard]] bool is_over(std::uint32_t word) const noexcept {
        return (word & closed) && live_ == 0;
    }
    [[nodiscard]] message_node* free_node() noexcept;
    [[nodiscard]] claim claim_slowly() noexcept;
    [[nodiscard]] bool claim_for_new_slowly() noexcept;
    [[nodiscard]] bool push_slowly(message_node& node) noexcept;
    void give_back_slowly(message_node& node) noexcept;
    void forget_node_slowly() noexcept;
    [[nodiscard]] claim take_slowly() noexcept;
    void last_sender_goes() noexcept;
    // These unlock.
    void end_takers_if_over(std::uint32_t word) noexcept;
    void close(std::uint32_t word) noexcept;
    void deliver(message_node& node, ended_waits& ended) noexcept;
    static void grant(toadstone::detail::wait_queue& waits, message_node& node,
                      ended_waits& ended) noexcept;

    template <class T>
    using plain = toadstone::detail::plain<T>;
    // All below is changed under the lock.
    plain<message_node*> free_ = nullptr;
    plain<std::size_t> live_ = 0;
    message_list list_;
    toadstone::detail::wait_queue takers_;
    toadstone::detail::wait_queue rooms_;
    plain<std::size_t> fresh_; // nodes that have not been made yet, and where
    plain<std::byte*> fresh_at_;
    const std::size_t stride_;
    const std::size_t capacity_;
    poison_cause failure_; // written once, before `failed`; whoever sees that may read it
};

} // namespace toadstone::sync::detail

#endif
