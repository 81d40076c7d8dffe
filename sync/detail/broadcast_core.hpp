// A broadcast without its messages' type: which are kept, who still wants them, and who waits.
#ifndef TOADSTONE_SYNC_DETAIL_BROADCAST_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_BROADCAST_CORE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/channel_counts.hpp>

#include <cstddef>
#include <cstdint>

namespace toadstone::sync::detail {

/// The place of one message. What it holds is its derived class's affair.
struct broadcast_message {
    template <class T>
    using plain = toadstone::detail::plain<T>;
    plain<broadcast_message*> next = nullptr; // among the free, or among the dead
    plain<std::size_t> wanted = 0;            // by so many receivers that will come to it
    plain<std::size_t> held = 0;              // by so many that have come to it, and copy it
    bool is_extra = false;                    // not in the memory of the channel
};

/// How far a receiver is. Under the lock of the channel; what it holds is its own to read.
struct broadcast_place {
    template <class T>
    using plain = toadstone::detail::plain<T>;
    plain<std::uint64_t> next = 0;            // the number of the message that it comes to next
    plain<broadcast_message*> held = nullptr; // the one before that, until it is copied
    plain<bool> is_waited_at = false;
};

/// Waits for a message. Granted: its place holds one, or has missed some. Refused: the end.
class broadcast_waiter : public toadstone::detail::waiter {
protected:
    explicit broadcast_waiter(broadcast_place& place) noexcept : place_(&place) {}
    ~broadcast_waiter() override = default;

    friend class broadcast_core;
    broadcast_place* place_;
};

/// Messages are numbered in the order of publish(); the last `capacity` of them are in the
/// ring. No code of the user runs while the channel is locked: a message is written before it
/// is published, and copied and destroyed outside.
///
///     free -> claimed by a sender -> in the ring -> dead -> free
///
/// A message is dead when nobody holds it and nobody wants it any more: all have had it, or it
/// has left the ring, which ends all wishes. Whoever made it so destroys it and gives it back.
/// A receiver holds what it has come to until the copy is made: what it was given while it
/// waited, and a message whose copy failed, stay its own, in the ring or not. So a cancellation
/// has nothing to undo. Without receivers the ring holds nothing.
///
///     closed  failed   meaning
///       0       0      open
///       1       0      nothing can be claimed any more; what is claimed is still published
///       1       1      the same; who finds the end finds the cause
///
/// Both bits are set once, under the lock `busy`. The end is `closed` and nothing claimed. Who
/// waits has come to the last message, and it is not the end: every change under the lock keeps
/// this so.
///
/// Orderings: (A) whoever locks sees, by (R), what was changed under the lock before; the
/// message with it.
class broadcast_core : public channel_counts {
    template <class T>
    using plain = toadstone::detail::plain<T>;

public:
    /// `nodes`: memory for capacity + 1 messages, each `stride` bytes, that are made as they
    /// are needed: one is written while the others are kept.
    broadcast_core(std::size_t capacity, plain<broadcast_message*>* ring, std::byte* nodes,
                   std::size_t stride) noexcept
        : channel_counts(1), ring_(ring), fresh_(capacity + 1), fresh_at_(nodes),
          stride_(stride), capacity_(capacity) {}

    /// For the halves. The last one closes the channel.
    void drop_sender() noexcept {
        if (was_last_sender()) close();
    }

    enum class claim : unsigned char {
        made,   ///< there is a place for the message
        none,   ///< there is no memory: the caller brings it, or gives up
        nobody, ///< listens
        closed,
    };
    /// For `made` and `none`, publish() or give_up() follows.
    [[nodiscard]] claim try_claim(broadcast_message*& node) noexcept;
    struct published {
        std::size_t receivers;   ///< that will come to it
        broadcast_message* dead; ///< null, or to be destroyed: replaced, or wanted by nobody
    };
    [[nodiscard]] published publish(broadcast_message& node) noexcept;
    /// There will be no message. `node`: empty, or null.
    void give_up(broadcast_message* node) noexcept;
    /// Empty again.
    void give_back(broadcast_message& node) noexcept;

    enum class found : unsigned char { nothing, message, lag, end };
    /// The next message of a receiver is held from now on, if there is one.
    [[nodiscard]] found take(broadcast_place& place) noexcept;
    /// It has been copied. Returns: null, or the message, which is to be destroyed.
    [[nodiscard]] broadcast_message* let_go(broadcast_place& place) noexcept;
    /// Throws `lagged`, once for what has been missed.
    [[noreturn, gnu::cold]] void tell_lag(broadcast_place& place);
    /// Two tasks wait through one receiver.
    [[noreturn, gnu::cold]] static void refuse_second_wait();

