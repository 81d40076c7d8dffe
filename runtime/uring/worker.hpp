// The worker: one thread, one ring, one run queue, one timer wheel.
#ifndef TOADSTONE_RUNTIME_URING_WORKER_HPP
#define TOADSTONE_RUNTIME_URING_WORKER_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/fork_mark.hpp>
#include <toadstone/runtime/detail/io_op.hpp>
#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/uring/adaptive_spin.hpp>
#include <toadstone/runtime/uring/quick_clock.hpp>
#include <toadstone/runtime/uring/ring.hpp>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace toadstone::detail {

class buffer_ring;
class multishot_op;

/// Gets a worker out of io_uring_enter by writing to its eventfd.
class eventfd_waker final : public waker {
public:
    void notify() noexcept override;
    void open(int fd) noexcept;
    void close() noexcept;

    /// A waker from the process-wide stock; give it back with release().
    static eventfd_waker& take();
    static void release(eventfd_waker& waker) noexcept;

private:
    process_lock lock_;
    int fd_ = -1; // guarded by lock_
};

/// Borrows a waker for as long as the worker lives, also when its construction fails.
class waker_loan {
protected:
    waker_loan() : lent_(eventfd_waker::take()) {}
    ~waker_loan() { eventfd_waker::release(lent_); }
    waker_loan(const waker_loan&) = delete;
    waker_loan& operator=(const waker_loan&) = delete;

    eventfd_waker& lent_;
};

/// Whoever has several workers: finds one, and hears when a root is gone.
class worker_group {
public:
    [[nodiscard]] virtual executor& place(placement where, executor& from) noexcept = 0;
    [[nodiscard]] virtual unsigned size() const noexcept = 0;
    virtual void root_gone() noexcept = 0;
    /// How long an idle worker may stay awake for what the others hand it. In a simulation not
    /// at all: nothing comes while one worker runs.
    [[nodiscard]] virtual std::chrono::nanoseconds longest_spin() const noexcept { return {}; }
    /// See executor.
    [[nodiscard]] virtual blocking_service* blocking() noexcept { return nullptr; }

protected:
    ~worker_group() = default;
};

/// The worker is a step(); run() is the loop around it. One test thread can step several.
class worker final : waker_loan, public executor {
public:
    worker(kernel& kernel, ring_options options, unsigned max_operations, worker_group* group,
           unsigned index);
    ~worker() override;

    /// Makes this thread the ring's owner. Once, before the first step, when the group has all
    /// its workers. Errors:
    /// ring_unavailable; the thread then neither steps nor detaches.
    void attach();

    /// One turn: inbox, timers, ready contexts, submission, completions. With `may_wait` it
    /// sleeps in the kernel when nothing is ready. Returns how many contexts ran and
    /// completions came; 0: there was nothing to do.
    /// At most `most` contexts run; with `drains`, as in run(), also those that they make
    /// ready, as long as nothing comes from outside.
    unsigned step(bool may_wait, unsigned most = ~0U, bool drains = false) noexcept;
    /// A step would do something at once.
    [[nodiscard]] bool has_work() const noexcept {
        return has_ready() || !inbox_empty() || ring_.has_completion() ||
               ring_.unsubmitted() > 0;
    }

    /// Steps until stop() has been called and no root, operation or message is left.
    void run() noexcept;
    void stop() noexcept; ///< from any thread
    /// run() would return.
    [[nodiscard]] bool ended() const noexcept {
        return stop_.load(std::memory_order_acquire) && !first_root() && !has_ready() &&
               inbox_empty();
    }

    /// For a thread that lends itself now and then: binds it to this worker for as long as
    /// `enough()` is false, and steps. It is asked after each turn; wake() makes it be asked.
    template <class Enough>
    void run_until(Enough enough) noexcept {
        executor* const outer = bind_thread(this);
        const slice_scope nobody(nullptr);
        while (!enough()) turn(true, ~0U, true);
        bind_thread(outer);
    }
    /// The same thread does so no more.
    void leave_thread() noexcept { bind_thread(nullptr); }
    void wake() noexcept { waker_->notify(); } ///< from any thread

    /// Cancels the wake-up read and waits for it; the last thing on the worker's thread.
    void detach() noexcept;

    // For io_op.
    void start(io_op& operation) noexcept;
    /// True: withdrawn, no completion will come.
    [[nodiscard]] bool withdraw(io_op& operation) noexcept;

    // For receivers.
    /// The buffers that receives of this worker are given, made when they are first asked for.
    /// Null: there is no memory for them.
    [[nodiscard]] buffer_ring* receive_buffers() noexcept;
    /// Half of the places are kept for operations that end by themselves: one that goes on
    /// would keep its place from what its own task waits for.
    [[nodiscard]] bool may_go_on() const noexcept { return going_on_ < limit_ / 2; }
    [[nodiscard]] const receive_options& receiving() const noexcept { return receiving_; }

