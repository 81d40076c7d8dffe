// setsockopt(2) and getsockname(2).
#include <toadstone/io/detail/socket_option.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/socket_address.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <cerrno>

#include <sys/socket.h>

namespace toadstone::io::detail {

void set_option(int fd, int level, int name, int value, const char* doing,
                const endpoint& object) {
    if (toadstone::detail::system().setsockopt(fd, level, name, &value, sizeof value) != 0) {
        throw_io_error(doing, object.to_string(), errno);
    }
}

endpoint local_endpoint_of(int fd, const char* doing, const endpoint& object) {
    socket_address address;
    if (toadstone::detail::system().getsockname(fd, static_cast<sockaddr*>(address.data()),
                                                &address.length()) != 0) {
        throw_io_error(doing, object.to_string(), errno);
    }
    return address.to_endpoint();
}

} // namespace toadstone::io::detail
