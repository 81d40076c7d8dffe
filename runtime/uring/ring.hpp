// A thin ring layer: submission and completion queues over the kernel seam.
#ifndef TOADSTONE_RUNTIME_URING_RING_HPP
#define TOADSTONE_RUNTIME_URING_RING_HPP

#include <toadstone/runtime/uring/kernel.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <liburing.h>

namespace toadstone::detail {

/// What a worker receives into, see buffer_ring and receiver.
struct receive_options {
    unsigned buffers = 128;
    unsigned buffer_size = 16 * 1024; ///< bytes
    unsigned most_unread = 4;         ///< of one stream
};

struct ring_options {
    unsigned entries = 256;
    unsigned completions = 32768;
    receive_options receiving{};
};

/// One io_uring instance. Made on any thread, disabled; the thread that calls enable() owns it.
class ring {
public:
    /// Errors: ring_unavailable.
    ring(kernel& kernel, ring_options options);
    ~ring();
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;

    /// Errors: ring_unavailable.
    void enable();

    /// A cleared submission entry, or null when the queue is full: submit() first.
    [[nodiscard]] io_uring_sqe* next_entry() noexcept {
        auto& sq = ring_.sq;
        const unsigned head = io_uring_smp_load_acquire(sq.khead);
        if (sq.sqe_tail - head > sq_mask_) return nullptr;
        io_uring_sqe* const entry = &sq.sqes[sq.sqe_tail & sq_mask_];
        ++sq.sqe_tail;
        *entry = io_uring_sqe{};
        return entry;
    }
    /// The entry at a position that has not been submitted.
    [[nodiscard]] io_uring_sqe& entry_at(unsigned position) noexcept {
        return ring_.sq.sqes[position & sq_mask_];
    }
    /// The position of the entry that next_entry() returned last.
    [[nodiscard]] unsigned last_position() const noexcept { return ring_.sq.sqe_tail - 1; }
    [[nodiscard]] bool is_submitted(unsigned position) const noexcept {
        return static_cast<int>(position - submitted_) < 0;
    }
    [[nodiscard]] unsigned unsubmitted() const noexcept {
        return ring_.sq.sqe_tail - submitted_;
    }

    /// Hands over what is prepared, and waits for a completion until `until` (a point in time
    /// that is past: does not wait; max(): waits without limit). Never fails: what the kernel
    /// would not take stays prepared for the next call.
    void submit_and_wait(std::chrono::steady_clock::time_point until) noexcept {
        submit_and_wait(until, until == std::chrono::steady_clock::time_point::max()
                                   ? std::chrono::steady_clock::time_point()
                                   : kernel_.now());
    }
    /// The same for whoever knows what time it is.
    void submit_and_wait(std::chrono::steady_clock::time_point until,
                         std::chrono::steady_clock::time_point now) noexcept;
    /// Hands over without waiting; runs the completion work that the kernel has deferred.
    void submit() noexcept;

    /// The kernel has refused, or signals have cut short, so many calls in a row that the
    /// caller, if it has nothing else to do, would spin.
    [[nodiscard]] bool is_refused() const noexcept { return refusals_ > free_refusals; }
    /// Sleeps, the longer the longer that lasts: 40 microseconds to 5 milliseconds.
    void back_off() noexcept;

    /// io_uring_register(2) for this ring: what only some of the floors above need.
    [[nodiscard]] int enroll(unsigned opcode, void* argument, unsigned count) noexcept {
        return kernel_.enroll(ring_, opcode, argument, count);
    }

    /// The kernel holds completion work for this thread, or an overflow list.
    [[nodiscard]] bool kernel_has_work() const noexcept {
        return (io_uring_smp_load_acquire(ring_.sq.kflags) &
                (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    /// Calls `handle(cqe)` for every completion that is there. Returns how many.
    template <class Fn>
    unsigned reap(Fn&& handle) {
        unsigned count = 0;
        unsigned head = *ring_.cq.khead;
        while (head != io_uring_smp_load_acquire(ring_.cq.ktail)) {
            const io_uring_cqe completion = ring_.cq.cqes[head & cq_mask_];
            ++head;
            io_uring_smp_store_release(ring_.cq.khead, head);
            ++count;
            handle(completion);
        }
        return count;
    }
    [[nodiscard]] bool has_completion() const noexcept {
        return *ring_.cq.khead != io_uring_smp_load_acquire(ring_.cq.ktail);
    }

    [[nodiscard]] unsigned completion_capacity() const noexcept { return capacity_; }
    [[nodiscard]] const std::vector<std::string>& features() const noexcept {
        return features_;
    }
    [[nodiscard]] bool can_skip_completions() const noexcept { return skip_; }
    /// An accept can be told to wait before it looks.
    [[nodiscard]] bool accepts_poll_first() const noexcept { return poll_first_; }
    /// There is a send without a copy.
    [[nodiscard]] bool can_send_zero_copy() const noexcept { return send_zero_copy_; }
    [[nodiscard]] kernel& seam() const noexcept { return kernel_; }

private:
    void set_up(ring_options options);
    void probe();
    void enter(unsigned min_complete, unsigned flags, const __kernel_timespec* wait) noexcept;
    [[gnu::cold]] void not_entered(int error) noexcept;

    kernel& kernel_;
    io_uring ring_{};
    unsigned sq_mask_ = 0;
    unsigned cq_mask_ = 0;
    unsigned capacity_ = 0;
    static constexpr unsigned free_refusals = 16;
    unsigned refusals_ = 0; // calls in a row that came back without having done anything
    std::chrono::steady_clock::time_point refused_at_; // the last EINTR or pause
    unsigned submitted_ = 0; // entries before this position belong to the kernel
    bool skip_ = false;
    bool poll_first_ = false;
    bool send_zero_copy_ = false;
    bool disabled_ = false;
    std::vector<std::string> features_;
};

} // namespace toadstone::detail

#endif
