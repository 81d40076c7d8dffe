// The semaphore's slow paths: queueing, serving, closing, withdrawing.
#include <toadstone/sync/detail/semaphore_core.hpp>

#include <toadstone/sync/closed_error.hpp>

namespace toadstone::sync::detail {

bool semaphore_core::settle(std::uint64_t& word, semaphore_waiter& waiter,
                            bool nobody_waits) noexcept {
    using state = semaphore_waiter::state;
    if (word & closed) {
        waiter.state_ = state::refused;
        return true;
    }
    if (!nobody_waits || word >> count_shift < waiter.wanted_) return false;
    word -= waiter.wanted_ << count_shift;
    waiter.state_ = state::granted;
    return true;
}

bool semaphore_core::settle_or_queue(semaphore_waiter& waiter) noexcept {
    std::uint64_t word = word_.lock();
    const bool settled = settle(word, waiter, queue_.empty());
    if (!settled) {
        queue_.add(waiter);
        word |= waiting;
    }
    word_.unlock(word); // from here on a queued waiter may be woken and gone
    return settled;
}

bool semaphore_core::acquire_now(semaphore_waiter& waiter) noexcept {
    std::uint64_t word = word_.lock();
    const bool settled = settle(word, waiter, queue_.empty());
    word_.unlock(word);
    return settled;
}

// Whoever is first gets what he wants before anybody behind him gets anything.
std::uint64_t semaphore_core::serve(std::uint64_t word, ended_waits& ended) noexcept {
    while (auto* const first = static_cast<semaphore_waiter*>(queue_.first())) {
        if (word >> count_shift < first->wanted_) return word;
        word -= first->wanted_ << count_shift;
        ended.take(queue_, *first, semaphore_waiter::state::granted);
    }
    return word & ~waiting;
}

// One that leaves the front lets those behind pass, who want less.
bool semaphore_core::withdraw(semaphore_waiter& waiter,
                              toadstone::detail::waiter::state how) noexcept {
    ended_waits ended;
    std::uint64_t word = word_.lock();
    const bool queued = queue_.withdraw(waiter, how);
    if (queued) word = serve(word, ended);
    word_.unlock(word);
    ended.wake();
    return queued;
}

void semaphore_core::release_slowly(std::uint64_t count) noexcept {
    ended_waits ended;
    word_.unlock(serve(word_.lock() + (count << count_shift), ended));
    ended.wake();
}

void semaphore_core::close() noexcept {
    ended_waits ended;
    const std::uint64_t word = word_.lock();
    ended.take_all(queue_, semaphore_waiter::state::refused);
    word_.unlock((word | closed) & ~waiting);
    ended.wake();
}

std::string semaphore_core::describe() const {
    return name_.empty() ? std::string() : "semaphore '" + std::string(name_) + "'";
}

void semaphore_core::throw_closed() const {
    throw closed_error("semaphore", name_);
}

} // namespace toadstone::sync::detail
