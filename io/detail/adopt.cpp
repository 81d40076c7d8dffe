// Looking at a descriptor.
#include <toadstone/io/detail/adopt.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <cerrno>
#include <stdexcept>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace toadstone::io::detail {
namespace {

const char* kind_of(unsigned mode) noexcept {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "folder";
    case S_IFIFO:
        return "pipe";
    case S_IFSOCK:
        return "socket";
    case S_IFCHR:
        return "character device";
    case S_IFBLK:
        return "block device";
    default:
        return "descriptor without a kind"; // an eventfd, an epoll set, a process
    }
}

} // namespace

adoption::adoption(int fd, const char* as) : fd_(fd), as_(as) {
    struct stat about = {};
    if (toadstone::detail::system().fstat(fd, &about) != 0) fail(errno);
    mode_ = about.st_mode;
}

std::string adoption::describe() const {
    std::string text(kind_of(mode_));
    text += ' ';
    text += std::to_string(fd_);
    return text;
}

void adoption::fail(int error) const {
    throw_io_error("adopt", "descriptor " + std::to_string(fd_) + " as " + as_, error);
}

void adoption::refuse() const {
    refuse("it is a " + std::string(kind_of(mode_)));
}

void adoption::refuse(const std::string& why) const {
    throw std::invalid_argument("adopt descriptor " + std::to_string(fd_) + " as " + as_ +
                                ": " + why);
}

int adoption::flags() const {
    const int flags = toadstone::detail::system().fcntl_flags(fd_, F_GETFL, 0);
    if (flags < 0) fail(errno);
    return flags;
}

void adoption::check_access(bool to_write) const {
    const int access = flags() & O_ACCMODE;
    if (access == O_RDWR || access == (to_write ? O_WRONLY : O_RDONLY)) return;
    refuse(to_write ? "it is not open for writing" : "it is not open for reading");
}

void adoption::check_stream_socket() const {
    int type = 0;
    socklen_t length = sizeof type;
    const auto& calls = toadstone::detail::system();
    if (calls.getsockopt(fd_, SOL_SOCKET, SO_TYPE, &type, &length) != 0) fail(errno);
    if (type != SOCK_STREAM) refuse("it is a socket without streams");
    int listens = 0;
    length = sizeof listens;
    if (calls.getsockopt(fd_, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0) fail(errno);
    if (listens) refuse("it is a socket that listens");
}

} // namespace toadstone::io::detail
