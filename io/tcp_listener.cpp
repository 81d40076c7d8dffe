// Listening, and accepting through whatever goes wrong.
#include <toadstone/io/tcp_listener.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/socket_address.hpp>
#include <toadstone/io/detail/socket_option.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace toadstone::io {
namespace {

using namespace std::chrono_literals;

// IORING_ACCEPT_POLL_FIRST, which liburing 2.3 does not know.
constexpr std::uint16_t poll_first = 4;

/// Part of accept(), which has claimed the listener.
///
/// One connection each: a multishot accept takes all of the backlog at once, however little
/// room there is for them. And one at a time: Linux (6.18) wakes one of several accepts for
/// each connection, and if that one is cancelled just then, or fails for want of a descriptor,
/// no other one learns of the connection.
class accept_leaf : public detail::turn_op {
public:
    accept_leaf(detail::turn& mine, const detail::handle& on,
                detail::socket_address& peer) noexcept
        : turn_op(mine), on_(&on), peer_(&peer) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        const int fd = on_->use.being_closed() ? -1 : on_->fd.get();
        io_uring_prep_accept(&entry, fd, static_cast<sockaddr*>(peer_->data()),
                             &peer_->length(), SOCK_CLOEXEC);
        // Mostly nobody is there yet, and the kernel need not look before it waits.
        const auto& home = static_cast<const toadstone::detail::worker&>(ctx_->home());
        if (home.queue().accepts_poll_first()) entry.ioprio |= poll_first;
    }
    const detail::handle* on_;
    detail::socket_address* peer_;
};
using accept_op =
    toadstone::detail::called_from<accept_leaf, detail::turn&, const detail::handle&,
                                   detail::socket_address&>;

enum class remedy : unsigned char { go_on, back_off, give_up };

// accept(2): "Linux passes already-pending network errors on the new socket as an error code
// from accept(). For reliable operation the application should detect the network errors
// defined for the protocol and treat them like EAGAIN by retrying."
remedy remedy_for(int error) noexcept {
    switch (error) {
    case ECONNABORTED: // the peer was faster
    case EPROTO:
    case EPERM: // a firewall
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case ETIMEDOUT:
    case EINTR:
    case EAGAIN:
        return remedy::go_on;
    case EMFILE: // this process
    case ENFILE: // this machine
    case ENOBUFS:
    case ENOMEM:
        return remedy::back_off;
    default:
        return remedy::give_up;
    }
}

constexpr std::chrono::milliseconds first_back_off = 50ms;
constexpr std::chrono::milliseconds longest_back_off = 1s;
// An error that repeats so often without a connection in between belongs to the socket, not to
// a peer: going on at once would spin.
constexpr unsigned failures_in_a_row = 32;

void check_options(const endpoint& at, const listen_options& options) {
    const auto refuse = [&at](const char* why) {
        throw std::invalid_argument("listen on " + at.to_string() + ": " + why);
    };
    if (at.kind() == endpoint::family::none) refuse("the endpoint is empty");
    if (options.backlog < 0) refuse("the backlog is negative");
    if (options.v6_only && at.kind() != endpoint::family::v6) {
        refuse("v6_only goes with an IPv6 address");
    }
}

} // namespace

tcp_listener tcp_listener::bind(endpoint at, listen_options options) {
    constexpr const char* doing = "listen on";
    check_options(at, options);
    const auto fail = [&at] { detail::throw_io_error(doing, at.to_string(), errno); };
    const detail::socket_address address(at);
    detail::descriptor fd(
        toadstone::detail::system().socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) fail();
    if (options.reuse_address) {
        detail::set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, doing, at);
    }
    if (options.reuse_port && !options.first_of_port) {
        detail::set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, doing, at);
    }
    if (at.kind() == endpoint::family::v6) {
        detail::set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0, doing,
                           at);
    }
    const auto* name = static_cast<const sockaddr*>(address.data());
    if (toadstone::detail::system().bind(fd.get(), name, address.length()) != 0) fail();
    if (options.reuse_port && options.first_of_port) {
        detail::set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, doing, at);
    }
    // Inherited by what is accepted, which saves a call for each connection.
    detail::set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1, doing, at);
    if (toadstone::detail::system().listen(fd.get(), options.backlog) != 0) fail();
    const endpoint bound = detail::local_endpoint_of(fd.get(), doing, at);
    return tcp_listener(std::move(fd), bound);
}

toadstone::task<tcp_stream> tcp_listener::accept_watched(detail::accept_watcher* told,
                                                         std::source_location where) {
    std::chrono::milliseconds pause = first_back_off;
    unsigned failures = 0;
    // For what is done with the listener beside the operations, too.
    const detail::claim here(handle_.use, detail::in_use::one_more);
    // Kept during a back-off: what is short is short for the others, too.
    detail::turn mine(accepting_, *toadstone::detail::executor::current());
    if (!mine) {
        toadstone::detail::throw_misuse(
            "tasks that accept from one listener at the same time are of one worker",
            "the listener on " + at_.to_string());
    }
    for (;;) {
        detail::socket_address peer;
        const int result = co_await accept_op(where, mine, handle_, peer);
        if (result >= 0) {
            detail::descriptor fd(result);
            ++stats_.accepted;
            co_return tcp_stream(std::move(fd), peer.to_endpoint());
        }
        // Without a descriptor an accept that close() ends may find that first.
        const bool again = remedy_for(-result) != remedy::give_up;
        const int error = again && handle_.use.being_closed() ? EBADF : -result;
        switch (remedy_for(error)) {
        case remedy::give_up:
            detail::throw_io_error("accept on", at_.to_string(), error);
        case remedy::go_on:
            ++stats_.gone;
            if (++failures < failures_in_a_row) continue;
            break;
        case remedy::back_off:
            if (told) told->backs_off(at_, -result);
            break;
        }
        ++stats_.back_offs;
        co_await detail::back_off_operation(where, pausing_,
                                            toadstone::detail::time_limit(pause));
        pause = std::min(2 * pause, longest_back_off);
    }
}

toadstone::task<> tcp_listener::close(std::source_location where) {
    pausing_.end(); // it tries again, finds it closed, and has left before this closes
    const int result =
        co_await detail::close_handle(handle_, detail::before_close::shut_down, nullptr, where);
    if (result < 0) detail::throw_close_error("close the listener on", at_.to_string(), result);
}

} // namespace toadstone::io
