// The operations behind tcp_stream.
#include <toadstone/io/tcp_stream.hpp>

#include <toadstone/io/detail/adopt.hpp>
#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/socket_address.hpp>
#include <toadstone/io/detail/socket_option.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/uring/receiver.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

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
using connect_op =
    toadstone::detail::called_from<connect_leaf, int, const detail::socket_address&>;

/// Part of read_exactly(), which has claimed the reading half.
class recv_leaf : public toadstone::detail::io_op {
public:
    recv_leaf(const detail::handle& from, mutable_buffer into) noexcept
        : from_(&from), into_(into) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        const int fd = from_->use.being_closed() ? -1 : from_->fd.get();
        io_uring_prep_recv(&entry, fd, into_.data(), detail::one_transfer(into_.size()), 0);
    }
    const detail::handle* from_;
    mutable_buffer into_;
};
using recv_op =
    toadstone::detail::called_from<recv_leaf, const detail::handle&, mutable_buffer>;
using copy_ahead_op =
    toadstone::detail::called_from<detail::copy_ahead_leaf, toadstone::detail::receiver&,
                                   mutable_buffer>;

/// The two halves, as a tear_watch wants to know them.
struct writing_half {
    static constexpr std::string_view type = "tcp stream";
    static constexpr std::string_view during = "in the write begun at";
    const endpoint* peer;
    const detail::handle* socket;

    [[nodiscard]] std::string name() const { return peer->to_string(); }
    /// From here on the kernel resets the connection when the last descriptor of it goes, by
    /// close(2), through the ring, or with the process.
    void poisoned() const noexcept {
        const linger at_once{1, 0};
        toadstone::detail::system().setsockopt(socket->fd.get(), SOL_SOCKET, SO_LINGER,
                                               &at_once, sizeof at_once);
    }
};
struct reading_half {
    static constexpr std::string_view type = "reading half of tcp stream";
    static constexpr std::string_view during = "in the read begun at";
    const endpoint* peer;

    [[nodiscard]] std::string name() const { return peer->to_string(); }
    void poisoned() const noexcept {}
};

/// What close() makes of a read that it ends: with a reset, if it has to be one.
bool ended_by_close(int error, const detail::handle& socket) noexcept {
    return (error == ECONNRESET || error == ENOTCONN) && socket.use.being_closed();
}

} // namespace

namespace detail {

tcp_read::tcp_read(tcp_stream& from, mutable_buffer into) noexcept
    : handle_op(from.handle_, in_use::reading, &from.read_poison_), from_(&from), into_(into) {}

void tcp_read::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_recv(&entry, fd(), into_.data(), one_transfer(into_.size()), 0);
}

bool tcp_read::reads_ahead() noexcept {
    if (!from_->reads_ahead()) return false;
    ahead_ = from_->ahead_;
    if (ahead_->is_open_to(ctx_->home()) && ahead_->has_something()) {
        answer_later();
    } else {
        ahead_->wait(*ctx_);
    }
    return true;
}

bool tcp_read::cancel(toadstone::cancel_reason reason, bool force) noexcept {
    return ahead_ ? ahead_->stop_waiting() : handle_op::cancel(reason, force);
}

bool tcp_read::taken() noexcept {
    return ahead_ ? !ahead_->has_something() : handle_op::taken();
}

std::size_t tcp_read::await_resume() {
    if (refused()) throw_in_use("read from", from_->peer_.to_string(), "reads from it");
    if (into_.empty()) return 0;
    const end_of_use at_end(*this);
    from_->read_poison_.check();
    const int count = ahead_ ? ahead_->copy_to(into_.data(), into_.size()) : result();
    if (count > 0) return static_cast<std::size_t>(count);
    from_->check_received(count);
    return 0;
}

tcp_write::tcp_write(tcp_stream& to, const_buffer data) noexcept
    : handle_op(to.handle_, in_use::writing, &to.poison_), to_(&to), data_(data) {}

void tcp_write::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_send(&entry, fd(), data_.data(), one_transfer(data_.size()), MSG_NOSIGNAL);
}

