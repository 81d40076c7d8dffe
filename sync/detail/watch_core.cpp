// A watch: one change after the other, waiting for them, and how it ends.
#include <toadstone/sync/detail/watch_core.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/channel_closed.hpp>

#include <utility>

namespace toadstone::sync::detail {

using state = toadstone::detail::waiter::state;

watch_core::change::change(watch_core& of) : of_(of) {
    const void* const self = toadstone::detail::this_thread();
    if (of.changer_.load(std::memory_order_relaxed) == self) {
        toadstone::detail::throw_misuse(
            "a function that changes the value of a watch sends nothing into that watch");
    }
    of.changes_.lock();
    const std::uint64_t word = of.word_.lock();
    const bool refused = (word & closed_bit) != 0;
    of.word_.unlock(refused ? word : word | changing);
    if (refused) {
        of.changes_.unlock();
        throw_closed(of.cause());
    }
    of.changer_.store(self, std::memory_order_relaxed);
}

watch_core::change::~change() {
    of_.changer_.store(nullptr, std::memory_order_relaxed);
    if (!is_published_) of_.unlock_and_end(of_.word_.lock() & ~changing);
    of_.changes_.unlock();
}

watch_value& watch_core::change::publish(watch_value& next) noexcept {
    ended_waits ended;
    const std::uint64_t word = of_.word_.lock();
    watch_value* const before = of_.newest_;
    of_.newest_ = &next;
    ended.take_all(of_.queue_, state::granted);
    is_published_ = true;
    of_.word_.unlock((word & ~changing) + one_version);
    ended.wake();
    return *before;
}

// Unlocks; whoever waits is refused if nothing will come any more.
void watch_core::unlock_and_end(std::uint64_t word) noexcept {
    ended_waits ended;
    if (is_over(word)) ended.take_all(queue_, state::refused);
    word_.unlock(word);
    ended.wake();
}

watch_core::pinned watch_core::pin() const noexcept {
    const std::uint64_t word = word_.lock();
    watch_value* const value = newest_;
    value->add_reference();
    word_.unlock(word);
    return {value, word >> shift};
}

bool watch_core::settle_or_queue(watch_waiter& waiter) noexcept {
    const std::uint64_t word = word_.lock();
    const found now = look(word, waiter.seen_);
    if (now == found::nothing) {
        queue_.add(waiter);
    } else {
        waiter.state_ = now == found::end ? state::refused : state::granted;
    }
    word_.unlock(word); // from here on a queued waiter may be woken and gone
    return now != found::nothing;
}

bool watch_core::withdraw(watch_waiter& waiter, state how) noexcept {
    const std::uint64_t word = word_.lock();
    const bool queued = queue_.withdraw(waiter, how);
    word_.unlock(word);
    return queued;
}

watch_core::found watch_core::wait_blocking(std::uint64_t seen, const char* what,
                                            const char* instead) {
    const found now = look(seen);
    if (now != found::nothing) return now;
    toadstone::detail::thread_wait<watch_waiter> waiter(seen);
    waiter.wait_for(*this, what, instead);
    return waiter.how() == state::granted ? found::change : found::end;
}

bool watch_core::fail(poison_cause cause) noexcept {
    const std::uint64_t word = word_.lock();
    if (word & closed_bit) {
        word_.unlock(word);
        return false;
    }
    failure_ = std::move(cause);
    close(word | failed_bit);
    return true;
}

} // namespace toadstone::sync::detail
