// tcp_stream: a connection.
#ifndef TOADSTONE_IO_TCP_STREAM_HPP
#define TOADSTONE_IO_TCP_STREAM_HPP

#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/detail/tear_watch.hpp>
#include <toadstone/io/endpoint.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <cstddef>
#include <source_location>
#include <span>
#include <string_view>
#include <utility>

namespace toadstone::io {

class tcp_stream;

namespace detail {

class [[nodiscard]] tcp_read final : public handle_op {
public:
    tcp_read(tcp_stream& from, std::span<std::byte> into) noexcept;
    std::size_t await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    tcp_stream* from_;
    std::span<std::byte> into_;
};

class [[nodiscard]] tcp_write final : public handle_op {
public:
    tcp_write(tcp_stream& to, std::span<const std::byte> data) noexcept;
    /// True: the stream is poisoned, which await_resume() says.
    [[nodiscard]] bool await_ready() const noexcept;
    std::size_t await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    tcp_stream* to_;
    std::span<const std::byte> data_;
};

class [[nodiscard]] tcp_wait_closed final : public handle_op {
public:
    explicit tcp_wait_closed(tcp_stream& on) noexcept;
    void await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    tcp_stream* on_;
};

} // namespace detail

/// A connection. One task at a time reads and one at a time writes; they may be two tasks, on
/// two workers. Any number may wait_closed() beside them.
///
/// Errors: std::system_error whose text names operation, peer and errno. The end of the stream
///     is a value, never an error. SIGPIPE is never raised.
/// Poisoning: a write_all() that is cut after some of its bytes went out, whether it was
///     cancelled, failed or was torn down, poisons the stream: the peer has half a message, and
///     what follows would be read as its rest. Later writes throw poison_error with the cause;
///     reading stays possible. Cancelled before the first byte, nothing has happened.
/// Shape: about 70 bytes. TCP_NODELAY is set.
/// Lifetime: stays where it is while an operation is in flight, and outlives it. The destructor
///     closes at once with close(2); bytes that were written are still delivered.
class tcp_stream {
public:
    /// Connects.
    ///
    /// Errors: such as "connect to 127.0.0.1:1: Connection refused". There is no time limit but
    ///     the kernel's, minutes long: use with_timeout().
    /// Cancellation: a cancellation point. A connection that was made all the same is
    ///     delivered, or closed when nobody takes it.
    [[nodiscard]] static toadstone::task<tcp_stream>
    connect(endpoint to, std::source_location where = std::source_location::current());

    tcp_stream(tcp_stream&&) noexcept = default;
    tcp_stream& operator=(tcp_stream&&) noexcept = default;

    /// Reads what is there, at least one byte, into a buffer that is not empty.
    ///
    /// Returns: bytes read; 0 at the end of the stream, or when close() was called meanwhile.
    /// Cancellation: a cancellation point. Bytes that were read are delivered, never lost. The
    ///     buffer is the kernel's until this returns or the frame is torn down.
    [[nodiscard]] detail::tcp_read read_some(std::span<std::byte> into) noexcept {
        return detail::tcp_read(*this, into);
    }
    [[nodiscard]] detail::tcp_read read_some(std::span<char> into) noexcept {
        return detail::tcp_read(*this, std::as_writable_bytes(into));
    }

    /// Writes some bytes, at least one of a span that is not empty. Returns: how many. What to
    /// do about the rest is the caller's business, so a short write poisons nothing.
    ///
    /// Errors also: poison_error. Cancellation: a cancellation point; bytes that went out are
    ///     reported.
    [[nodiscard]] detail::tcp_write write_some(std::span<const std::byte> data) noexcept {
        return detail::tcp_write(*this, data);
    }
    [[nodiscard]] detail::tcp_write write_some(std::string_view text) noexcept {
        return detail::tcp_write(*this, std::as_bytes(std::span(text)));
    }

    /// Writes everything. `data` stays alive until this returns or is torn down.
    ///
    /// Errors also: poison_error. Cancellation: a cancellation point. When all bytes have gone
    ///     out although cancellation was asked for, that is delivered.
    /// Poisoning: see the class.
    [[nodiscard]] toadstone::task<>
    write_all(std::span<const std::byte> data,
              std::source_location where = std::source_location::current());
    [[nodiscard]] toadstone::task<>
    write_all(std::string_view text,
              std::source_location where = std::source_location::current()) {
        return write_all(std::as_bytes(std::span(text)), where);
    }

    /// Waits until the peer is gone: it has closed, reset the connection, or shut down its
    /// writing half (the kernel cannot tell these apart). Bytes that it sent before are still
    /// there to be read. Made for when_any(), beside work for that peer.
    ///
    /// Cancellation: a cancellation point; nothing is consumed.
    [[nodiscard]] detail::tcp_wait_closed wait_closed() noexcept {
        return detail::tcp_wait_closed(*this);
    }

    /// Says to the peer that nothing more comes. Does not suspend. The other half stays open.
    void shutdown_write();

    /// Ends the connection: operations that other tasks have in flight end (reads with 0,
    /// writes with an error), are waited for, and the descriptor is closed. Operations that
    /// start later fail with EBADF. Does nothing on a closed stream.
    ///
    /// Cancellation: a cancellation point; once the kernel was asked, it is not cancelled.
    [[nodiscard]] toadstone::task<>
    close(std::source_location where = std::source_location::current());

    [[nodiscard]] const endpoint& peer() const noexcept { return peer_; }
    [[nodiscard]] endpoint local() const;
    void set_no_delay(bool on);

    [[nodiscard]] bool poisoned() const noexcept { return poison_.set(); }
    /// Empty unless poisoned.
    [[nodiscard]] toadstone::poison_cause cause() const noexcept { return poison_.cause(); }
    /// False once close() has begun. From any thread.
    [[nodiscard]] bool is_open() const noexcept { return native_handle() >= 0; }
    /// -1 once close() has begun. What is done with it is not waited for by close().
    [[nodiscard]] int native_handle() const noexcept {
        return detail::borrowed_fd(handle_).get();
    }

    /// For the library: a connected socket in blocking mode, which is what the ring wants.
    tcp_stream(detail::descriptor&& fd, const endpoint& peer) noexcept
        : handle_(std::move(fd)), peer_(peer) {}

private:
    friend class detail::tcp_read;
    friend class detail::tcp_write;
    friend class detail::tcp_wait_closed;

    detail::handle handle_;
    endpoint peer_;
    detail::poison_mark poison_;
};

} // namespace toadstone::io

#endif
