// Waiting in a queue, as a plain thread does.
#ifndef TOADSTONE_RUNTIME_DETAIL_THREAD_WAIT_HPP
#define TOADSTONE_RUNTIME_DETAIL_THREAD_WAIT_HPP

#include <toadstone/runtime/detail/wait_queue.hpp>

#include <condition_variable>
#include <mutex>
#include <utility>

namespace toadstone::detail {

/// Errors: std::logic_error on a worker: the thread has other tasks to run. `instead`: what to
/// await.
void refuse_to_block_worker(const char* what, const char* instead);

/// Not for public headers: what it includes is much to read.
template <class Waiter>
class thread_wait final : public Waiter {
public:
    template <class... Args>
    explicit thread_wait(Args&&... args) noexcept : Waiter(std::forward<Args>(args)...) {}

    /// Until the wait is over. `what` blocks, and is `instead` for a task. Errors:
    /// std::logic_error on a worker.
    template <class Core>
    void wait_for(Core& core, const char* what, const char* instead) {
        refuse_to_block_worker(what, instead);
        if (!core.settle_or_queue(*this)) wait();
    }
    /// Of one that is queued.
    void wait() {
        std::unique_lock hold(lock_);
        changed_.wait(hold, [this] { return done_; });
    }

private:
    void wake() noexcept override {
        const std::lock_guard hold(lock_); // held while notifying: the waiter owns all this
        done_ = true;
        changed_.notify_one();
    }

    std::mutex lock_;
    std::condition_variable changed_;
    bool done_ = false;
};

} // namespace toadstone::detail

#endif