    [[nodiscard]] clock::time_point now() const noexcept override { return clock_.now(); }
    [[nodiscard]] clock::time_point now_or_later() const noexcept override {
        return clock_.now_or_later();
    }
    [[nodiscard]] std::chrono::system_clock::time_point calendar_now() const noexcept override {
        return kernel_.calendar_now();
    }
    [[nodiscard]] executor& place(placement where) noexcept override;
    [[nodiscard]] unsigned peer_count() const noexcept override;
    [[nodiscard]] blocking_service* blocking() noexcept override;
    void root_gone() noexcept override;

    [[nodiscard]] unsigned index() const noexcept { return index_; }
    [[nodiscard]] const ring& queue() const noexcept { return ring_; }
    /// Operations that the kernel has; the library's own not counted. Any thread.
    [[nodiscard]] std::size_t in_flight() const noexcept {
        return in_flight_.load(std::memory_order_relaxed);
    }
    /// Completions that belonged to nobody any more. Home thread only.
    [[nodiscard]] std::uint64_t strays() const noexcept { return strays_; }
    /// For a report on a worker that does not answer.
    [[nodiscard]] std::uint64_t turns() const noexcept {
        return turns_.load(std::memory_order_relaxed);
    }

    using executor::first_root;
    [[nodiscard]] clock::time_point next_timer() noexcept { return timers_.next(); }

private:
    static constexpr std::uint32_t no_slot = 0xffffffff;
    struct slot {
        io_op* operation = nullptr;
        std::uint32_t generation = 1;
        std::uint32_t next_free = no_slot;
    };

    /// The ring's memory is shared with a forked process, which would write into it.
    void refuse_fork() const noexcept {
        TOADSTONE_ASSERT(!made_in_.forked(),
                         "a runtime is used only by the process that made it: a fork of it may "
                         "call exec, or make a runtime of its own");
    }
    /// What step() does on a thread that is bound to this worker.
    unsigned turn(bool may_wait, unsigned most, bool drains) noexcept;
    void drain(unsigned ran) noexcept;
    [[nodiscard]] bool spin() noexcept;
    void wait() noexcept;
    void arm_wake_up() noexcept;
    [[nodiscard]] io_uring_sqe* entry() noexcept;
    [[nodiscard]] [[gnu::noinline]] io_uring_sqe* entry_of_full_queue() noexcept;
    [[nodiscard]] bool prepare(io_op& operation) noexcept;
    void wait_for_slot(io_op& operation) noexcept;
    void send_cancel(io_op& operation) noexcept;
    [[nodiscard]] bool send_cancel(std::uint64_t target) noexcept;
    void send_waiting_cancels() noexcept;
    void unlink_cancel(io_op& operation) noexcept;
    void start_waiting() noexcept;
    void complete(const io_uring_cqe& completion) noexcept;
    [[gnu::cold]] void complete_other(const io_uring_cqe& completion) noexcept;
    void complete_marked(const io_uring_cqe& completion) noexcept;
    void complete_multishot(multishot_op& operation, const io_uring_cqe& completion) noexcept;
    void complete_notified(io_op& operation, const io_uring_cqe& completion) noexcept;
    [[gnu::noinline]] void end_multishot(multishot_op& operation,
                                         const io_uring_cqe& completion) noexcept;
    void free_slot(std::uint32_t index) noexcept {
        slot& place = slots_[index];
        place.operation = nullptr;
        ++place.generation;
        place.next_free = free_first_;
        free_first_ = index;
        in_flight_.store(in_flight() - 1, std::memory_order_relaxed);
    }
    void end_multishots() noexcept;
    /// user_data: the generation above, the slot and a mark below.
    [[nodiscard]] std::uint64_t tag_of(const io_op& operation) const noexcept {
        return (std::uint64_t{slots_[operation.slot_].generation} << 32) |
               (operation.slot_ | operation.kind_);
    }
    void unlink_waiting(io_op& operation) noexcept;

    kernel& kernel_;
    mutable quick_clock clock_; // home thread only
    const fork_mark made_in_;
    ring ring_;
    worker_group* group_;
    unsigned index_;
    std::size_t limit_; // operations in flight at most
    int event_fd_ = -1;
    std::uint64_t event_count_ = 0; // the wake-up read writes here
    bool wake_up_armed_ = false;
    bool detaching_ = false;
    unsigned pending_cancels_ = 0; // cancel requests without their completion
    unsigned turns_without_enter_ = 0;
    adaptive_spin spin_{std::chrono::nanoseconds(0)};

    std::vector<slot> slots_;
    std::uint32_t free_first_ = no_slot;
    atomic<std::size_t> in_flight_{0};
    io_op* waiting_first_ = nullptr;
    io_op* waiting_last_ = nullptr;
    io_op* cancels_first_ = nullptr; // submitted, their cancellation not yet
    io_op* cancels_last_ = nullptr;
    std::uint64_t strays_ = 0;
    const receive_options receiving_;
    buffer_ring* buffers_ = nullptr;
    std::size_t going_on_ = 0; // slots of operations with more than one completion
    atomic<std::uint64_t> turns_{0};
    atomic<bool> stop_{false};
};

} // namespace toadstone::detail

#endif
