// Waiting in a queue, as a plain thread or a fiber does.
#ifndef TOADSTONE_RUNTIME_DETAIL_THREAD_WAIT_HPP
#define TOADSTONE_RUNTIME_DETAIL_THREAD_WAIT_HPP

#include <toadstone/runtime/detail/fiber_host.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/thread_lender.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/executor.hpp>

#include <condition_variable>
#include <mutex>
#include <utility>

namespace toadstone::detail {

/// Errors: std::logic_error on a worker: the thread has other tasks to run. `instead`: what to
/// await.
void refuse_to_block_worker(const char* what, const char* instead);
/// The fiber that runs here, whose wait blocks nobody; null on a plain thread. Errors: as
/// above, where no fiber runs.
[[nodiscard]] fiber_host* fiber_that_waits(const char* what, const char* instead);

/// The leaf behind a wait on a fiber. Of `Core` and `Waiter`: see wait_leaf.
template <class Core, class Waiter>
class fiber_wait final : public leaf {
public:
    fiber_wait(fiber_host& fiber, Core& core, Waiter& waiter) noexcept
        : fiber_(&fiber), core_(&core), waiter_(&waiter) {}

    bool cancel(cancel_reason, bool) noexcept override {
        return !fiber_->must_return() && core_->withdraw(*waiter_, waiter::state::withdrawn);
    }
    bool taken() noexcept override {
        if (fiber_->must_return()) return false;
        core_->hand_back(*waiter_);
        return true;
    }

private:
    fiber_host* fiber_;
    Core* core_;
    Waiter* waiter_;
};

/// Not for public headers: what it includes is much to read.
template <class Waiter>
class thread_wait final : public Waiter {
public:
    template <class... Args>
    explicit thread_wait(Args&&... args) noexcept : Waiter(std::forward<Args>(args)...) {}

    /// Until the wait is over. `what` blocks, and is `instead` for a task. Errors:
    /// std::logic_error on a worker, unless a fiber runs there: then it is the task that waits.
    template <class Core>
    void wait_for(Core& core, const char* what, const char* instead) {
        wait_for(core, what, instead, [&] { return core.settle_or_queue(*this); });
    }
    /// The same, `settle()` in the place of the core's settle_or_queue().
    template <class Core, class Settle>
    void wait_for(Core& core, const char* what, const char* instead, Settle settle) {
        fiber_host* const fiber = fiber_that_waits(what, instead);
        if (!fiber) {
            if (!settle()) wait();
            return;
        }
        fiber_wait<Core, Waiter> leaf(*fiber, core, *this);
        task_ = &fiber->task();
        if (!fiber->begin_wait(leaf)) fiber->suspend(); // unwinds
        if (settle()) {
            fiber->no_wait();
        } else {
            fiber->suspend();
        }
    }
    /// Of one that is queued, on a plain thread.
    void wait() {
        if (lender_) lender_->lend_until(done_);
        std::unique_lock hold(lock_);
        changed_.wait(hold, [this] { return done_.load(std::memory_order_acquire); });
    }

private:
    void wake() noexcept override {
        if (task_) {
            task_->home().schedule(*task_);
            return;
        }
        const std::lock_guard hold(lock_); // held while notifying: the waiter owns all this
        done_.store(true, std::memory_order_release);
        changed_.notify_one();
        if (lender_) lender_->wake();
    }

    thread_lender* const lender_ = thread_lender::here(); ///< whose thread waits
    context* task_ = nullptr;                             // whose fiber waits
    std::mutex lock_;
    std::condition_variable changed_;
    atomic<bool> done_{false};
};

} // namespace toadstone::detail

#endif
