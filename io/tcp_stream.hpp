// tcp_stream: a connection.
#ifndef TOADSTONE_IO_TCP_STREAM_HPP
#define TOADSTONE_IO_TCP_STREAM_HPP

#include <toadstone/io/buffer.hpp>
#include <toadstone/io/connect_options.hpp>
#include <toadstone/io/detail/ahead.hpp>
#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/detail/tear_watch.hpp>
#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/unexpected_end.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <utility>

namespace toadstone::io {

class buffered_reader;
class tcp_stream;

namespace detail {

class tcp_read : public handle_op {
public:
    tcp_read(tcp_stream& from, mutable_buffer into) noexcept;
    bool cancel(toadstone::cancel_reason reason, bool force) noexcept override;
    bool taken() noexcept override;
    [[nodiscard]] bool await_ready() noexcept { return into_.empty() && skip(); }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (!suspend(frame)) return;
        if (!may_start()) {
            answer_later();
        } else if (!reads_ahead()) {
            begin();
        }
    }
    std::size_t await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    /// False: recv() has left nothing to read first.
    [[nodiscard]] bool reads_ahead() noexcept;
    tcp_stream* from_;
    mutable_buffer into_;
    toadstone::detail::receiver* ahead_ = nullptr; ///< waits for this, or found something
};

class tcp_write : public handle_op {
public:
    tcp_write(tcp_stream& to, const_buffer data) noexcept;
    std::size_t await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    tcp_stream* to_;
    const_buffer data_;
};

/// Goes on in the ring until all is written: the task resumes once. With MSG_WAITALL the kernel
/// goes on after a short send by itself; cancelled or failed in between, it reports the bytes
/// that went out, and the next part tells why.
class tcp_write_all : public handle_op {
public:
    tcp_write_all(tcp_stream& to, const_buffer data) noexcept;
    tcp_write_all(const tcp_write_all&) = delete;
    tcp_write_all& operator=(const tcp_write_all&) = delete;
    /// Torn in between it poisons.
    ~tcp_write_all() {
        if (is_torn()) [[unlikely]]
            tear();
    }

    bool taken() noexcept override {
        return result() > 0 ? is_torn() : handle_op::taken() || not_lent();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) start(data_.empty());
    }
    void await_resume() {
        if (!begun_ || !data_.empty()) [[unlikely]]
            settle();
        static_cast<void>(finish());
    }

private:
    void fill(io_uring_sqe& entry) noexcept override;
    bool go_on() noexcept override;
    /// Zero copy: the data is lent to the kernel, until its notification.
    [[nodiscard]] bool may_lend() const noexcept;
    /// It was not, and nothing was sent.
    [[nodiscard]] bool not_lent() const noexcept;
    [[nodiscard]] bool is_torn() const noexcept { return begun_ && !data_.empty(); }
    void tear() noexcept;
    /// Not all has been written. Returns if there was nothing to write.
    void settle();

    tcp_stream* to_;
    const_buffer data_; ///< what is left
    bool begun_ = false;
    bool copies_ = false; ///< although it is much
};

class tcp_wait_closed : public handle_op {
public:
    explicit tcp_wait_closed(tcp_stream& on) noexcept;
    void await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    tcp_stream* on_;
};

using read_operation = toadstone::detail::operation<tcp_read, tcp_stream&, mutable_buffer>;
using write_operation = toadstone::detail::operation<tcp_write, tcp_stream&, const_buffer>;
using write_all_operation =
    toadstone::detail::called_from<tcp_write_all, tcp_stream&, const_buffer>;
using wait_closed_operation = toadstone::detail::operation<tcp_wait_closed, tcp_stream&>;

} // namespace detail

