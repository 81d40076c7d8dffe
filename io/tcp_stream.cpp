// The operations behind tcp_stream.
#include <toadstone/io/tcp_stream.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/socket_address.hpp>
#include <toadstone/io/detail/socket_option.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <cerrno>

#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

namespace toadstone::io {
namespace {

class connect_leaf : public toadstone::detail::io_op {
public:
    connect_leaf(int fd, const detail::socket_address& to) noexcept : fd_(fd), to_(&to) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_connect(&entry, fd_, static_cast<const sockaddr*>(to_->data()),
                              to_->length());
    }
    int fd_;
    const detail::socket_address* to_;
};
using connect_op = toadstone::detail::called_from<connect_leaf>;

/// Part of write_all(), which has claimed the writing half. With MSG_WAITALL the kernel goes on
/// after a short send by itself; cancelled or failed in between, it reports the bytes that went
/// out, and the next send tells why.
class send_leaf : public toadstone::detail::io_op {
public:
    send_leaf(const detail::handle& to, std::span<const std::byte> data) noexcept
        : to_(&to), data_(data) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        const int fd = to_->use.being_closed() ? -1 : to_->fd.get();
        io_uring_prep_send(&entry, fd, data_.data(), detail::one_transfer(data_.size()),
                           MSG_NOSIGNAL | MSG_WAITALL);
    }
    const detail::handle* to_;
    std::span<const std::byte> data_;
};
using send_op = toadstone::detail::called_from<send_leaf>;

} // namespace

namespace detail {

tcp_read::tcp_read(tcp_stream& from, std::span<std::byte> into) noexcept
    : handle_op(from.handle_, in_use::reading), from_(&from), into_(into) {
    TOADSTONE_ASSERT(!into.empty(), "a read needs room: 0 bytes mean the end of the stream");
}

void tcp_read::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_recv(&entry, fd(), into_.data(), one_transfer(into_.size()), 0);
}

std::size_t tcp_read::await_resume() {
    const int count = finish();
    if (count < 0) throw_io_error("read from", from_->peer_.to_string(), -count);
    return static_cast<std::size_t>(count);
}

tcp_write::tcp_write(tcp_stream& to, std::span<const std::byte> data) noexcept
    : handle_op(to.handle_, in_use::writing), to_(&to), data_(data) {}

bool tcp_write::await_ready() const noexcept {
    return to_->poisoned() && !ctx_->should_stop();
}

void tcp_write::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_send(&entry, fd(), data_.data(), one_transfer(data_.size()), MSG_NOSIGNAL);
}

std::size_t tcp_write::await_resume() {
    to_->poison_.check();
    const int count = finish();
    if (count < 0) throw_io_error("write to", to_->peer_.to_string(), -count);
    return static_cast<std::size_t>(count);
}

tcp_wait_closed::tcp_wait_closed(tcp_stream& on) noexcept
    : handle_op(on.handle_, in_use::one_more), on_(&on) {}

void tcp_wait_closed::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_poll_add(&entry, fd(), POLLRDHUP | POLLHUP | POLLERR);
}

void tcp_wait_closed::await_resume() {
    const int events = finish();
    if (events < 0) throw_io_error("wait for the end of", on_->peer_.to_string(), -events);
}

} // namespace detail

toadstone::task<tcp_stream> tcp_stream::connect(endpoint to, std::source_location where) {
    const detail::socket_address address(to);
    detail::descriptor fd(
        toadstone::detail::system().socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) detail::throw_io_error("make a socket for", to.to_string(), errno);
    detail::set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1, "set TCP_NODELAY on", to);
    const int result = co_await connect_op(where, fd.get(), address);
    if (result < 0) detail::throw_io_error("connect to", to.to_string(), -result);
    co_return tcp_stream(std::move(fd), to);
}

toadstone::task<> tcp_stream::write_all(std::span<const std::byte> data,
                                        std::source_location where) {
    if (data.empty() || poisoned()) co_await toadstone::detail::checkpoint_for(where);
    poison_.check();
    const detail::claim alone(handle_.use, detail::in_use::writing);
    const auto name = [this] { return peer_.to_string(); };
    detail::tear_watch watch(poison_, "tcp stream", name, data.size(), where);
    while (watch.left() > 0) {
        const int count = co_await send_op(where, handle_, data.last(watch.left()));
        if (count <= 0) {
            detail::throw_io_error("write to", peer_.to_string(), count == 0 ? EIO : -count);
        }
        watch.wrote(static_cast<std::size_t>(count));
    }
}

void tcp_stream::shutdown_write() {
    const detail::borrowed_fd fd(handle_);
    if (toadstone::detail::system().shutdown(fd.get(), SHUT_WR) != 0) {
        detail::throw_io_error("shut down writing to", peer_.to_string(), errno);
    }
}

toadstone::task<> tcp_stream::close(std::source_location where) {
    const int result =
        co_await detail::close_handle(handle_, detail::before_close::shut_down, where);
    if (result < 0)
        detail::throw_io_error("close the connection to", peer_.to_string(), -result);
}

endpoint tcp_stream::local() const {
    const detail::borrowed_fd fd(handle_);
    return detail::local_endpoint_of(fd.get(), "find the local address of", peer_);
}

void tcp_stream::set_no_delay(bool on) {
    const detail::borrowed_fd fd(handle_);
    detail::set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0, "set TCP_NODELAY on",
                       peer_);
}

} // namespace toadstone::io
