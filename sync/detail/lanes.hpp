// The queue of a batched mutex: its waiters by their workers.
#ifndef TOADSTONE_SYNC_DETAIL_LANES_HPP
#define TOADSTONE_SYNC_DETAIL_LANES_HPP

#include <toadstone/sync/detail/lock_waiter.hpp>

namespace toadstone::sync::detail {

/// A lane for each worker that has waiters, and one for all plain threads. In a lane, first
/// come, first served; between lanes, the numbers of arrival tell.
///
///     entry -> first of A --lane_--> first of B --lane_--> back to A
///              |  ^ previous_        |  ^
///              v  | next_            v  |
///              second of A           last of B
///
/// The lanes are entered before the one that was used last: a worker that takes its own waiters
/// one after the other, and queues them again, looks at no other worker's but at the entry.
/// Other searches look at the first waiter of each lane: as many as there are workers.
///
/// Threads: whoever holds the queue lock.
class lanes {
public:
    using executor = toadstone::detail::executor;

    /// Kept in the pointer of an ordinary queue.
    explicit lanes(toadstone::detail::wait_queue& queue) noexcept
        : entry_(queue.only_pointer()) {}

    [[nodiscard]] bool empty() const noexcept { return !entry_; }
    /// Behind all others; its state is `queued`. `home`: the waiter's worker; null for a plain
    /// thread.
    void add(lock_waiter& waiter, const executor* home) noexcept;
    void remove(lock_waiter& waiter) noexcept;
    /// As of a wait_queue.
    [[nodiscard]] bool withdraw(lock_waiter& waiter, lock_waiter::state how) noexcept;

    /// The first of that worker, or null.
    [[nodiscard]] lock_waiter* first_of(const executor& home) noexcept { return find(&home); }
    /// Not of an empty queue.
    [[nodiscard]] lock_waiter* oldest() noexcept;
    /// The oldest of those who want such, or null. Looks at all who are before it in their
    /// lanes.
    [[nodiscard]] lock_waiter* oldest(bool (*such)(wants)) noexcept;
    /// Whether the batch is that worker's; the first who asks begins one.
    [[nodiscard]] bool is_batch_of(const executor& worker) noexcept;
    /// A batch of the waiter's worker begins, or of nobody with a plain thread.
    void begin_batch(const lock_waiter& waiter) noexcept {
        entry()->batch_ = number_of(waiter.home_);
    }
    /// Calls `fn(waiter)`, which may remove the waiter; each lane in order.
    template <class Fn>
    void for_each(Fn fn) noexcept;

private:
    [[nodiscard]] static bool is_older(const lock_waiter& one,
                                       const lock_waiter& other) noexcept {
        return static_cast<std::int32_t>(one.arrived_ - other.arrived_) < 0;
    }
    /// Not 0. Two workers that share a number, 64 GiB apart, would have one batch.
    [[nodiscard]] static std::uint32_t number_of(const executor* home) noexcept {
        return home ? static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(home) >> 4)
                    : 1;
    }
    [[nodiscard]] lock_waiter* entry() const noexcept {
        return static_cast<lock_waiter*>(static_cast<toadstone::detail::waiter*>(entry_));
    }
    [[nodiscard]] static lock_waiter* next(const lock_waiter& one) noexcept {
        return static_cast<lock_waiter*>(static_cast<toadstone::detail::waiter*>(one.next_));
    }
    [[nodiscard]] static lock_waiter* previous(const lock_waiter& one) noexcept {
        return static_cast<lock_waiter*>(
            static_cast<toadstone::detail::waiter*>(one.previous_));
    }
    [[nodiscard]] lock_waiter* find(const executor* home) noexcept;
    void enter_at(lock_waiter& first) noexcept;

    toadstone::detail::plain<toadstone::detail::waiter*>& entry_;
};

template <class Fn>
void lanes::for_each(Fn fn) noexcept {
    lock_waiter* const entry = this->entry();
    if (!entry) return;
    // The lane of the entry comes last: until then the ring leads to it.
    for (lock_waiter* lane = entry->lane_;;) {
        lock_waiter* const next_lane = lane->lane_;
        lock_waiter* const last = previous(*lane);
        for (lock_waiter* each = lane;;) {
            lock_waiter* const behind = next(*each);
            const bool more = each != last;
            fn(*each);
            if (!more) break;
            each = behind;
        }
        if (lane == entry) return;
        lane = next_lane;
    }
}

} // namespace toadstone::sync::detail

#endif