/// A connection. One task at a time reads and one at a time writes; they may be two tasks, on
/// two workers. Any number may wait_closed() beside them.
///
/// Errors: std::system_error whose text names operation, peer and errno. The end of the stream
///     is a value, an error only in the middle of a read_exactly(). SIGPIPE is never raised.
///     std::logic_error where another task reads, or writes, at the same time.
/// Poisoning: a write_all() that is cut after some of its bytes went out, whether it was
///     cancelled, failed or was torn down, poisons the stream: the peer has half a message, and
///     what follows would be read as its rest. Later writes throw poison_error with the cause;
///     reading stays possible. A poisoned stream is reset: however it is closed or dropped,
///     also by the end of the process, the peer gets ECONNRESET and never an end that it could
///     take for the message's. Cancelled before the first byte, nothing has happened.
///     A read_exactly() that is cut after some of its bytes were taken poisons the reading
///     half: later reads throw poison_error, writing stays possible, and the end is an orderly
///     one, since the peer has all that was written.
/// Shape: about 100 bytes. TCP_NODELAY is set.
/// Lifetime: stays where it is while an operation is in flight, and outlives it. The destructor
///     closes at once with close(2); bytes that were written are still delivered, unless it is
///     poisoned.
class tcp_stream {
public:
    /// Connects.
    ///
    /// `to` may be written as text, "127.0.0.1:80"; then the call throws what endpoint::parse()
    /// does.
    ///
    /// Errors: such as "connect to 127.0.0.1:1: Connection refused"; std::invalid_argument for
    ///     an empty endpoint. There is no time limit but the kernel's, minutes long: use
    ///     with_timeout().
    /// Cancellation: a cancellation point. A connection that was made all the same is
    ///     delivered, or closed when nobody takes it.
    [[nodiscard]] static toadstone::task<tcp_stream>
    connect(endpoint to, std::source_location where = std::source_location::current());

#ifndef TOADSTONE_NO_DNS
    /// Connects to a host by its name, or an address as text.
    ///
    /// Its addresses are tried in the order of RFC 6724, the families in turn, one every
    /// connect_options::attempt_delay, the next at once where one fails; the first that
    /// connects wins, and the others are given up. Both families are asked for at the same
    /// time; those of IPv4 are not tried before those of IPv6 are known, or have not come for
    /// connect_options::resolution_delay: a family that does not answer holds nothing up.
    ///
    /// Errors: resolve_error where there is no address; std::system_error where none connects,
    ///     with each address and what was wrong with it, and the last one's code.
    /// Cancellation: a cancellation point at each wait. All queries and attempts have ended,
    ///     and their sockets are closed, when this returns, throws, or is torn down. There is
    ///     no time limit but those of the resolver and the kernel: use with_timeout().
    /// Source: RFC 8305.
    [[nodiscard]] static toadstone::task<tcp_stream>
    connect(std::string host, std::uint16_t port, connect_options options = {},
            std::source_location where = std::source_location::current());
#endif

    /// Takes over a connected socket. It becomes a blocking one, which is what the ring waits
    /// on without a thread, for all descriptors of it; TCP_NODELAY is set.
    ///
    /// Errors: std::system_error for a descriptor that is not open (EBADF), and for a socket
    ///     that is not connected (ENOTCONN); std::invalid_argument for what is no socket, one
    ///     that listens, has no streams, or is not of IPv4 or IPv6. What is not taken stays the
    ///     caller's, and as it was.
    [[nodiscard]] static tcp_stream adopt(int fd);

    tcp_stream(tcp_stream&& other) noexcept
        : handle_((other.check_unused(), std::move(other.handle_))), peer_(other.peer_),
          poison_(std::move(other.poison_)), read_poison_(std::move(other.read_poison_)),
          ahead_(std::exchange(other.ahead_, nullptr)), zero_copy_from_(other.zero_copy_from_) {
    }
    tcp_stream& operator=(tcp_stream&& other) noexcept {
        check_unused();
        other.check_unused();
        if (this == &other) return *this;
        if (ahead_) drop_ahead();
        ahead_ = std::exchange(other.ahead_, nullptr);
        handle_ = std::move(other.handle_);
        peer_ = other.peer_;
        poison_ = std::move(other.poison_);
        read_poison_ = std::move(other.read_poison_);
        zero_copy_from_ = other.zero_copy_from_;
        return *this;
    }
    ~tcp_stream() {
        check_unused();
        if (ahead_) drop_ahead();
    }

