// SIGPIPE, which some writes raise and no task wants.
#ifndef TOADSTONE_RUNTIME_DETAIL_SIGPIPE_HPP
#define TOADSTONE_RUNTIME_DETAIL_SIGPIPE_HPP

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::detail {

/// Blocks SIGPIPE for this thread whenever it runs tasks, from now on: for writes that have no
/// flag against it, as those to pipes, and those of other libraries.
[[gnu::noinline]] void block_sigpipe() noexcept;

/// As long as a thread runs tasks in the middle of what else it does: afterwards it takes the
/// signal again if it did before, and what tasks have raised is taken back. Costs a system call
/// only where block_sigpipe() has been called.
class sigpipe_lent {
public:
    sigpipe_lent() noexcept;
    ~sigpipe_lent();
    sigpipe_lent(const sigpipe_lent&) = delete;
    sigpipe_lent& operator=(const sigpipe_lent&) = delete;
};

} // namespace toadstone::detail

#endif
