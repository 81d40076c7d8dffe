// One request to the kernel: the part of an operation that lives in the awaiting frame.
#ifndef TOADSTONE_RUNTIME_DETAIL_IO_OP_HPP
#define TOADSTONE_RUNTIME_DETAIL_IO_OP_HPP

#include <toadstone/runtime/detail/leaf.hpp>

#include <coroutine>
#include <cstdint>

struct io_uring_sqe;

namespace toadstone::detail {

class worker;

/// A leaf that the kernel completes. The awaiting frame, and with it every buffer that the
/// operation points to, lives until the operation's own last completion: a cancellation is
/// asked for and then waited for like any other end.
///
///     idle -> waiting for a slot -> prepared -> submitted -> completed
///
/// Cancellation: waiting: taken at once. Prepared: the entry becomes a no-op, whose completion
///     ends the operation. Submitted: the kernel is asked, once; only the operation's own
///     completion decides. It was taken if the kernel says -ECANCELED, or -EINTR, with a
///     request pending; every other result is delivered.
class io_op : public leaf {
public:
    bool cancel(cancel_reason reason, bool force) noexcept override;
    bool taken() noexcept override;

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) begin();
    }

protected:
    io_op() = default;
    ~io_op() override = default;

    /// Fills a submission entry with everything but user_data. May be called later than the
    /// suspension, when the ring has room; never twice.
    virtual void fill(io_uring_sqe& entry) noexcept = 0;

    /// Hands the operation to the worker's ring.
    void begin() noexcept;

    /// Of an operation in parts, when a part has completed: true if it has begun the next one.
    virtual bool go_on() noexcept { return false; }
    void make_parts() noexcept { in_parts_ = true; }
    /// The kernel has been asked to end it.
    [[nodiscard]] bool end_asked() const noexcept { return cancel_sent_; }

    /// The completion's result: a count, a descriptor, or -errno.
    [[nodiscard]] int result() const noexcept { return result_; }
    /// Operations that the kernel must not be asked to cancel: close.
    bool cancellable_ = true;
    /// 0; or more than one completion, and what marks them: of a multishot_op, or this.
    std::uint32_t kind_ = 0;
    /// A result, and a notification when the kernel needs the memory no more, unless the result
    /// says that none follows. For fill() to say.
    static constexpr std::uint32_t notified = 0x20000000;

private:
    friend class worker;
    friend class multishot_op;
    enum class stage : unsigned char { idle, waiting, prepared, submitted, completed };

    // In the worker's list of those that wait for a slot, or whose cancel request waits for an
    // entry.
    io_op* next_ = nullptr;
    io_op* previous_ = nullptr;
    std::uint32_t slot_ = 0;
    int result_ = 0;
    stage stage_ = stage::idle;
    bool cancel_sent_ = false;
    bool cancel_waits_ = false;
    bool in_parts_ = false;
    unsigned position_ = 0; // of its entry in the submission queue, while prepared
};

} // namespace toadstone::detail

#endif
