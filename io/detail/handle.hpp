// handle: a descriptor, who uses it, and the operations on it that streams and files share.
#ifndef TOADSTONE_IO_DETAIL_HANDLE_HPP
#define TOADSTONE_IO_DETAIL_HANDLE_HPP

#include <toadstone/io/detail/descriptor.hpp>
#include <toadstone/io/detail/in_use.hpp>
#include <toadstone/runtime/detail/io_op.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string_view>

namespace toadstone::detail {
class receiver;
}

namespace toadstone::io::detail {

/// Moves only while nothing is in flight on it, and is destroyed only then.
///
/// Threads: `fd` is read under a claim and after use.being_closed(), see borrowed_fd and
///     handle_op; it is written by close_handle() and where the handle has one user.
struct handle {
    handle() noexcept = default;
    explicit handle(descriptor&& owned) noexcept : fd(std::move(owned)) {}

    descriptor fd;
    /// Destroyed first, so that it speaks up before the descriptor is closed. Mutable: who
    /// looks at a constant handle uses it as well.
    mutable in_use use;
};

/// The descriptor for a system call beside the ring: while this lives, it is not closed.
class borrowed_fd {
public:
    explicit borrowed_fd(const handle& of) noexcept
        : claim_(of.use, in_use::one_more), fd_(of.use.being_closed() ? -1 : of.fd.get()) {}

    /// -1 once close() has begun: the call then fails with EBADF.
    [[nodiscard]] int get() const noexcept { return fd_; }

private:
    claim claim_;
    int fd_;
};

class poison_mark;

/// An operation on a handle: in use while it is in flight. Derived classes fill the entry, with
/// fd(), and begin await_resume() with refused(), which is for those of which there is one at a
/// time, and finish().
class handle_op : public toadstone::detail::io_op {
public:
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) start(false);
    }

protected:
    /// With a mark it is not started on what is poisoned, which await_resume() then says.
    handle_op(handle& on, std::uint32_t what, const poison_mark* mark = nullptr) noexcept
        : on_(&on), mark_(mark), what_(what) {}
    ~handle_op() = default;

    /// For await_suspend, which has suspended. False: answer_later().
    [[nodiscard]] bool may_start() noexcept {
        if (skipped_) return false;
        refused_ = !claim_.take(on_->use, what_);
        return !refused_ && !(mark_ && is_poisoned());
    }
    void answer_later() noexcept;

    /// For await_ready: there is nothing to ask the kernel for, the result is 0.
    [[nodiscard]] bool skip() noexcept {
        skipped_ = true;
        return may_complete_at_once();
    }
    /// For await_suspend. `nothing`: there is nothing to ask the kernel for.
    void start(bool nothing) noexcept {
        if (may_start() && !nothing) [[likely]] {
            begin();
        } else {
            answer_later();
        }
    }
    /// It did not start, because another task does the same.
    [[nodiscard]] bool refused() const noexcept { return refused_; }

    /// -1 once close() has begun: the kernel then answers EBADF.
    [[nodiscard]] int fd() const noexcept {
        return on_->use.being_closed() ? -1 : on_->fd.get();
    }
    /// The operation has ended, and the claim with this object: until then the handle, and what
    /// it belongs to, stays.
    class end_of_use {
    public:
        explicit end_of_use(handle_op& of) noexcept : of_(of) {}
        end_of_use(const end_of_use&) = delete;
        end_of_use& operator=(const end_of_use&) = delete;
        ~end_of_use() { of_.claim_.drop(); }

    private:
        handle_op& of_;
    };
    /// The operation has ended: gives its result. Nothing of the handle is touched afterwards.
    [[nodiscard]] int finish() noexcept {
        claim_.drop();
        return result();
    }

private:
    [[nodiscard]] bool is_poisoned() const noexcept;

    handle* on_;
    const poison_mark* mark_;
    std::uint32_t what_;
    bool skipped_ = false;
    bool refused_ = false;
    claim claim_;
};

/// What the kernel transfers at most in one operation.
[[nodiscard]] constexpr unsigned one_transfer(std::size_t size) noexcept {
    return static_cast<unsigned>(size < 0x7ffff000 ? size : 0x7ffff000);
}

/// What to do before waiting for the operations that are in flight on what is being closed.
enum class before_close : unsigned char {
    wait,      ///< they end by themselves
    shut_down, ///< a socket: shutdown(2) ends them
};

/// Waits for the operations in flight, then closes. Gives 0 or -errno; -EALREADY if another
/// task closes it; nothing to do when it is closed already.
///
/// A socket that is poisoned, as `mark` says, or that somebody writes to is reset where
/// shutdown(2) would tell the peer that this was all.
///
/// `ahead`, if there may be one, is brought to rest and forgets what is unread. `where` is
/// where the user called close.
///
/// Cancellation: a cancellation point; a request that is there before the kernel was asked to
///     close leaves the descriptor to its owner. A close that has begun is never cancelled.
[[nodiscard]] toadstone::task<int>
close_handle(handle& what, before_close first, const poison_mark* mark,
             std::source_location where, toadstone::detail::receiver* const* ahead = nullptr);
/// For a result of close_handle() that is not 0: std::system_error, or, if another task closes,
/// std::logic_error.
[[noreturn]] void throw_close_error(std::string_view operation, std::string_view object,
                                    int result);

} // namespace toadstone::io::detail

#endif
