// Keeping what the library opens away from standard input, output and error.
#ifndef TOADSTONE_RUNTIME_DETAIL_ABOVE_STANDARD_HPP
#define TOADSTONE_RUNTIME_DETAIL_ABOVE_STANDARD_HPP

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::detail {

/// A descriptor of the library that is 0, 1 or 2, because the process was started with that one
/// closed, becomes another one, and the old number is free again: whoever writes to standard
/// error must not write into a ring, an eventfd or a client's socket. Any other, and one for
/// which there is no other number, comes back as it is.
[[nodiscard]] int above_standard(int fd) noexcept;

} // namespace toadstone::detail

#endif
