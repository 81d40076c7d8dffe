// Waiting for a notification, and having the mutex again afterwards.
#include <toadstone/sync/detail/condition_core.hpp>

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/fiber_host.hpp>
#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>

#include <utility>

namespace toadstone::sync::detail {

using toadstone::detail::fiber_host;
using toadstone::detail::fiber_that_waits;

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

namespace {

/// On a fiber it is the task that waits; within fiber::no_unwind to the end.
class fiber_condition_wait final : public condition_leaf {
public:
    fiber_condition_wait(fiber_host& fiber, condition_core& core, guard_core& guard) noexcept
        : condition_leaf(core, guard), fiber_(&fiber) {
        ctx_ = &fiber.task();
    }
    bool cancel(cancel_reason reason, bool force) noexcept override {
        return !fiber_->must_return() && condition_leaf::cancel(reason, force);
    }
    bool taken() noexcept override { return !fiber_->must_return() && condition_leaf::taken(); }
    void wait() {
        static_cast<void>(await_ready());
        if (fiber_->begin_wait(*this)) {
            open();
        } else {
            spare_guard();
        }
        fiber_->suspend();
        await_resume();
    }

private:
    fiber_host* fiber_;
};

} // namespace

void wait_here(condition_core& core, guard_core& guard) {
    if (!guard.mutex()) toadstone::detail::throw_misuse(holds_mutex);
    if (fiber_host* const fiber = fiber_that_waits("blocking_wait()", "wait()")) {
        fiber_condition_wait(*fiber, core, guard).wait();
        return;
    }
    toadstone::detail::thread_wait<condition_waiter> one;
    mutex_core& mutex = *guard.mutex();
    core.add(one, mutex);
    guard.open();
    one.wait();
    static_cast<void>(lock_here(mutex, true)); // throws, holding nothing
    guard.close(mutex);
}

} // namespace toadstone::sync::detail