    /// Reads what is there, at least one byte. Into no room at all it reads nothing and waits
    /// for nothing.
    ///
    /// Returns: bytes read; 0 at the end of the stream, for an empty buffer, or when close()
    ///     was called meanwhile.
    /// Errors also: poison_error, of the reading half.
    /// Cancellation: a cancellation point. Bytes that were read are delivered, never lost. The
    ///     buffer is the kernel's until this returns or the frame is torn down.
    [[nodiscard]] detail::read_operation read_some(mutable_buffer into) noexcept {
        return detail::read_operation(*this, into);
    }

    /// Receives what is there, at least one byte, into a buffer that is lent: memory only while
    /// there is something in it. From the first call on the connection is received from ahead,
    /// while the task works on what it has: until runtime_options::unread_buffers are there
    /// that nobody has asked for. All other reads take these first.
    ///
    /// Returns: the bytes; none at the end of the stream, or when close() was called meanwhile.
    /// Errors also: poison_error, of the reading half; std::bad_alloc.
    /// Cancellation: a cancellation point. What has been received and not taken stays with the
    ///     stream, for the next read.
    /// Threads: may be called on another worker than the last time; the first such call waits
    ///     for that one.
    /// Source: io_uring_prep_recv_multishot(3), io_uring_register_buf_ring(3).
    [[nodiscard]] detail::recv_operation recv() noexcept {
        return detail::recv_operation(*this);
    }

    /// Fills all of `into`, which stays alive until this returns or is torn down.
    ///
    /// Errors also: poison_error, of the reading half; unexpected_end, a std::system_error that
    ///     says how much had come. So does the text of every other failure.
    /// Cancellation: a cancellation point. Cancelled before the first byte, nothing has
    ///     happened; when all bytes have come although cancellation was asked for, that is
    ///     delivered. Where a cut read should lose nothing, read through a buffered_reader.
    /// Poisoning: cut in between, by whatever, it poisons the reading half: see the class.
    [[nodiscard]] toadstone::task<>
    read_exactly(mutable_buffer into,
                 std::source_location where = std::source_location::current());

    /// Writes some bytes, at least one of a buffer that is not empty. Returns: how many. What
    /// to do about the rest is the caller's business, so a short write poisons nothing.
    ///
    /// Errors also: poison_error. Cancellation: a cancellation point; bytes that went out are
    ///     reported.
    [[nodiscard]] detail::write_operation write_some(const_buffer data) noexcept {
        return detail::write_operation(*this, data);
    }

    /// Writes everything. `data` stays alive until this returns or is torn down.
    ///
    /// Errors also: poison_error. Cancellation: a cancellation point. When all bytes have gone
    ///     out although cancellation was asked for, that is delivered.
    /// Poisoning: see the class.
    [[nodiscard]] detail::write_all_operation
    write_all(const_buffer data,
              std::source_location where = std::source_location::current()) noexcept {
        return detail::write_all_operation(where, *this, data);
    }

    /// Waits until the peer is gone: it has closed, reset the connection, or shut down its
    /// writing half (the kernel cannot tell these apart). Bytes that it sent before are still
    /// there to be read. Made for when_any(), beside work for that peer.
    ///
    /// Cancellation: a cancellation point; nothing is consumed.
    [[nodiscard]] detail::wait_closed_operation wait_closed() noexcept {
        return detail::wait_closed_operation(*this);
    }

