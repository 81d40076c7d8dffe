// Errors of system calls: operation, object and errno in one line.
#ifndef TOADSTONE_IO_DETAIL_ERROR_HPP
#define TOADSTONE_IO_DETAIL_ERROR_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <string_view>

namespace toadstone::io::detail {

/// Throws std::system_error (generic category) with what() such as
/// "read from 127.0.0.1:50412: Connection reset by peer".
/// `operation` ends with its preposition, if any; `error` is a positive errno.
[[noreturn]] void throw_io_error(std::string_view operation, std::string_view object,
                                 int error);

} // namespace toadstone::io::detail

#endif
