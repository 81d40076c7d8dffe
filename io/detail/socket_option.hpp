// Options and addresses of sockets, with errors that name the peer.
#ifndef TOADSTONE_IO_DETAIL_SOCKET_OPTION_HPP
#define TOADSTONE_IO_DETAIL_SOCKET_OPTION_HPP

#include <toadstone/io/endpoint.hpp>

namespace toadstone::io::detail {

/// setsockopt(2) with an int. Errors: std::system_error, "<doing> <object>: ...".
void set_option(int fd, int level, int name, int value, const char* doing,
                const endpoint& object);

/// getsockname(2). Errors: as above.
[[nodiscard]] endpoint local_endpoint_of(int fd, const char* doing, const endpoint& object);

} // namespace toadstone::io::detail

#endif