    /// Says to the peer that nothing more comes. Does not suspend. The other half stays open.
    /// Says nothing, and is no error, when the connection is gone already (ENOTCONN: the peer
    /// has reset it): whoever writes or reads learns that.
    ///
    /// Errors: EBADF on a closed stream; poison_error, since the peer would take half a message
    ///     for all of it; std::logic_error while another task writes.
    void shutdown_write();

    /// Ends the connection: operations that other tasks have in flight end (reads with 0,
    /// writes with an error), are waited for, and the descriptor is closed. Operations that
    /// start later fail with EBADF. Does nothing on a closed stream. A stream that is poisoned,
    /// or that another task writes to, is reset.
    ///
    /// Errors also: std::logic_error while another task closes it.
    /// Cancellation: a cancellation point; once the kernel was asked, it is not cancelled.
    [[nodiscard]] toadstone::task<>
    close(std::source_location where = std::source_location::current());

    /// The other end.
    [[nodiscard]] const endpoint& peer() const noexcept { return peer_; }
    /// This end. Errors: std::system_error once it is closed.
    [[nodiscard]] endpoint local() const;
    /// TCP_NODELAY: on, small writes go at once. Errors: std::system_error.
    void set_no_delay(bool on);
    /// From here on a write_all() of at least so many bytes lends them to the kernel, which
    /// otherwise copies them, and returns when they are free again: when the peer has
    /// acknowledged them. By default nothing is lent. Worth it from some 10 kB on, to other
    /// machines; what stays on this one is copied all the same, and slower. Where the kernel
    /// cannot lend (see runtime::features(), RLIMIT_MEMLOCK), it copies. For the task that
    /// writes, or when none does.
    ///
    /// Cancellation: a write_all() that is cancelled still waits until its memory is free,
    ///     which is for as long as the peer lets it: TCP_USER_TIMEOUT bounds that, and close()
    ///     by another task ends it at once.
    /// Source: io_uring_prep_send_zc(3).
    void set_zero_copy(std::size_t at_least) noexcept { zero_copy_from_ = at_least; }
    /// For set_zero_copy(): copy always.
    static constexpr std::size_t never = ~std::size_t{0};

    /// A write was cut. For the task that writes, or when none does.
    [[nodiscard]] bool poisoned() const noexcept { return poison_.set(); }
    /// Empty unless poisoned.
    [[nodiscard]] toadstone::poison_cause cause() const noexcept { return poison_.cause(); }
    /// A read_exactly() was cut. For the task that reads, or when none does.
    [[nodiscard]] bool read_poisoned() const noexcept { return read_poison_.set(); }
    /// Empty unless the reading half is poisoned.
    [[nodiscard]] toadstone::poison_cause read_cause() const noexcept {
        return read_poison_.cause();
    }
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
    friend class detail::tcp_recv_leaf;
    friend class detail::tcp_write;
    friend class detail::tcp_write_all;
    friend class detail::tcp_wait_closed;
    friend class buffered_reader;

    /// read_exactly() where the first `have` bytes of `into` are there already.
    toadstone::task<> read_rest(mutable_buffer into, std::size_t have,
                                std::source_location where);
    void check_unused() const noexcept {
        handle_.use.check_unused([this] { return "connection to " + peer_.to_string(); });
    }

    void drop_ahead() noexcept;
    /// The next read finds, or waits for, what recv() has begun to receive.
    [[nodiscard]] bool reads_ahead() const noexcept;
    /// Of a receive without bytes: throws unless it is the end.
    void check_received(int result) const;
    [[noreturn]] void fail_read(std::size_t wanted, std::size_t received, int error) const;

    detail::handle handle_;
    endpoint peer_;
    detail::poison_mark poison_;      ///< of the writing half; under its claim
    detail::poison_mark read_poison_; ///< of the reading half; under its claim
    /// Made by the first recv(), under the claim of the reading half.
    toadstone::detail::receiver* ahead_ = nullptr;
    std::size_t zero_copy_from_ = never; ///< under the claim of the writing half
};

} // namespace toadstone::io

#endif
