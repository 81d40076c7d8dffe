// Moving a descriptor up.
#include <toadstone/runtime/detail/above_standard.hpp>

#include <fcntl.h>
#include <unistd.h>

namespace toadstone::detail {

int above_standard(int fd) noexcept {
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    const int other = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (other < 0) return fd; // no number is left
    ::close(fd);
    return other;
}

} // namespace toadstone::detail
