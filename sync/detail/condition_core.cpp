// Waiting for a notification, and having the mutex again afterwards.
#include <toadstone/sync/detail/condition_core.hpp>

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>

#include <utility>

namespace toadstone::sync::detail {

void condition_core::add(condition_waiter& one, const mutex_core& mutex) {
    const std::uint32_t word = word_.lock();
    const bool fits = queue_.empty() || mutex_ == &mutex;
    if (fits) {
        mutex_ = &mutex;
        queue_.add(one);
    }
    word_.unlock(fits ? word | waiting : word);
    if (!fits) {
        toadstone::detail::throw_misuse(
            "all who wait for a condition variable hold the same mutex");
    }
}

bool condition_core::withdraw(condition_waiter& one,
                              toadstone::detail::waiter::state how) noexcept {
    const std::uint32_t word = word_.lock();
    const bool queued = queue_.withdraw(one, how);
    word_.unlock(queue_.empty() ? word & ~waiting : word);
    return queued;
}

void condition_core::notify_waiters(bool all) noexcept {
    toadstone::detail::ended_waits ended;
    std::uint32_t word = word_.lock();
    auto* const first = queue_.first();
    if (all) {
        ended.take_all(queue_, condition_waiter::state::granted);
    } else if (first) {
        ended.take(queue_, *first, condition_waiter::state::granted);
    }
    if (queue_.empty()) word &= ~waiting;
    word_.unlock(word);
    ended.wake(); // each of them goes on to the queue of the mutex
}

namespace {

constexpr const char* holds_mutex =
    "a condition variable is waited for with a guard that holds its mutex";

} // namespace

bool condition_leaf::await_ready() {
    section_.prepare(*ctx_, holds_mutex);
    return false;
}

void condition_leaf::open() {
    try {
        section_.find_holder();
        core_->add(*this, section_.mutex()); // first: no notification is lost
    } catch (...) {
        ctx_->suspension_undone();
        throw;
    }
    section_.open();
}

bool condition_leaf::taken() noexcept {
    if (section_.locked()) {    // else it would wait for itself
        section_.spare_guard(); // first: from then on the guard may defer this end
        section_.close();
    }
    if (how() == state::granted) core_->notify(false); // it goes to the next
    return true;
}

void wait_here(condition_core& core, guard_core& guard) {
    if (!guard.mutex()) toadstone::detail::throw_misuse(holds_mutex);
    toadstone::detail::refuse_to_block_worker("blocking_wait()", "wait()");
    toadstone::detail::thread_wait<condition_waiter> one;
    mutex_core& mutex = *guard.mutex();
    core.add(one, mutex);
    guard.open();
    one.wait();
    static_cast<void>(lock_here(mutex, true)); // throws, holding nothing
    guard.close(mutex);
}

} // namespace toadstone::sync::detail
