// Waiting for a notification, and having the mutex again afterwards.
#include <toadstone/sync/detail/condition_core.hpp>

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>

#include <utility>

namespace toadstone::sync::detail {

namespace {

// Nobody waits for himself: whoever waits for a condition has let go of the mutex.
constexpr std::uint64_t nobody = ~std::uint64_t{0};

} // namespace

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

bool condition_leaf::await_ready() {
    if (!guard_->mutex()) {
        toadstone::detail::throw_misuse("a condition variable is waited for with a guard that "
                                        "holds its mutex");
    }
    guard_->check_place();
    if (guard_->defers()) static_cast<void>(ctx_->extras()); // later nothing may fail
    if (ctx_->should_stop()) spare_guard(); // it is stopped where the data is whole
    return false;
}

void condition_leaf::open() {
    mutex_ = guard_->mutex(); // first: whoever notifies looks at it
    try {
        core_->add(*this, *mutex_); // before the mutex goes: no notification is lost
    } catch (...) {
        ctx_->suspension_undone();
        throw;
    }
    guard_->open();
}

// In a frame that goes with this wait, the guard dies before anybody has used it again. Around
// a boundary that has ended the wait, it may be used again before it dies, and counts then.
void condition_leaf::spare_guard() noexcept {
    const toadstone::detail::context* const holder = ctx_->holder_of(guard_);
    if (holder == ctx_) {
        if (ctx_->should_stop()) guard_->set_consistent(true);
    } else if (!holder || holder->requested()) {
        guard_->set_untouched();
    }
}

bool condition_leaf::lock_again() noexcept {
    return mutex_->acquire_or_queue(again_, asker(ctx_->serial(), nobody));
}

bool condition_leaf::taken() noexcept {
    spare_guard(); // first: from then on the guard may defer this end
    guard_->close(*mutex_, *ctx_);
    if (how() == state::granted) core_->notify(false); // it goes to the next
    return true;
}

void condition_leaf::await_resume() {
    guard_->close(*mutex_, *ctx_);
    if (!mutex_->is_poisoned()) [[likely]]
        return;
    const poison_cause cause = mutex_->cause();
    guard_->release_clean();
    throw poison_error(cause);
}

void wait_here(condition_core& core, guard_core& guard) {
    if (!guard.mutex()) {
        toadstone::detail::throw_misuse("a condition variable is waited for with a guard that "
                                        "holds its mutex");
    }
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
