// The slow-path system calls of a simulated world.
#include <toadstone/sim/kernel/state.hpp>

#include <toadstone/runtime/uring/system_calls.hpp>

#include <cerrno>
#include <cstring>
#include <utility>

#include <netinet/in.h>

namespace toadstone::sim::detail {
namespace {

thread_local constinit world::state* current = nullptr;

int answer(int result) noexcept {
    if (result >= 0) return result;
    errno = -result;
    return -1;
}

std::uint16_t port_of(const sockaddr* address) noexcept {
    if (address->sa_family == AF_INET) {
        return ntohs(reinterpret_cast<const sockaddr_in*>(address)->sin_port);
    }
    if (address->sa_family == AF_INET6) {
        return ntohs(reinterpret_cast<const sockaddr_in6*>(address)->sin6_port);
    }
    return 0;
}

constexpr toadstone::detail::system_calls simulated = {
    .socket = [](int, int, int) -> int {
        return current->add(std::make_shared<socket_object>(*current));
    },
    .bind = [](int fd, const sockaddr* address, socklen_t) -> int {
        const auto socket = current->find_as<socket_object>(fd);
        return answer(socket ? current->bind(*socket, port_of(address)) : -EBADF);
    },
    .listen = [](int fd, int backlog) -> int {
        const auto socket = current->find_as<socket_object>(fd);
        return answer(socket ? current->listen(socket, backlog) : -EBADF);
    },
    .setsockopt = [](int fd, int, int, const void*, socklen_t) -> int {
        return answer(current->find(fd) ? 0 : -EBADF);
    },
    .getsockname = [](int fd, sockaddr* address, socklen_t* length) -> int {
        const auto socket = current->find_as<socket_object>(fd);
        if (!socket) return answer(-EBADF);
        sockaddr_in own{};
        own.sin_family = AF_INET;
        own.sin_port = htons(socket->port);
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        std::memcpy(address, &own, sizeof own);
        *length = sizeof own;
        return 0;
    },
    .shutdown = [](int fd, int how) -> int {
        const auto socket = current->find_as<socket_object>(fd);
        if (!socket) return answer(-EBADF);
        return answer(current->shut_down(*socket, how));
    },
    .close = [](int fd) -> int { return answer(current->close(fd)); },
    .fstat = [](int fd, struct stat* about) -> int {
        const auto file = current->find_as<file_object>(fd);
        if (!file) return answer(-EBADF);
        *about = {};
        about->st_mode = S_IFREG | 0644;
        about->st_size = static_cast<off_t>(file->node->cached.size());
        return 0;
    },
    .ftruncate = [](int fd, off_t size) -> int {
        const auto file = current->find_as<file_object>(fd);
        if (!file || !file->writable) return answer(-EBADF);
        file->node->cached.resize(static_cast<std::size_t>(size));
        return 0;
    },
};

} // namespace

use_world::use_world(world::state& world) noexcept
    : outer_world_(std::exchange(current, &world)),
      outer_calls_(toadstone::detail::replace_system(&simulated)) {}

use_world::~use_world() {
    current = outer_world_;
    toadstone::detail::replace_system(outer_calls_);
}

} // namespace toadstone::sim::detail
