// The limit for an echo server on io_uring: no runtime, no coroutines, no cancellation.
#include "echo.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>

#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace bench {
namespace {

enum class doing : unsigned char { accepting, receiving, sending };

struct conversation {
    int fd = -1;
    doing what = doing::accepting;
    std::size_t length = 0; ///< of what was received
    std::size_t sent = 0;
    std::array<std::byte, echo_buffer> buffer;
};

int fail(const char* what, int error) {
    std::fprintf(stderr, "raw echo server: %s: %s\n", what, std::strerror(error));
    return 1;
}

class raw_server {
public:
    raw_server() = default;
    raw_server(const raw_server&) = delete;
    raw_server& operator=(const raw_server&) = delete;
    ~raw_server() {
        if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
        if (listener_ >= 0) ::close(listener_);
    }

    int run(unsigned connections, const ready_call& ready);

private:
    [[nodiscard]] int listen(std::uint16_t& port);
    [[nodiscard]] io_uring_sqe& entry() noexcept {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        while (!sqe) {
            io_uring_submit(&ring_);
            sqe = io_uring_get_sqe(&ring_);
        }
        return *sqe;
    }
    void accept() noexcept;
    void receive(conversation& with) noexcept;
    void send(conversation& with) noexcept;
    void go_on(conversation& with, int result) noexcept;
    void end(conversation& with) noexcept;

    io_uring ring_ = [] {
        io_uring none{};
        none.ring_fd = -1;
        return none;
    }();
    int listener_ = -1;
    std::deque<conversation> conversations_;
    unsigned to_accept_ = 0;
    unsigned open_ = 0;
};

int raw_server::listen(std::uint16_t& port) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    auto* const address = reinterpret_cast<sockaddr*>(&at);
    if (listener_ < 0 || ::bind(listener_, address, sizeof at) != 0 ||
        ::listen(listener_, 4096) != 0 || ::getsockname(listener_, address, &length) != 0) {
        return errno;
    }
    port = ntohs(at.sin_port);
    return 0;
}

void raw_server::accept() noexcept {
    conversation& next = conversations_.emplace_back();
    io_uring_sqe& sqe = entry();
    io_uring_prep_accept(&sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
    io_uring_sqe_set_data(&sqe, &next);
}

void raw_server::receive(conversation& with) noexcept {
    io_uring_sqe& sqe = entry();
    io_uring_prep_recv(&sqe, with.fd, with.buffer.data(), with.buffer.size(), 0);
    io_uring_sqe_set_data(&sqe, &with);
    with.what = doing::receiving;
}

void raw_server::send(conversation& with) noexcept {
    io_uring_sqe& sqe = entry();
    io_uring_prep_send(&sqe, with.fd, with.buffer.data() + with.sent, with.length - with.sent,
                       MSG_NOSIGNAL);
    io_uring_sqe_set_data(&sqe, &with);
    with.what = doing::sending;
}

void raw_server::end(conversation& with) noexcept {
    ::close(with.fd);
    --open_;
}

void raw_server::go_on(conversation& with, int result) noexcept {
    switch (with.what) {
    case doing::accepting: {
        if (result < 0) return accept();
        const int on = 1;
        ::setsockopt(result, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        with.fd = result;
        if (--to_accept_ > 0) accept();
        return receive(with);
    }
    case doing::receiving:
        if (result <= 0) return end(with);
        with.length = static_cast<std::size_t>(result);
        with.sent = 0;
        return send(with);
    case doing::sending:
        if (result < 0) return end(with);
        with.sent += static_cast<std::size_t>(result);
        return with.sent < with.length ? send(with) : receive(with);
    }
}

int raw_server::run(unsigned connections, const ready_call& ready) {
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    params.cq_entries = 4096;
    if (const int error = -io_uring_queue_init_params(256, &ring_, &params)) {
        ring_.ring_fd = -1;
        return fail("io_uring_setup", error);
    }
    std::uint16_t port = 0;
    if (const int error = listen(port)) return fail("listen", error);
    to_accept_ = connections;
    open_ = connections;
    accept();
    ready({port, 0});
    while (open_ > 0) {
        const int done = io_uring_submit_and_wait(&ring_, 1);
        if (done < 0 && done != -EINTR) return fail("io_uring_enter", -done);
        unsigned head = 0;
        unsigned seen = 0;
        io_uring_cqe* cqe = nullptr;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            ++seen;
            go_on(*static_cast<conversation*>(io_uring_cqe_get_data(cqe)), cqe->res);
        }
        io_uring_cq_advance(&ring_, seen);
    }
    return 0;
}

} // namespace

int serve_raw(unsigned connections, const ready_call& ready) {
    raw_server server;
    return server.run(connections, ready);
}

} // namespace bench
