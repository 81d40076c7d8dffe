// The operating system's own table, and the thread's choice.
#include <toadstone/runtime/uring/system_calls.hpp>

#include <utility>

#include <sys/syscall.h>
#include <unistd.h>

namespace toadstone::detail {
namespace {

constexpr system_calls operating_system = {
    .socket = ::socket,
    .bind = [](int fd, const sockaddr* address,
               socklen_t length) { return ::bind(fd, address, length); },
    .listen = ::listen,
    .setsockopt = ::setsockopt,
    .getsockname = [](int fd, sockaddr* address,
                      socklen_t* length) { return ::getsockname(fd, address, length); },
    .getpeername = [](int fd, sockaddr* address,
                      socklen_t* length) { return ::getpeername(fd, address, length); },
    .getsockopt = ::getsockopt,
    .pipe2 = ::pipe2,
    .fcntl_flags = [](int fd, int command, int flags) { return ::fcntl(fd, command, flags); },
    .shutdown = ::shutdown,
    .close = ::close,
    .fstat = [](int fd, struct stat* about) { return ::fstat(fd, about); },
    .stat = [](const char* path, struct stat* about) { return ::stat(path, about); },
    .ftruncate = ::ftruncate,
    .fcntl_lock = [](int fd, int command,
                     struct flock* lock) { return ::fcntl(fd, command, lock); },
    .getdents64 =
        [](int fd, void* records, unsigned size) {
            return static_cast<int>(::syscall(SYS_getdents64, fd, records, size));
        },
};

thread_local constinit const system_calls* replaced = nullptr;

} // namespace

const system_calls& system() noexcept {
    return replaced ? *replaced : operating_system;
}

const system_calls* replace_system(const system_calls* by) noexcept {
    return std::exchange(replaced, by);
}

} // namespace toadstone::detail
