// The queue behind everything that several tasks, or plain threads, can wait for.
#ifndef TOADSTONE_RUNTIME_DETAIL_WAIT_QUEUE_HPP
#define TOADSTONE_RUNTIME_DETAIL_WAIT_QUEUE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::detail {

/// Somebody in a queue; lives in the frame, or on the stack, of whoever waits.
class waiter {
public:
    enum class state : unsigned char {
        idle,
        queued,
        granted,   ///< has what it waited for
        refused,   ///< has not, and never will by this wait: poisoned, closed, broken
        deadlock,  ///< asked for what it has
        timed_out, ///< withdrew when the time was up
        withdrawn, ///< withdrew because the task has to stop
    };

    waiter() = default;
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;

    /// For whoever waited, once the wait is over.
    [[nodiscard]] state how() const noexcept { return state_; }

protected:
    virtual ~waiter() = default;
    /// The wait is over. Called once, with no lock held, by whoever ended it. Resumes nothing.
    virtual void wake() noexcept = 0;

    friend class wait_queue;
    friend class ended_waits;
    plain<waiter*> next_;              // while queued; under the lock of what is waited for
    plain<waiter*> previous_;          // the same
    plain<state> state_ = state::idle; // under that lock until the wait is over
};

/// First come, first served; anybody leaves in O(1); no allocation. One pointer: behind the
/// last comes the first.
///
/// Threads: whoever holds the lock of what is waited for.
class wait_queue {
public:
    constexpr wait_queue() noexcept = default;
    wait_queue(const wait_queue&) = delete;
    wait_queue& operator=(const wait_queue&) = delete;

    [[nodiscard]] bool empty() const noexcept { return !last_; }
    /// Null if it is empty.
    [[nodiscard]] waiter* first() const noexcept {
        waiter* const last = last_;
        return last ? static_cast<waiter*>(last->next_) : nullptr;
    }
    /// Null behind the last.
    [[nodiscard]] waiter* behind(const waiter& one) const noexcept {
        return &one == static_cast<waiter*>(last_) ? nullptr : static_cast<waiter*>(one.next_);
    }
    /// Behind all others; its state is `queued`.
    void add(waiter& one) noexcept;
    /// Before all others; else the same.
    void add_first(waiter& one) noexcept;
    /// Leaves the state as it is.
    void remove(waiter& one) noexcept;
    [[nodiscard]] static bool is_queued(const waiter& one) noexcept {
        return one.state_ == waiter::state::queued;
    }
    /// Out of the queue, with a state. False: it is not in it, and stays as it is.
    [[nodiscard]] bool withdraw(waiter& one, waiter::state how) noexcept;

    /// For a queue of another order, which keeps what it needs in this one pointer.
    [[nodiscard]] plain<waiter*>& only_pointer() noexcept { return last_; }

private:
    plain<waiter*> last_ = nullptr;
};

/// Waits that are over, to be told so when no lock is held any more. In the order of add().
class ended_waits {
public:
    /// Of a waiter that is in no queue any more.
    void add(waiter& one, waiter::state how) noexcept;
    /// Out of the queue.
    void take(wait_queue& from, waiter& one, waiter::state how) noexcept;
    void take_all(wait_queue& from, waiter::state how) noexcept;
    void wake() noexcept;

private:
    waiter* first_ = nullptr;
    waiter* last_ = nullptr;
};

} // namespace toadstone::detail

#endif
