// Setting an event, and waiting for one that is not set.
#include <toadstone/sync/detail/event_core.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>

namespace toadstone::sync::detail {

bool event_core::pass_or_queue(waiter& one) noexcept {
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
    std::uint32_t word = word_.lock();
    const bool queued = queue_.is_queued(one);
    if (queued) {
        queue_.remove(one);
        one.state_ = how;
        if (queue_.empty()) word &= ~waiting;
    }
    word_.unlock(word);
    return queued;
}

void event_core::set() noexcept {
    toadstone::detail::ended_waits ended;
    std::uint32_t word = word_.lock();
    bool taken = false;
    while (auto* const first = queue_.first()) {
        if (kind_ == event_kind::for_one && taken) break;
        queue_.remove(*first);
        ended.add(*first, waiter::state::granted);
        taken = true;
    }
    if (queue_.empty()) word &= ~waiting;
    if (kind_ == event_kind::stays || !taken) word |= set_bit;
    word_.unlock(word); // whoever passes may destroy *this
    ended.wake();
}

void event_core::reset() noexcept {
    word_.unlock(word_.lock() & ~set_bit);
}

bool event_leaf::queue_up() noexcept {
    return queued_unless(core_->pass_or_queue(*this));
}

void wait_here(event_core& core) {
    if (core.try_pass()) return;
    toadstone::detail::refuse_to_block_worker("blocking_wait()", "wait()");
    toadstone::detail::thread_wait<event_waiter> one;
    if (!core.pass_or_queue(one)) one.wait();
}

} // namespace toadstone::sync::detail
