// tcp_listener: where connections come in.
#ifndef TOADSTONE_IO_TCP_LISTENER_HPP
#define TOADSTONE_IO_TCP_LISTENER_HPP

#include <toadstone/io/detail/back_off.hpp>
#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/detail/turns.hpp>
#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstdint>
#include <source_location>
#include <utility>

namespace toadstone::io {

/// How a tcp_listener listens.
struct listen_options {
    int backlog = 4096;        ///< connections that may wait; capped by net.core.somaxconn
    bool reuse_address = true; ///< bind although old connections linger in TIME_WAIT
    bool reuse_port = false;   ///< share the port with listeners of the same user: SO_REUSEPORT
    /// With reuse_port: bind without sharing, so that a port in use is an error, and share it
    /// with those that come later. For the first listener of a server with several.
    bool first_of_port = false;
    /// With an IPv6 address: take IPv6 only. Without it "[::]" takes IPv4 connections too,
    /// whose peers read "[::ffff:192.0.2.1]:50412", and nobody else can listen on that port at
    /// 0.0.0.0. Always said to the kernel: net.ipv6.bindv6only decides nothing.
    bool v6_only = false;
};

/// What accept() has met so far.
struct accept_stats {
    std::uint64_t accepted = 0;  ///< connections
    std::uint64_t gone = 0;      ///< connections that failed before they could be accepted
    std::uint64_t back_offs = 0; ///< waits because descriptors or memory were short
};

namespace detail {

/// Told, on the listener's worker, when an accept() begins to wait because descriptors or
/// memory are short, each time.
class accept_watcher {
public:
    virtual void backs_off(const endpoint& at, int error) noexcept = 0;

protected:
    ~accept_watcher() = default;
};

} // namespace detail

/// A listening TCP socket.
///
/// Threads: one worker. Several of its tasks may accept() at the same time; one of another
///     worker meanwhile gets a std::logic_error.
/// Fairness: connections go to the accept()s in the order in which these began.
/// Lifetime: stays where it is while an accept() is under way, and outlives it. The destructor
///     closes at once; connections that nobody has accepted are reset by the kernel.
class tcp_listener {
public:
    /// Binds and listens. Port 0: the kernel chooses one, see local_endpoint(). `at` may be
    /// written as text, "[::]:80".
    ///
    /// Errors: std::system_error, such as "listen on 127.0.0.1:80: Permission denied".
    ///     std::invalid_argument for an empty endpoint, a negative backlog, and v6_only with an
    ///     IPv4 address.
    [[nodiscard]] static tcp_listener bind(endpoint at, listen_options options = {});

    tcp_listener(tcp_listener&& other) noexcept
        : handle_((other.check_unused(), std::move(other.handle_))), at_(other.at_),
          stats_(other.stats_) {}
    tcp_listener& operator=(tcp_listener&& other) noexcept {
        check_unused();
        other.check_unused();
        handle_ = std::move(other.handle_);
        at_ = other.at_;
        stats_ = other.stats_;
        return *this;
    }
    ~tcp_listener() { check_unused(); }

    /// Waits for a connection.
    ///
    /// Returns: the stream; its descriptor is closed on exec. Errors: what cannot be waited
    ///     out. Goes on after connections that failed meanwhile (ECONNABORTED, EPROTO, EPERM by
    ///     a firewall, ENETDOWN, ...). Without descriptors or memory (EMFILE, ENFILE, ENOBUFS,
    ///     ENOMEM) waits 50 ms, then twice as long each time, up to a second, and tries again.
    /// Cancellation: a cancellation point. A connection that was accepted all the same is
    ///     delivered, or closed when nobody takes it; one that was not is left to the accept()
    ///     that is next.
    [[nodiscard]] toadstone::task<tcp_stream>
    accept(std::source_location where = std::source_location::current()) {
        return accept_watched(nullptr, where);
    }

    /// Where it listens, with the port that the kernel chose.
    [[nodiscard]] const endpoint& local_endpoint() const noexcept { return at_; }
    /// Since it listens.
    [[nodiscard]] const io::accept_stats& accept_stats() const noexcept { return stats_; }

    /// Stops listening. An accept() that another task has under way, also one that waits for
    /// descriptors or memory, fails at once (EINVAL or EBADF) and is waited for. Does nothing
    /// on a closed listener.
    ///
    /// Errors also: std::logic_error while another task closes it.
    /// Cancellation: a cancellation point; once the kernel was asked, it is not cancelled.
    [[nodiscard]] toadstone::task<>
    close(std::source_location where = std::source_location::current());
    /// False once close() has begun. From any thread.
    [[nodiscard]] bool is_open() const noexcept { return native_handle() >= 0; }
    /// -1 once close() has begun. What is done with it is not waited for by close().
    [[nodiscard]] int native_handle() const noexcept {
        return detail::borrowed_fd(handle_).get();
    }

    /// For the library: accept() with somebody who is told, or null.
    [[nodiscard]] toadstone::task<tcp_stream> accept_watched(detail::accept_watcher* told,
                                                             std::source_location where);

private:
    void check_unused() const noexcept {
        handle_.use.check_unused([this] { return "listener on " + at_.to_string(); });
    }

    tcp_listener(detail::descriptor&& fd, const endpoint& at) noexcept
        : handle_(std::move(fd)), at_(at) {}

    detail::handle handle_;
    detail::turns accepting_;
    detail::pause_of pausing_; ///< of the accept() that waits for descriptors or memory
    endpoint at_;
    io::accept_stats stats_;
};

} // namespace toadstone::io

#endif
