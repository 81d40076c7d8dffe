// Writing to what nobody reads, without a signal.
#ifndef TOADSTONE_IO_DETAIL_NO_SIGPIPE_HPP
#define TOADSTONE_IO_DETAIL_NO_SIGPIPE_HPP

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::io::detail {

/// Blocks SIGPIPE for this thread, for as long as it runs tasks: for writes that have no flag
/// against it, as those to pipes, and those of other libraries.
[[gnu::noinline]] void block_sigpipe() noexcept;

} // namespace toadstone::io::detail

#endif
