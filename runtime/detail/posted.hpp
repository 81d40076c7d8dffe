// What is posted to a worker from another thread.
#ifndef TOADSTONE_RUNTIME_DETAIL_POSTED_HPP
#define TOADSTONE_RUNTIME_DETAIL_POSTED_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::detail {

class executor;

/// Something to be done on a worker. The poster owns the node; a worker runs it once.
class posted {
public:
    posted() = default;
    posted(const posted&) = delete;
    posted& operator=(const posted&) = delete;

    /// It has been posted and has not run yet. Home worker only. Relaxed: that nobody is about
    /// to post it, whoever asks knows already; and running it is this thread's own doing.
    [[nodiscard]] bool waiting() const noexcept {
        return waiting_.load(std::memory_order_relaxed);
    }

protected:
    virtual ~posted() {
        TOADSTONE_ASSERT(!waiting_.load(std::memory_order_relaxed),
                         "what is posted stays until it has run");
    }
    virtual void run_posted() noexcept = 0; ///< on the worker; may destroy *this

private:
    friend class executor;
    plain<posted*> next_ = nullptr;
    atomic<bool> waiting_{false};
};

} // namespace toadstone::detail

#endif
