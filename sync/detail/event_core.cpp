// Setting an event, and waiting for one that is not set.
#include <toadstone/sync/detail/event_core.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>

namespace toadstone::sync::detail {

bool event_core::try_pass_slowly() noexcept {
    const std::uint32_t word = word_.lock();
    word_.unlock(word & ~set_bit);
    return (word & set_bit) != 0;
}

bool event_core::settle_or_queue(waiter& one) noexcept {
    std::uint32_t word = word_.lock();
    const bool passes = (word & set_bit) != 0;
    if (passes) {
        one.state_ = waiter::state::granted;
        if (kind_ == event_kind::for_one) word &= ~set_bit;
    } else {
        queue_.add(one);
        word |= waiting;
    }
    word_.unlock(word); // from here on a queued waiter may be woken and gone
    return passes;
}

bool event_core::withdraw(waiter& one, toadstone::detail::waiter::state how) noexcept {
    const std::uint32_t word = word_.lock();
    const bool queued = queue_.withdraw(one, how);
    word_.unlock(queue_.empty() ? word & ~waiting : word);
    return queued;
}

void event_core::set() noexcept {
    toadstone::detail::ended_waits ended;
    std::uint32_t word = word_.lock();
    auto* const first = queue_.first();
    if (kind_ == event_kind::stays) {
        ended.take_all(queue_, waiter::state::granted);
        word |= set_bit;
    } else if (first) {
        ended.take(queue_, *first, waiter::state::granted);
    } else {
        word |= set_bit;
    }
    if (queue_.empty()) word &= ~waiting;
    word_.unlock(word); // whoever passes may destroy *this
    ended.wake();
}

void event_core::reset() noexcept {
    word_.unlock(word_.lock() & ~set_bit);
}

void wait_here(event_core& core) {
    if (core.try_pass()) return;
    toadstone::detail::thread_wait<event_waiter> one;
    one.wait_for(core, "blocking_wait()", "wait()");
}

} // namespace toadstone::sync::detail
