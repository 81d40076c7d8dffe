// The slow-path system calls of a simulated world.
#include <toadstone/sim/kernel/state.hpp>

#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/sim/kernel/own_memory.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>

namespace toadstone::sim::detail {
namespace {

thread_local constinit world::state* current = nullptr;

int answer(int result) noexcept {
    if (result >= 0) return result;
    errno = -result;
    return -1;
}

// 0 and the object, or why it is none.
template <class T>
int find(int fd, std::shared_ptr<T>& found, int otherwise) {
    const auto any = current->find(fd);
    if (!any) return -EBADF;
    found = std::dynamic_pointer_cast<T>(any);
    return found ? 0 : otherwise;
}

int find_socket(int fd, std::shared_ptr<socket_object>& found) {
    return find(fd, found, -ENOTSOCK);
}

int make_socket(int domain, int type) {
    if (domain != AF_INET && domain != AF_INET6) return -EAFNOSUPPORT;
    if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM) return -EPROTONOSUPPORT;
    if (current->full()) return -EMFILE;
    return current->add(std::make_shared<socket_object>(*current, domain));
}

int bind_socket(int fd, const sockaddr* address, socklen_t length) {
    std::shared_ptr<socket_object> socket;
    if (const int error = find_socket(fd, socket)) return error;
    detail::address at;
    if (const int error = read_address(socket->family, address, length, at)) return error;
    return current->bind(socket, at);
}

int set_option(int fd, int level, int option, const void* value, socklen_t length) {
    std::shared_ptr<socket_object> socket;
    if (const int error = find_socket(fd, socket)) return error;
    if (length < sizeof(int)) return -EINVAL;
    int number = 0;
    std::memcpy(&number, value, sizeof number);
    if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) {
        if (socket->family != AF_INET6) return -ENOPROTOOPT;
        if (socket->own.port) return -EINVAL;
        socket->only_v6 = number != 0;
    }
    if (level != SOL_SOCKET) return 0;
    switch (option) {
    case SO_REUSEADDR:
        socket->reuse_address = number != 0;
        return 0;
    case SO_REUSEPORT:
        socket->reuse_port = number != 0;
        return 0;
    case SO_LINGER: {
        if (length < sizeof(linger)) return -EINVAL;
        linger wanted{};
        std::memcpy(&wanted, value, sizeof wanted);
        socket->aborts = wanted.l_onoff != 0 && wanted.l_linger == 0;
        return 0;
    }
    default:
        return 0;
    }
}

int tell_name(int fd, sockaddr* address, socklen_t* length) {
    std::shared_ptr<socket_object> socket;
    if (const int error = find_socket(fd, socket)) return error;
    *length = write_address(socket->family, socket->own, address, *length);
    return 0;
}

int tell_peer(int fd, sockaddr* address, socklen_t* length) {
    std::shared_ptr<socket_object> socket;
    if (const int error = find_socket(fd, socket)) return error;
    if (socket->now != socket_object::state::connected) return -ENOTCONN;
    *length = write_address(socket->family, socket->peer, address, *length);
    return 0;
}

// Only what adopting a descriptor asks for.
int tell_option(int fd, int level, int option, void* value, socklen_t* length) {
    std::shared_ptr<socket_object> socket;
    if (const int error = find_socket(fd, socket)) return error;
    if (level != SOL_SOCKET || *length < sizeof(int)) return -EINVAL;
    int number = 0;
    switch (option) {
    case SO_TYPE:
        number = SOCK_STREAM;
        break;
    case SO_ACCEPTCONN:
        number = socket->now == socket_object::state::listening;
        break;
    default:
        return -ENOPROTOOPT;
    }
    std::memcpy(value, &number, sizeof number);
    *length = sizeof number;
    return 0;
}

int make_pipe(int* ends, int flags) {
    if (flags & ~(O_CLOEXEC | O_NONBLOCK)) return -EINVAL;
    return current->make_pipe(ends, (flags & O_NONBLOCK) != 0);
}

// Sockets are always blocking, and files have no such thing.
int flags_of(int fd, int command, int flags) {
    const auto any = current->find(fd);
    if (!any) return -EBADF;
    auto* const end = dynamic_cast<pipe_object*>(any.get());
    const auto* const file = dynamic_cast<const file_object*>(any.get());
    switch (command) {
    case F_SETFL:
        if (end) end->nonblocking = (flags & O_NONBLOCK) != 0;
        return 0;
    case F_GETFL:
        if (end) {
            return (end->writes ? O_WRONLY : O_RDONLY) | (end->nonblocking ? O_NONBLOCK : 0);
        }
        if (!file) return O_RDWR;
        return (file->append ? O_APPEND : 0) |
               (file->readable ? (file->writable ? O_RDWR : O_RDONLY) : O_WRONLY);
    default:
        return -EINVAL;
    }
}

