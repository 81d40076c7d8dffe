// pipe: the two ends of a pipe, and what is read or written like one: a terminal, for example.
#ifndef TOADSTONE_IO_PIPE_HPP
#define TOADSTONE_IO_PIPE_HPP

#include <toadstone/io/buffer.hpp>
#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/detail/tear_watch.hpp>
#include <toadstone/io/detail/until_closed.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <string>
#include <utility>

namespace toadstone::io {

class child_process;
class pipe_reader;
class pipe_writer;
struct pipe;

namespace detail {

/// What both ends have.
class pipe_end {
public:
    pipe_end(pipe_end&& other) noexcept
        : handle_((other.check_unused(), std::move(other.handle_))),
          name_(std::move(other.name_)), closing_(std::move(other.closing_)),
          owned_(other.owned_), polls_first_(other.polls_first_) {}
    pipe_end& operator=(pipe_end&& other) noexcept;
    ~pipe_end() {
        check_unused();
        if (!owned_) static_cast<void>(handle_.fd.release());
    }

    /// Ends it: an operation that another task has in flight on it ends (a read with 0, a write
    /// with an error), is waited for, and the descriptor is closed, if it is owned. Operations
    /// that start later fail with EBADF. Does nothing on one that is closed.
    ///
    /// Errors: std::logic_error while another task closes it.
    /// Cancellation: a cancellation point; once the kernel was asked, it is not cancelled.
    ///     Torn down while it waits for another task's operation, it leaves an end on which
    ///     nothing can be done any more, and which the destructor closes.
    [[nodiscard]] toadstone::task<>
    close(std::source_location where = std::source_location::current());

    /// False once close() has begun. From any thread.
    [[nodiscard]] bool is_open() const noexcept { return native_handle() >= 0; }
    /// -1 once close() has begun. What is done with it is not waited for by close().
    [[nodiscard]] int native_handle() const noexcept { return borrowed_fd(handle_).get(); }
    /// What errors and causes call it.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

protected:
    pipe_end(descriptor&& fd, std::string&& name, bool owned, bool polls_first)
        : handle_(std::move(fd)), name_(std::move(name)), owned_(owned),
          polls_first_(polls_first) {}

    void check_unused() const noexcept {
        handle_.use.check_unused([this] { return name_; });
    }

    handle handle_;
    std::string name_;
    toadstone::cancellation_source closing_;
    bool owned_ = true;
    /// A terminal: a read that waits would hold a thread of the kernel's.
    bool polls_first_ = false;
};

class pipe_read_leaf : public handle_op {
public:
    pipe_read_leaf(pipe_reader& from, mutable_buffer into) noexcept;
    bool taken() noexcept override { return polling_ || handle_op::taken(); }
    [[nodiscard]] bool await_ready() noexcept { return into_.empty() && skip(); }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) start(into_.empty());
    }
    std::size_t await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    bool go_on() noexcept override;

    pipe_reader* from_;
    mutable_buffer into_;
    bool polling_; ///< for something to read
};

/// Goes on in the ring until all is written: the task resumes once.
class pipe_write_leaf : public handle_op {
public:
    pipe_write_leaf(pipe_writer& to, const_buffer data) noexcept;
    pipe_write_leaf(const pipe_write_leaf&) = delete;
    pipe_write_leaf& operator=(const pipe_write_leaf&) = delete;
    /// Torn in between it poisons.
    ~pipe_write_leaf() {
        if (is_torn()) [[unlikely]]
            tear();
    }

    bool taken() noexcept override {
        return polling_ || (result() > 0 ? is_torn() : handle_op::taken());
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) start(data_.empty());
    }
    void await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    bool go_on() noexcept override;
    [[nodiscard]] bool is_torn() const noexcept { return begun_ && !data_.empty(); }
    void tear() noexcept;
    [[noreturn]] void fail();

    pipe_writer* to_;
    const_buffer data_; ///< what is left
    bool begun_ = false;
    bool polling_ = false; ///< for room
};

using pipe_read_inside =
    toadstone::detail::operation<pipe_read_leaf, pipe_reader&, mutable_buffer>;
using pipe_write_inside =
    toadstone::detail::operation<pipe_write_leaf, pipe_writer&, const_buffer>;

class pipe_read final : public until_closed<pipe_read_inside> {
public:
    using until_closed::until_closed;
    std::size_t await_resume();
};
class pipe_write final : public until_closed<pipe_write_inside> {
public:
    using until_closed::until_closed;
    void await_resume();
};

class [[nodiscard("write co_await")]] pipe_read_operation {
public:
    static constexpr bool acquires = false;
    pipe_read_operation(pipe_reader& from, mutable_buffer into) noexcept
        : from_(&from), into_(into) {}
    pipe_read make_awaiter(toadstone::detail::context& ctx, std::source_location where) const;

private:
    pipe_reader* from_;
    mutable_buffer into_;
};

class [[nodiscard("write co_await")]] pipe_write_operation {
public:
    static constexpr bool acquires = false;
    pipe_write_operation(pipe_writer& to, const_buffer data) noexcept : to_(&to), data_(data) {}
    pipe_write make_awaiter(toadstone::detail::context& ctx, std::source_location where) const;

private:
    pipe_writer* to_;
    const_buffer data_;
};

} // namespace detail

