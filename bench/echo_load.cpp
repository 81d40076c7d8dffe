// The load of the echo bench: as many messages as are wanted, over connections that stay.
#include "echo.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace bench {
namespace {

constexpr int patience_ms = 10'000;

[[noreturn]] void give_up(const char* doing, const char* why) {
    std::fprintf(stderr, "echo load: %s: %s\n", doing, why);
    std::exit(1);
}

int connect_to(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        give_up("connect", std::strerror(errno));
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

} // namespace

load_generator::load_generator(std::uint16_t port, load_shape shape)
    : shape_(shape), poll_(::epoll_create1(EPOLL_CLOEXEC)), connections_(shape.connections),
      out_(shape.size * shape.depth, std::byte{'x'}), in_(echo_buffer) {
    unsigned made = 0;
    for (connection& each : connections_) {
        each.fd = connect_to(port);
        // The server shares the processor and has to accept what waits in its backlog.
        if (++made % 64 == 0) ::usleep(1000);
        epoll_event interest{};
        interest.events = EPOLLIN;
        interest.data.ptr = &each;
        ::epoll_ctl(poll_, EPOLL_CTL_ADD, each.fd, &interest);
    }
}

load_generator::~load_generator() {
    for (const connection& each : connections_) ::close(each.fd);
    ::close(poll_);
}

void load_generator::send(connection& to, std::uint64_t messages) {
    const std::size_t bytes = static_cast<std::size_t>(messages) * shape_.size;
    // At most depth * size bytes are under way, which the socket's buffers hold.
    if (::send(to.fd, out_.data(), bytes, MSG_NOSIGNAL) != static_cast<ssize_t>(bytes)) {
        give_up("send", "the server has gone or takes no more");
    }
    to.unsent -= messages;
}

void load_generator::receive(connection& from) {
    const ssize_t got = ::recv(from.fd, in_.data(), in_.size(), MSG_DONTWAIT);
    if (got <= 0) give_up("receive", got == 0 ? "the server has closed" : std::strerror(errno));
    if (in_[0] != out_[0]) give_up("receive", "this is no echo");
    from.partial += static_cast<std::size_t>(got);
    const std::uint64_t whole = from.partial / shape_.size;
    from.partial %= shape_.size;
    if (whole > from.unanswered) give_up("receive", "more than was sent");
    from.unanswered -= whole;
    const std::uint64_t next = std::min(whole, from.unsent);
    if (next > 0) send(from, next);
    if (from.unanswered == 0) --busy_;
}

void load_generator::begin(connection& with, std::uint64_t messages) {
    ++busy_;
    with.unsent = messages;
    with.unanswered = messages;
    send(with, std::min<std::uint64_t>(messages, shape_.depth));
}

void load_generator::await_replies() {
    epoll_event events[64];
    while (busy_ > 0) {
        const int count = ::epoll_wait(poll_, events, 64, patience_ms);
        if (count == 0) give_up("receive", "no answer for ten seconds");
        for (int i = 0; i < count; ++i) {
            receive(*static_cast<connection*>(events[i].data.ptr));
        }
    }
}

void load_generator::run(std::uint64_t requests) {
    const std::uint64_t share = std::max<std::uint64_t>(1, requests / connections_.size());
    for (connection& each : connections_) begin(each, share);
    await_replies();
}

void load_generator::run_in_step(std::uint64_t requests) {
    // The server accepts one after the other, so that this costs the same each time.
    for (connection& each : connections_) {
        begin(each, 1);
        await_replies();
    }
    for (std::uint64_t round = requests / connections_.size(); round > 0; --round) {
        for (connection& each : connections_) begin(each, 1);
        await_replies();
    }
}

void stop_server(std::uint16_t port) {
    const int fd = connect_to(port);
    char none = 0;
    static_cast<void>(::recv(fd, &none, sizeof none, 0));
    ::close(fd);
}

} // namespace bench
