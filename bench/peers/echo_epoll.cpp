// An echo server on epoll alone: prints its port and serves until it is killed.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

struct connection {
    int fd = -1;
    std::size_t sent = 0;
    std::size_t length = 0; ///< of what was received, and is not yet sent in whole
    std::vector<char> buffer;
};

class server {
public:
    [[nodiscard]] bool listen() {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof at;
        auto* const address = reinterpret_cast<sockaddr*>(&at);
        if (listener_ < 0 || poll_ < 0 || ::bind(listener_, address, sizeof at) != 0 ||
            ::listen(listener_, 4096) != 0 || ::getsockname(listener_, address, &length) != 0) {
            return false;
        }
        watch(EPOLL_CTL_ADD, listener_, EPOLLIN, nullptr);
        std::printf("%u\n", ntohs(at.sin_port));
        std::fflush(stdout);
        return true;
    }

    void serve() {
        epoll_event events[256];
        for (;;) {
            const int count = ::epoll_wait(poll_, events, 256, -1);
            for (int i = 0; i < count; ++i) {
                if (auto* const with = static_cast<connection*>(events[i].data.ptr)) {
                    go_on(*with);
                } else {
                    accept();
                }
            }
        }
    }

private:
    void watch(int how, int fd, std::uint32_t what, connection* with) const {
        epoll_event interest{};
        interest.events = what;
        interest.data.ptr = with;
        ::epoll_ctl(poll_, how, fd, &interest);
    }

    void accept() {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        auto* const with = new connection{fd, 0, 0, std::vector<char>(16384)};
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, with);
    }

    void end(connection& with) {
        ::close(with.fd);
        delete &with;
    }

    // One message, as far as it goes: level-triggered, so that what is left comes again.
    void go_on(connection& with) {
        const bool waited = with.sent < with.length;
        if (!waited) {
            const ssize_t got = ::recv(with.fd, with.buffer.data(), with.buffer.size(), 0);
            if (got < 0 && errno == EAGAIN) return;
            if (got <= 0) return end(with);
            with.length = static_cast<std::size_t>(got);
            with.sent = 0;
        }
        const ssize_t sent = ::send(with.fd, with.buffer.data() + with.sent,
                                    with.length - with.sent, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return end(with);
        if (sent > 0) with.sent += static_cast<std::size_t>(sent);
        const bool waits = with.sent < with.length;
        if (waits != waited) watch(EPOLL_CTL_MOD, with.fd, waits ? EPOLLOUT : EPOLLIN, &with);
    }

    int listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int poll_ = ::epoll_create1(EPOLL_CLOEXEC);
};

} // namespace

int main() {
    server one;
    if (!one.listen()) {
        std::fprintf(stderr, "echo_epoll: %s\n", std::strerror(errno));
        return 1;
    }
    one.serve();
}
