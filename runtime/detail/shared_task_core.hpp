// What of a shared_task does not depend on its type: one task, and all who wait for its end.
#ifndef TOADSTONE_RUNTIME_DETAIL_SHARED_TASK_CORE_HPP
#define TOADSTONE_RUNTIME_DETAIL_SHARED_TASK_CORE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/root_task.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

#include <cstddef>
#include <mutex>

namespace toadstone::detail {

/// Somebody who waits for a shared task.
class share_waiter : public waiter {
    friend class shared_task_core;
};

/// Counted: by the copies of the shared_task, by those who wait, and by the task as long as it
/// has not ended, because its end looks for who waits.
///
/// Threads: any. What is guarded by lock_ says so.
class shared_task_core : public pooled, root_waiter {
public:
    shared_task_core(const shared_task_core&) = delete;
    shared_task_core& operator=(const shared_task_core&) = delete;

    /// A copy of the shared_task. With the last of them the task is detached.
    void add_owner() noexcept;
    void drop_owner() noexcept;

    [[nodiscard]] root_task& root() const noexcept { return root_; }
    [[nodiscard]] bool ended() const noexcept { return root_.ended(); }

    /// True: the task has ended. False: the waiter is queued.
    [[nodiscard]] bool settle_or_queue(share_waiter& waiter) noexcept;
    // For wait_leaf.
    [[nodiscard]] bool withdraw(share_waiter& waiter, waiter::state how) noexcept;
    void hand_back(share_waiter&) noexcept {} // the end stays where it is

    /// Once, at first: the task's end is told from now on. False: somebody joins it already.
    [[nodiscard]] bool begin() noexcept;

protected:
    /// Takes over the reference of a handle.
    explicit shared_task_core(root_task& root) noexcept : root_(root) {}
    ~shared_task_core() override { root_.drop_handle(); }

    mutable mutex lock_;

private:
    void root_ended() noexcept override;
    void drop_reference() noexcept;

    root_task& root_;
    wait_queue waiting_; // guarded by lock_
    bool ended_ = false; // guarded by lock_; nothing will be told any more
    atomic<std::size_t> owners_{1};
    atomic<std::size_t> references_{2}; // one for all owners, one for the task's end
};

} // namespace toadstone::detail

#endif
