// multishot_op: a request to the kernel that completes again and again.
#ifndef TOADSTONE_RUNTIME_URING_MULTISHOT_OP_HPP
#define TOADSTONE_RUNTIME_URING_MULTISHOT_OP_HPP

#include <toadstone/runtime/uring/worker.hpp>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace toadstone::detail {

/// Unlike other operations it is nobody's leaf: it lives in a block of its own, from start()
/// until completed() has been called without IORING_CQE_F_MORE, and wakes whom it likes.
///
/// Threads: home worker only.
class multishot_op : public io_op {
public:
    /// In the user_data of its completions, so that those of all others pay no test for them.
    static constexpr std::uint32_t mark = 0x40000000;

    /// Asks for its end, once. May call completed() at once.
    void ask_to_end(worker& home) noexcept {
        if (std::exchange(asked_, true)) return;
        if (home.withdraw(*this)) completed(-ECANCELED, 0);
    }

protected:
    multishot_op() noexcept { kind_ = mark; }
    void start(worker& home) noexcept {
        result_ = 0;
        cancel_sent_ = false;
        asked_ = false;
        home.start(*this);
    }
    /// `flags` are the completion's. Without IORING_CQE_F_MORE it was the last one, and *this
    /// may be destroyed, or started again.
    virtual void completed(int result, unsigned flags) noexcept = 0;
    /// Its end has been asked for.
    [[nodiscard]] bool asked_to_end() const noexcept { return asked_; }

private:
    friend class worker;
    // No task awaits it.
    bool cancel(cancel_reason, bool) noexcept final { return false; }
    bool taken() noexcept final { return false; }

    bool asked_ = false;
};

} // namespace toadstone::detail

#endif