std::size_t tcp_write::await_resume() {
    if (refused()) throw_in_use("write to", to_->peer_.to_string(), "writes to it");
    const end_of_use at_end(*this);
    to_->poison_.check();
    const int count = result();
    if (count < 0) throw_io_error("write to", to_->peer_.to_string(), -count);
    return static_cast<std::size_t>(count);
}

tcp_write_all::tcp_write_all(tcp_stream& to, const_buffer data) noexcept
    : handle_op(to.handle_, in_use::writing, &to.poison_), to_(&to), data_(data) {
    make_parts();
}

void tcp_write_all::fill(io_uring_sqe& entry) noexcept {
    constexpr int flags = MSG_NOSIGNAL | MSG_WAITALL;
    const unsigned size = one_transfer(data_.size());
    kind_ = 0;
    if (data_.size() >= to_->zero_copy_from_ && may_lend()) [[unlikely]] {
        kind_ = notified;
        io_uring_prep_send_zc(&entry, fd(), data_.data(), size, flags, 0);
    } else {
        io_uring_prep_send(&entry, fd(), data_.data(), size, flags);
    }
}

bool tcp_write_all::may_lend() const noexcept {
    const auto& home = static_cast<const toadstone::detail::worker&>(ctx_->home());
    return !copies_ && home.queue().can_send_zero_copy() && home.may_go_on();
}

// The socket may not be able to, and the memory that is lent counts against RLIMIT_MEMLOCK.
bool tcp_write_all::not_lent() const noexcept {
    return kind_ != 0 &&
           (result() == -EOPNOTSUPP || result() == -ENOMEM || result() == -ENOBUFS);
}

bool tcp_write_all::go_on() noexcept {
    const int count = result();
    if (count <= 0) {
        if (!not_lent() || end_asked()) return false;
        copies_ = true;
        begin();
        return true;
    }
    begun_ = true;
    data_ = data_.last(data_.size() - static_cast<std::size_t>(count));
    if (data_.empty() || end_asked()) return false;
    begin();
    return true;
}

void tcp_write_all::tear() noexcept {
    writing_half half{&to_->peer_, &to_->handle_};
    to_->poison_.tear(half, where_);
}

void tcp_write_all::settle() {
    if (refused()) throw_in_use("write to", to_->peer_.to_string(), "writes to it");
    const end_of_use at_end(*this);
    to_->poison_.check();
    if (data_.empty()) return;
    // Bytes that went out with others left: it was asked to end, and that was not taken.
    const int error = result() < 0 ? -result() : result() > 0 ? ECANCELED : EIO;
    if (!begun_) throw_io_error("write to", to_->peer_.to_string(), error);
    // As if it were a coroutine of its own, which the exception leaves.
    try {
        const struct tearing {
            tcp_write_all& self;
            ~tearing() {
                self.tear();
                self.begun_ = false;
            }
        } here{*this};
        throw_io_error("write to", to_->peer_.to_string(), error);
    } catch (...) {
        toadstone::detail::explain_causes(std::current_exception());
        throw;
    }
}

tcp_wait_closed::tcp_wait_closed(tcp_stream& on) noexcept
    : handle_op(on.handle_, in_use::one_more), on_(&on) {}

void tcp_wait_closed::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_poll_add(&entry, fd(), POLLRDHUP | POLLHUP | POLLERR);
}

void tcp_wait_closed::await_resume() {
    const end_of_use at_end(*this);
    const int events = result();
    if (events < 0) throw_io_error("wait for the end of", on_->peer_.to_string(), -events);
}

} // namespace detail

toadstone::task<tcp_stream> tcp_stream::connect(endpoint to, std::source_location where) {
    if (to.kind() == endpoint::family::none) {
        throw std::invalid_argument("connect: the endpoint is empty");
    }
    const detail::socket_address address(to);
    detail::descriptor fd(
        toadstone::detail::system().socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) detail::throw_io_error("make a socket for", to.to_string(), errno);
    detail::set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1, "set TCP_NODELAY on", to);
    const int result = co_await connect_op(where, fd.get(), address);
    if (result < 0) detail::throw_io_error("connect to", to.to_string(), -result);
    co_return tcp_stream(std::move(fd), to);
}

