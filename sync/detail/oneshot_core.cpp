// The slow paths of a oneshot: waiting, settling, refusing.
#include <toadstone/sync/detail/oneshot_core.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/channel_closed.hpp>

#include <utility>

namespace toadstone::sync::detail {

// Both queues are known here alone: whether the fast paths are open again.
void oneshot_core::unlock(std::uint32_t word) noexcept {
    const bool none = answer_.empty() && closing_.empty();
    word_.unlock(none ? word & ~waits : word | waits);
}

bool oneshot_core::begin_sending_slowly() noexcept {
    const std::uint32_t word = word_.lock();
    const bool wanted = !(word & refusing);
    unlock(wanted ? word | sending : word);
    return wanted;
}

void oneshot_core::undo_sending() noexcept {
    ended_waits ended;
    const std::uint32_t word = word_.lock() & ~sending;
    if (is_settled(word)) ended.take_all(answer_, state::granted);
    unlock(word);
    ended.wake();
}

bool oneshot_core::settle(std::uint32_t how) noexcept {
    ended_waits ended;
    std::uint32_t word = word_.lock();
    TOADSTONE_ASSERT(closing_.empty(),
                     "a oneshot's sender is there until nobody waits through it any more");
    word = (word | how) & ~(sender | sending);
    ended.take_all(answer_, state::granted);
    const bool last = !(word & receiver);
    unlock(word);
    ended.wake();
    return last;
}

bool oneshot_core::fail(std::exception_ptr error) noexcept {
    failure_ = std::move(error);
    return settle(failure);
}

bool oneshot_core::refuse(bool leave) noexcept {
    ended_waits ended;
    std::uint32_t word = word_.lock();
    word |= refusing;
    if (leave) {
        TOADSTONE_ASSERT(
            answer_.empty(),
            "a oneshot's receiver is there until nobody waits through it any more");
        word &= ~receiver;
    }
    ended.take_all(closing_, state::granted);
    if (is_settled(word)) ended.take_all(answer_, state::granted);
    const bool last = !(word & sender);
    unlock(word);
    ended.wake();
    return last;
}

void oneshot_core::throw_no_value() const {
    const std::uint32_t word = word_.look();
    if (taken_) toadstone::detail::throw_misuse("a oneshot's message is received once");
    if (word & failure) std::rethrow_exception(failure_);
    if (word & refusing) throw channel_closed();
    throw channel_closed("the sender is gone and has sent nothing");
}

template <class Waiter>
bool oneshot_core::queue(wait_queue& in, Waiter& waiter, std::uint32_t word, bool settled) {
    const bool queued = !settled && in.empty();
    if (queued) {
        in.add(waiter);
    } else {
        waiter.state_ = settled ? state::granted : state::deadlock;
    }
    unlock(word); // from here on a queued waiter may be woken and gone
    return !queued;
}

bool oneshot_core::settle_or_queue(answer_waiter& waiter) noexcept {
    const std::uint32_t word = word_.lock();
    return queue(answer_, waiter, word, is_settled(word));
}

bool oneshot_core::settle_or_queue(closing_waiter& waiter) noexcept {
    const std::uint32_t word = word_.lock();
    return queue(closing_, waiter, word, (word & refusing) != 0);
}

bool oneshot_core::withdraw(wait_queue& from, toadstone::detail::waiter& waiter,
                            state how) noexcept {
    const std::uint32_t word = word_.lock();
    const bool queued = from.withdraw(waiter, how);
    unlock(word);
    return queued;
}

void oneshot_core::wait_blocking() {
    if (is_settled()) return;
    toadstone::detail::thread_wait<answer_waiter> waiter;
    waiter.wait_for(*this, "blocking_recv()", "recv()");
    if (waiter.how() == state::deadlock) refuse_second_wait();
}

void oneshot_core::refuse_second_wait() {
    toadstone::detail::throw_misuse("one task at a time waits for the answer of a oneshot");
}

void closing_leaf::await_resume() const {
    if (how() != state::deadlock) return;
    toadstone::detail::throw_misuse("one task at a time waits for a oneshot to be closed");
}

} // namespace toadstone::sync::detail
