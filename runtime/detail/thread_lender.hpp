// A thread that runs tasks while it waits.
#ifndef TOADSTONE_RUNTIME_DETAIL_THREAD_LENDER_HPP
#define TOADSTONE_RUNTIME_DETAIL_THREAD_LENDER_HPP

#include <toadstone/runtime/detail/atomic.hpp>

namespace toadstone::detail {

/// A runtime whose first worker is the thread that made it, whenever that waits.
class thread_lender {
public:
    thread_lender(const thread_lender&) = delete;
    thread_lender& operator=(const thread_lender&) = delete;

    /// Runs tasks here until `over`, which is looked at whenever wake() was called. Its own
    /// thread, outside of tasks.
    virtual void lend_until(const atomic<bool>& over) noexcept = 0;
    virtual void wake() noexcept = 0; ///< from any thread
    /// This process is a fork of the one that it is of.
    [[nodiscard]] virtual bool is_of_parent() const noexcept = 0;

    /// The newest of this thread; null if it has none, or is a worker just now.
    [[nodiscard]] static thread_lender* here() noexcept;

protected:
    thread_lender() = default;
    ~thread_lender() = default;
    /// This thread is its own from now on, until leave_here().
    void enter_here() noexcept;
    void leave_here() noexcept;

private:
    thread_lender* older_ = nullptr;
};

} // namespace toadstone::detail

#endif