int resize(int fd, off_t size) {
    std::shared_ptr<file_object> file;
    if (const int error = find(fd, file, -EINVAL)) return error;
    if (!file->writable || size < 0) return -EINVAL;
    file->node->cached.resize(static_cast<std::size_t>(size));
    return 0;
}

// Only what io::file asks for: the whole file, without waiting.
int set_lock(int fd, int command, const struct flock& wanted) {
    std::shared_ptr<file_object> file;
    if (const int error = find(fd, file, -EINVAL)) return error;
    if (command != F_OFD_SETLK || wanted.l_pid != 0) return -EINVAL;
    if (wanted.l_whence != SEEK_SET || wanted.l_start != 0 || wanted.l_len != 0) return -EINVAL;
    switch (wanted.l_type) {
    case F_UNLCK:
        file->unlock();
        return 0;
    case F_RDLCK:
        if (!file->readable) return -EBADF;
        return file->lock(false) ? 0 : -EAGAIN;
    case F_WRLCK:
        if (!file->writable) return -EBADF;
        return file->lock(true) ? 0 : -EAGAIN;
    default:
        return -EINVAL;
    }
}

int list(int fd, void* records, unsigned size) {
    std::shared_ptr<file_object> folder;
    if (const int error = find(fd, folder, -ENOTDIR)) return error;
    return current->list(*folder, static_cast<std::byte*>(records), size);
}

void describe(const inode& node, bool folder, struct stat& about) {
    about = {};
    about.st_mode = folder ? S_IFDIR | 0755 : S_IFREG | 0644;
    about.st_size = static_cast<off_t>(node.cached.size());
    about.st_ino = reinterpret_cast<std::uintptr_t>(&node);
}

int describe_any(int fd, struct stat& about) {
    const auto any = current->find(fd);
    if (!any) return -EBADF;
    about = {};
    switch (any->type) {
    case object::kind::file: {
        const auto& file = static_cast<const file_object&>(*any);
        describe(*file.node, file.folder, about);
        break;
    }
    case object::kind::socket:
        about.st_mode = S_IFSOCK | 0777;
        break;
    case object::kind::pipe:
        about.st_mode = S_IFIFO | 0600;
        break;
    case object::kind::event:
        about.st_mode = 0600;
        break;
    }
    return 0;
}

constexpr toadstone::detail::system_calls simulated = {
    .socket = [](int domain, int type, int) -> int {
        const own_memory ours;
        return answer(make_socket(domain, type));
    },
    .bind = [](int fd, const sockaddr* address, socklen_t length) -> int {
        const own_memory ours;
        return answer(bind_socket(fd, address, length));
    },
    .listen = [](int fd, int backlog) -> int {
        const own_memory ours;
        std::shared_ptr<socket_object> socket;
        const int error = find_socket(fd, socket);
        return answer(error ? error : current->listen(socket, backlog));
    },
    .setsockopt = [](int fd, int level, int option, const void* value,
                     socklen_t length) -> int {
        const own_memory ours;
        return answer(set_option(fd, level, option, value, length));
    },
    .getsockname = [](int fd, sockaddr* address, socklen_t* length) -> int {
        const own_memory ours;
        return answer(tell_name(fd, address, length));
    },
    .getpeername = [](int fd, sockaddr* address, socklen_t* length) -> int {
        const own_memory ours;
        return answer(tell_peer(fd, address, length));
    },
    .getsockopt = [](int fd, int level, int option, void* value, socklen_t* length) -> int {
        const own_memory ours;
        return answer(tell_option(fd, level, option, value, length));
    },
    .pipe2 = [](int* ends, int flags) -> int {
        const own_memory ours;
        return answer(make_pipe(ends, flags));
    },
    .fcntl_flags = [](int fd, int command, int flags) -> int {
        const own_memory ours;
        return answer(flags_of(fd, command, flags));
    },
    .shutdown = [](int fd, int how) -> int {
        const own_memory ours;
        std::shared_ptr<socket_object> socket;
        const int error = find_socket(fd, socket);
        return answer(error ? error : current->shut_down(*socket, how));
    },
    .close = [](int fd) -> int {
        const own_memory ours;
        return answer(current->close(fd));
    },
    .fstat = [](int fd, struct stat* about) -> int {
        const own_memory ours;
        return answer(describe_any(fd, *about));
    },
    // Of files alone.
    .stat = [](const char* path, struct stat* about) -> int {
        const own_memory ours;
        const inode* const found = current->file(path);
        if (!found) return answer(-ENOENT);
        describe(*found, false, *about);
        return 0;
    },
    .ftruncate = [](int fd, off_t size) -> int {
        const own_memory ours;
        return answer(resize(fd, size));
    },
    .fcntl_lock = [](int fd, int command, struct flock* lock) -> int {
        const own_memory ours;
        return answer(set_lock(fd, command, *lock));
    },
    .getdents64 = [](int fd, void* records, unsigned size) -> int {
        const own_memory ours;
        return answer(list(fd, records, size));
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
