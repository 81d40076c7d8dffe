// would_deadlock: what a task gets that asks for a lock which it holds itself.
#ifndef TOADSTONE_SYNC_WOULD_DEADLOCK_HPP
#define TOADSTONE_SYNC_WOULD_DEADLOCK_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <string_view>
#include <system_error>

namespace toadstone::sync {

/// Thrown when a task, or a plain thread, asks for a lock that it holds, or that is held by
/// what waits for it: at a boundary (with_timeout, when_any, shield, a scope) or in block_on().
/// Sibling branches queue; so does a task that is only joined, whose joiner may give up. code()
/// is std::errc::resource_deadlock_would_occur; what() names the mutex and who holds it.
///
/// Poisoning: one that escapes a section poisons it, like any exception.
class would_deadlock : public std::system_error {
public:
    /// As the library throws it.
    explicit would_deadlock(std::string_view mutex_name,
                            std::string_view holder = "the task that asks for it");
};

} // namespace toadstone::sync

#endif