/// The reading end of a pipe, or what is read like one: a FIFO, a terminal, standard input, one
/// half of a stream socket. One task at a time reads.
///
/// Errors: std::system_error, "read from a pipe: Input/output error"; the end is a value.
///     std::logic_error where another task reads at the same time.
/// Shape: about 150 bytes, a name and a block of 64 bytes beside it. The descriptor may be
///     non-blocking or not, and is left as it is.
/// Lifetime: stays where it is while an operation is in flight, and outlives it. The destructor
///     closes the descriptor, if it is owned.
class pipe_reader : public detail::pipe_end {
public:
    /// Takes over a descriptor that is open for reading: a pipe, a FIFO, a terminal or another
    /// device that can be waited for, a stream socket. `name` is what errors call it; by
    /// default its kind and number.
    ///
    /// Errors: std::system_error for one that is not open (EBADF); std::invalid_argument for
    ///     one that is not open for reading, and for every other kind of file, by its kind.
    ///     What is not taken stays the caller's.
    [[nodiscard]] static pipe_reader adopt(int fd, std::string name = {});

    /// Reads what is there, at least one byte. Into no room at all it reads nothing and waits
    /// for nothing.
    ///
    /// Returns: bytes read; 0 when no writer is left, for an empty buffer, or when close() was
    ///     called meanwhile.
    /// Cancellation: a cancellation point. Bytes that were read are delivered, never lost. The
    ///     buffer is the kernel's until this returns or the frame is torn down.
    [[nodiscard]] detail::pipe_read_operation read_some(mutable_buffer into) noexcept {
        return detail::pipe_read_operation(*this, into);
    }

private:
    friend class detail::pipe_read_leaf;
    friend class detail::pipe_read_operation;
    friend class child_process;
    friend struct pipe;
    friend pipe_reader standard_input();
    using pipe_end::pipe_end;
};

/// The writing end of a pipe, or what is written like one: see pipe_reader. One task at a time
/// writes.
///
/// Errors: std::system_error, "write to a pipe: Broken pipe" when no reader is left: SIGPIPE is
///     not raised, because the first write on a worker blocks that signal for its thread.
///     std::logic_error where another task writes at the same time.
/// Poisoning: a write_all() that is cut after some of its bytes went out, whether it was
///     cancelled, failed or was torn down, poisons the end: what follows would be read as the
///     rest of a message. Later writes throw poison_error with the cause. The reader sees what
///     went out and then the end: a pipe cannot be reset. Cancelled before the first byte,
///     nothing has happened, and up to 4096 bytes go into a pipe all or not at all.
/// Shape, Lifetime: as pipe_reader.
class pipe_writer : public detail::pipe_end {
public:
    /// As pipe_reader::adopt(), of a descriptor that is open for writing.
    [[nodiscard]] static pipe_writer adopt(int fd, std::string name = {});

    pipe_writer(pipe_writer&& other) noexcept
        : pipe_end(std::move(other)), poison_(std::move(other.poison_)) {}
    pipe_writer& operator=(pipe_writer&& other) noexcept {
        pipe_end::operator=(std::move(other));
        poison_ = std::move(other.poison_);
        return *this;
    }
    ~pipe_writer() = default;

    /// Writes everything. `data` stays alive until this returns or is torn down.
    ///
    /// Errors also: poison_error; ECANCELED when close() was called meanwhile.
    /// Cancellation: a cancellation point. When all bytes have gone out although cancellation
    ///     was asked for, that is delivered.
    /// Poisoning: see the class.
    [[nodiscard]] detail::pipe_write_operation write_all(const_buffer data) noexcept {
        return detail::pipe_write_operation(*this, data);
    }

    /// A write was cut. For the task that writes, or when none does.
    [[nodiscard]] bool poisoned() const noexcept { return poison_.set(); }
    /// Empty unless poisoned.
    [[nodiscard]] toadstone::poison_cause cause() const noexcept { return poison_.cause(); }

private:
    friend class detail::pipe_write_leaf;
    friend class detail::pipe_write_operation;
    friend class child_process;
    friend struct pipe;
    friend pipe_writer standard_output();
    using pipe_end::pipe_end;

    detail::poison_mark poison_; ///< under the claim of who writes
};

/// A new pipe: `auto [reader, writer] = io::pipe();`. Its descriptors are closed on exec.
///
/// Errors: the constructor throws std::system_error where no descriptor is left.
struct pipe {
    /// Opens it.
    explicit pipe();
    pipe_reader reader; ///< what comes out
    pipe_writer writer; ///< what goes in

private:
    struct made;
    explicit pipe(made&& from);
};

/// The process's standard input, which stays open when this goes: a file, a pipe, a terminal. A
/// read that is cancelled has consumed nothing. What std::cin or stdin has read ahead is not
/// seen here, nor the other way round. At a terminal that is in its usual mode a read gives a
/// line.
///
/// Errors: std::system_error where the process has none (EBADF).
/// Threads: one task of the process at a time, however many of these objects there are.
[[nodiscard]] pipe_reader standard_input();

/// The process's standard output, which stays open when this goes. What printf() or std::cout
/// has in its buffer comes later than what is written here.
///
/// Errors, Threads: as standard_input().
[[nodiscard]] pipe_writer standard_output();

} // namespace toadstone::io

#endif
