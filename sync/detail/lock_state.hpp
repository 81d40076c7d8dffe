// How a lock says, for logs, what state it is in.
#ifndef TOADSTONE_SYNC_DETAIL_LOCK_STATE_HPP
#define TOADSTONE_SYNC_DETAIL_LOCK_STATE_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/poison_cause.hpp>

#include <cstddef>
#include <string>

namespace toadstone::sync::detail {

/// "mutex 'accounts', held by task 7, 2 wait, poisoned: ...". `subject`: what the text of a
/// cause begins with, too.
[[nodiscard, gnu::cold]] std::string lock_state(const std::string& subject,
                                                const std::string& use, std::size_t waiters,
                                                const poison_cause& cause);

} // namespace toadstone::sync::detail

#endif
