// What the vocabulary knows of a fiber: that code which runs on one can wait there.
#ifndef TOADSTONE_RUNTIME_DETAIL_FIBER_HOST_HPP
#define TOADSTONE_RUNTIME_DETAIL_FIBER_HOST_HPP

#include <toadstone/runtime/detail/atomic.hpp>

#include <cstddef>

namespace toadstone::detail {

class context;
class leaf;

/// The fiber that runs on a worker, for what would block the thread anywhere else.
class fiber_host {
public:
    fiber_host(const fiber_host&) = delete;
    fiber_host& operator=(const fiber_host&) = delete;

    [[nodiscard]] virtual context& task() const noexcept = 0;
    /// It only runs to destroy what is on its stack.
    [[nodiscard]] virtual bool unwinding() const noexcept = 0;
    /// The task is about to wait for `what`, which can be woken from then on. False: it has to
    /// stop instead, start nothing and suspend().
    [[nodiscard]] virtual bool begin_wait(leaf& what) = 0;
    /// Back to begin_wait(): there was nothing to wait for.
    virtual void no_wait() noexcept = 0;
    /// Until the wait is over. Does not return where the task has to stop: unwinds.
    virtual void suspend() = 0;
    /// A request is not delivered here: the caller's caller could not be unwound.
    [[nodiscard]] virtual bool must_return() const noexcept = 0;

protected:
    fiber_host() = default;
    ~fiber_host() = default;
};

/// The fiber whose stack this thread is on; null: its own. A fiber never changes its thread, so
/// that it may keep the address of this over a suspension, as compilers do.
extern thread_local constinit per_thread<fiber_host*> fiber_here;

/// Memory of a task that is neither frame nor record, in a list from the newest on. A fiber's
/// stack: what lies on it belongs to the task.
struct task_memory {
    std::byte* begin = nullptr;
    std::size_t size = 0;
    task_memory* older = nullptr;
    /// AddressSanitizer keeps local variables elsewhere, to find those who use them too late.
    void* fake_stack = nullptr;

    [[nodiscard]] bool holds(const void* object) const noexcept;
};

} // namespace toadstone::detail

#endif