tcp_stream tcp_stream::adopt(int fd) {
    const detail::adoption about(fd, "a tcp stream");
    if (!S_ISSOCK(about.mode())) about.refuse();
    about.check_stream_socket();
    const auto& calls = toadstone::detail::system();
    detail::socket_address address;
    if (calls.getpeername(fd, static_cast<sockaddr*>(address.data()), &address.length()) != 0) {
        about.fail(errno);
    }
    const endpoint peer = address.to_endpoint();
    if (peer.kind() == endpoint::family::none) about.refuse("it is not of IPv4 or IPv6");
    const int flags = about.flags();
    if ((flags & O_NONBLOCK) && calls.fcntl_flags(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        about.fail(errno);
    }
    detail::set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, "set TCP_NODELAY on", peer);
    return tcp_stream(detail::descriptor::as_it_is(fd), peer);
}

bool tcp_stream::reads_ahead() const noexcept {
    return ahead_ && !handle_.use.being_closed() && handle_.fd && !ahead_->is_idle();
}

void tcp_stream::drop_ahead() noexcept {
    const bool taken = ahead_->abandon(handle_.fd.get());
    if (taken) static_cast<void>(handle_.fd.release());
    ahead_ = nullptr;
}

void tcp_stream::check_received(int result) const {
    if (result == 0 || ended_by_close(-result, handle_)) return;
    if (result == toadstone::detail::receiver::no_memory) throw std::bad_alloc();
    detail::throw_io_error("read from", peer_.to_string(), -result);
}

toadstone::task<> tcp_stream::read_exactly(mutable_buffer into, std::source_location where) {
    return read_rest(into, 0, where);
}

toadstone::task<> tcp_stream::read_rest(mutable_buffer into, std::size_t have,
                                        std::source_location where) {
    const detail::claim alone(handle_.use, detail::in_use::reading);
    if (!alone || into.size() == have || read_poison_.set()) {
        co_await toadstone::detail::checkpoint_for(where);
    }
    if (!alone) detail::throw_in_use("read from", peer_.to_string(), "reads from it");
    read_poison_.check();
    detail::tear_watch watch(read_poison_, reading_half{&peer_}, into.size() - have, where);
    while (watch.left() > 0) {
        int got = 0;
        if (reads_ahead()) {
            got = co_await copy_ahead_op(where, *ahead_, into.last(watch.left()));
        } else {
            got = co_await recv_op(where, handle_, into.last(watch.left()));
        }
        if (got == toadstone::detail::receiver::no_memory) throw std::bad_alloc();
        if (got <= 0) {
            fail_read(into.size(), into.size() - watch.left(), -got);
        }
        watch.moved(static_cast<std::size_t>(got));
    }
}

void tcp_stream::fail_read(std::size_t wanted, std::size_t received, int error) const {
    const std::string peer = peer_.to_string();
    const std::string read = "read " + std::to_string(wanted) + " bytes from";
    if (error == 0 || ended_by_close(error, handle_)) {
        throw unexpected_end(read, peer, received);
    }
    const std::string came = ", of which " + std::to_string(received) + " bytes came";
    detail::throw_io_error(read, peer + came, error);
}

void tcp_stream::shutdown_write() {
    const detail::claim alone(handle_.use, detail::in_use::writing);
    constexpr const char* doing = "shut down writing to";
    if (!alone) detail::throw_in_use(doing, peer_.to_string(), "writes to it");
    poison_.check();
    const detail::borrowed_fd fd(handle_);
    if (toadstone::detail::system().shutdown(fd.get(), SHUT_WR) != 0 && errno != ENOTCONN) {
        detail::throw_io_error(doing, peer_.to_string(), errno);
    }
}

toadstone::task<> tcp_stream::close(std::source_location where) {
    const int result = co_await detail::close_handle(handle_, detail::before_close::shut_down,
                                                     &poison_, where, &ahead_);
    if (result < 0) {
        detail::throw_close_error("close the connection to", peer_.to_string(), result);
    }
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
