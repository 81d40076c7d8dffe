// tcp_listener: where connections come in.
#ifndef TOADSTONE_IO_TCP_LISTENER_HPP
#define TOADSTONE_IO_TCP_LISTENER_HPP

#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstdint>
#include <source_location>
#include <utility>

namespace toadstone::io {

struct listen_options {
    int backlog = 4096;        ///< connections that may wait; capped by net.core.somaxconn
    bool reuse_address = true; ///< bind although old connections linger in TIME_WAIT
    bool reuse_port = false;   ///< share the port with listeners of the same user: SO_REUSEPORT
    /// With reuse_port: bind without sharing, so that a port in use is an error, and share it
    /// with those that come later. For the first listener of a server with several.
    bool first_of_port = false;
};

/// What accept() has met so far.
struct accept_stats {
    std::uint64_t accepted = 0;
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
/// Threads: one worker. Several of its tasks may accept() at the same time.
/// Lifetime: stays where it is while an accept() is under way, and outlives it. The destructor
///     closes at once; connections that nobody has accepted are reset by the kernel.
class tcp_listener {
public:
    /// Binds and listens. Port 0: the kernel chooses one, see local_endpoint().
    ///
    /// Errors: std::system_error, such as "listen on 127.0.0.1:80: Permission denied".
    [[nodiscard]] static tcp_listener bind(endpoint at, listen_options options = {});

    tcp_listener(tcp_listener&&) noexcept = default;
    tcp_listener& operator=(tcp_listener&&) noexcept = default;

    /// Waits for a connection.
    ///
    /// Returns: the stream; its descriptor is closed on exec. Errors: what cannot be waited
    ///     out. Goes on after connections that failed meanwhile (ECONNABORTED, EPROTO, EPERM by
    ///     a firewall, ENETDOWN, ...). Without descriptors or memory (EMFILE, ENFILE, ENOBUFS,
    ///     ENOMEM) waits 50 ms, then twice as long each time, up to a second, and tries again.
    /// Cancellation: a cancellation point. A connection that was accepted all the same is
    ///     delivered, or closed when nobody takes it.
    [[nodiscard]] toadstone::task<tcp_stream>
    accept(std::source_location where = std::source_location::current()) {
        return accept_watched(nullptr, where);
    }

    /// Where it listens, with the port that the kernel chose.
    [[nodiscard]] const endpoint& local_endpoint() const noexcept { return at_; }
    [[nodiscard]] const io::accept_stats& accept_stats() const noexcept { return stats_; }

    /// Stops listening. An accept() that another task has under way fails (EINVAL or EBADF) and
    /// is waited for. Does nothing on a closed listener.
    ///
    /// Cancellation: a cancellation point; once the kernel was asked, it is not cancelled.
    [[nodiscard]] toadstone::task<>
    close(std::source_location where = std::source_location::current());
    [[nodiscard]] bool is_open() const noexcept { return static_cast<bool>(handle_.fd); }
    [[nodiscard]] int native_handle() const noexcept { return handle_.fd.get(); }

    /// For the library: accept() with somebody who is told, or null.
    [[nodiscard]] toadstone::task<tcp_stream> accept_watched(detail::accept_watcher* told,
                                                             std::source_location where);

private:
    tcp_listener(detail::descriptor&& fd, const endpoint& at) noexcept
        : handle_(std::move(fd)), at_(at) {}

    detail::handle handle_;
    endpoint at_;
    io::accept_stats stats_;
};

} // namespace toadstone::io

#endif
