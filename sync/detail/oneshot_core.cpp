// The slow paths of a oneshot: waiting, settling, refusing.
#include <toadstone/sync/detail/oneshot_core.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/channel_closed.hpp>

#include <utility>

namespace toadstone::sync::detail {

void oneshot_core::wake_all(wait_queue& waits, ended_waits& ended) noexcept {
    if (toadstone::detail::waiter* const one = waits.first()) {
        waits.remove(*one);
        ended.add(*one, state::granted);
    }
}

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
    if (is_settled(word)) wake_all(answer_, ended);
    unlock(word);
    ended.wake();
}

bool oneshot_core::settle(std::uint32_t how) noexcept {
    ended_waits ended;
    std::uint32_t word = word_.lock();
    TOADSTONE_ASSERT(closing_.empty(),
                     "a oneshot's sender is there until nobody waits through it any more");
    word = (word | how) & ~(sender | sending);
    wake_all(answer_, ended);
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
    wake_all(closing_, ended);
    if (is_settled(word)) wake_all(answer_, ended);
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

bool oneshot_core::wait_or_queue(answer_waiter& waiter) noexcept {
    const std::uint32_t word = word_.lock();
    return queue(answer_, waiter, word, is_settled(word));
}

bool oneshot_core::wait_or_queue(closing_waiter& waiter) noexcept {
    const std::uint32_t word = word_.lock();
    return queue(closing_, waiter, word, (word & refusing) != 0);
}

template <class Waiter>
bool oneshot_core::withdraw(wait_queue& from, Waiter& waiter, state how) noexcept {
    const std::uint32_t word = word_.lock();
    const bool queued = wait_queue::is_queued(waiter);
    if (queued) {
        from.remove(waiter);
        waiter.state_ = how;
    }
    unlock(word);
    return queued;
}
template bool oneshot_core::withdraw(wait_queue&, answer_waiter&, state) noexcept;
template bool oneshot_core::withdraw(wait_queue&, closing_waiter&, state) noexcept;

void oneshot_core::wait_blocking() {
    if (is_settled()) return;
    toadstone::detail::refuse_to_block_worker("blocking_recv()", "recv()");
    toadstone::detail::thread_wait<answer_waiter> waiter;
    if (!wait_or_queue(waiter)) waiter.wait();
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