    /// True: settled, as the waiter's state says; `deadlock`: another waits at this place.
    [[nodiscard]] bool settle_or_queue(broadcast_waiter& waiter) noexcept;
    [[nodiscard]] bool withdraw(broadcast_waiter& waiter,
                                toadstone::detail::waiter::state how) noexcept;
    /// What it was given is held at its place.
    void hand_back(broadcast_waiter&) noexcept {}
    /// Blocks the thread until there is something. Errors: std::logic_error on a worker.
    [[nodiscard]] found take_blocking(broadcast_place& place);

    /// A receiver of all that is published from now on.
    void enter(broadcast_place& place) noexcept;
    /// It wants nothing any more. Returns: what is dead now, linked.
    [[nodiscard]] broadcast_message* leave(broadcast_place& place) noexcept;

    void close() noexcept { close(word_.lock()); }
    /// close(), with a cause that is told at the end. False: it was closed already.
    bool fail(poison_cause cause) noexcept;
    [[nodiscard]] bool is_closed() const noexcept { return (word_.read() & closed_bit) != 0; }
    /// For whoever has been refused: empty unless it was failed.
    [[nodiscard]] poison_cause cause() const noexcept {
        return word_.read() & failed_bit ? failure_ : poison_cause();
    }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::size_t receivers() const noexcept;
    /// Messages that are kept for a receiver.
    [[nodiscard]] std::size_t waiting_for(const broadcast_place& place) const noexcept;
    [[nodiscard]] bool is_at_end(const broadcast_place& place) const noexcept;

    /// For whoever ends the channel: how many messages there are in the memory for them; what
    /// is free, linked.
    [[nodiscard]] std::size_t made() const noexcept { return capacity_ + 1 - fresh_; }
    [[nodiscard]] broadcast_message* all_free() const noexcept { return free_; }

private:
    static constexpr std::uint32_t busy = 1;
    static constexpr std::uint32_t closed_bit = 2;
    static constexpr std::uint32_t failed_bit = 4;

    using ended_waits = toadstone::detail::ended_waits;
    // All of these under the lock.
    [[nodiscard]] bool is_over(std::uint32_t word) const noexcept {
        return (word & closed_bit) && writing_ == 0;
    }
    [[nodiscard]] std::uint64_t oldest() const noexcept {
        const std::uint64_t sent = sent_;
        return sent < capacity_ ? 0 : sent - capacity_;
    }
    [[nodiscard]] plain<broadcast_message*>& at(std::uint64_t number) const noexcept {
        return ring_[number % capacity_];
    }
    [[nodiscard]] found look(std::uint32_t word, broadcast_place& place) noexcept;
    [[nodiscard]] broadcast_message* release(broadcast_place& place) noexcept;
    [[nodiscard]] broadcast_message* dead_or_null(broadcast_message* one,
                                                  std::uint64_t number) noexcept;
    void end_if_over(std::uint32_t word, ended_waits& ended) noexcept;
    void close(std::uint32_t word) noexcept; // unlocks

    mutable toadstone::detail::locked_word<std::uint32_t, busy> word_{0};
    // All below is changed under the lock.
    plain<broadcast_message*>* const ring_;
    plain<std::uint64_t> sent_ = 0; // the number of the next message
    plain<std::size_t> receivers_ = 0;
    plain<std::size_t> writing_ = 0; // claimed, and not published
    plain<broadcast_message*> free_ = nullptr;
    toadstone::detail::wait_queue takers_;
    plain<std::size_t> fresh_; // places that have not been made yet, and where
    plain<std::byte*> fresh_at_;
    const std::size_t stride_;
    const std::size_t capacity_;
    poison_cause failure_; // written once, before `failed`; whoever sees that may read it
};

/// The leaf behind every co_await for a message of a broadcast.
class broadcast_leaf : public toadstone::detail::wait_leaf<broadcast_core, broadcast_waiter> {
public:
    static constexpr bool acquires = false;

    [[nodiscard]] bool await_ready() noexcept { return may_complete_at_once() && take_now(); }

protected:
    broadcast_leaf(broadcast_core& core, broadcast_place& place) noexcept
        : wait_leaf(core, place) {}
    ~broadcast_leaf() = default;

    [[nodiscard]] broadcast_core::found what() const {
        if (how() == state::deadlock) broadcast_core::refuse_second_wait();
        if (how() == state::refused) return broadcast_core::found::end;
        return place_->held ? broadcast_core::found::message : broadcast_core::found::lag;
    }

private:
    [[nodiscard]] bool take_now() noexcept {
        const auto now = core_->take(*place_);
        state_ = now == broadcast_core::found::end ? state::refused : state::granted;
        return now != broadcast_core::found::nothing;
    }
};

} // namespace toadstone::sync::detail

#endif
