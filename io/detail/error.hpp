// Errors of system calls, and of tasks that get in each other's way, in one line.
#ifndef TOADSTONE_IO_DETAIL_ERROR_HPP
#define TOADSTONE_IO_DETAIL_ERROR_HPP

#include <string_view>

namespace toadstone::io::detail {

/// Throws std::system_error (generic category) with what() such as
/// "read from 127.0.0.1:50412: Connection reset by peer".
/// `operation` ends with its preposition, if any; `error` is a positive errno.
[[noreturn]] void throw_io_error(std::string_view operation, std::string_view object,
                                 int error);

/// Throws std::logic_error: "read from 127.0.0.1:50412: another task reads from it, and one at
/// a time may". `what` is what the other does: "reads from it".
[[noreturn]] void throw_in_use(std::string_view operation, std::string_view object,
                               std::string_view what);

} // namespace toadstone::io::detail

#endif
