// The system calls beside the ring: the slow path of sockets and files, replaceable as a table.
#ifndef TOADSTONE_RUNTIME_URING_SYSTEM_CALLS_HPP
#define TOADSTONE_RUNTIME_URING_SYSTEM_CALLS_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace toadstone::detail {

/// Each entry behaves like the call that it is named after: -1, with errno, on failure.
struct system_calls {
    int (*socket)(int domain, int type, int protocol);
    int (*bind)(int fd, const sockaddr* address, socklen_t length);
    int (*listen)(int fd, int backlog);
    int (*setsockopt)(int fd, int level, int name, const void* value, socklen_t length);
    int (*getsockname)(int fd, sockaddr* address, socklen_t* length);
    int (*getpeername)(int fd, sockaddr* address, socklen_t* length);
    int (*getsockopt)(int fd, int level, int name, void* value, socklen_t* length);
    int (*pipe2)(int* ends, int flags);
    /// fcntl(2) for the flags of the open file: F_GETFL and F_SETFL.
    int (*fcntl_flags)(int fd, int command, int flags);
    int (*shutdown)(int fd, int how);
    int (*close)(int fd);
    int (*fstat)(int fd, struct stat* about);
    int (*stat)(const char* path, struct stat* about);
    int (*ftruncate)(int fd, off_t size);
    /// fcntl(2) for locks: F_OFD_SETLK alone is used, which never waits.
    int (*fcntl_lock)(int fd, int command, struct flock* lock);
    /// getdents64(2), which blocks: records of a folder, 0 bytes at its end.
    int (*getdents64)(int fd, void* records, unsigned size);
};

/// The table of this thread: the operating system's, unless a simulation runs here.
[[gnu::noinline]] const system_calls& system() noexcept;

/// Replaces this thread's table; null brings the operating system's back. Returns the one
/// before.
[[gnu::noinline]] const system_calls* replace_system(const system_calls* by) noexcept;

} // namespace toadstone::detail

#endif
