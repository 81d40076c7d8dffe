// Which tasks a worker has, for the report of a shutdown.
#ifndef TOADSTONE_RUNTIME_URING_LEFTOVERS_HPP
#define TOADSTONE_RUNTIME_URING_LEFTOVERS_HPP

#include <toadstone/runtime/loop.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <vector>

namespace toadstone::detail {

/// Asks the worker, and looks from outside if it does not answer within a second.
[[nodiscard]] std::vector<leftover_task> leftovers_of(worker& whom);
/// Of a worker that no thread runs just now.
[[nodiscard]] std::vector<leftover_task> leftovers_at_rest(worker& whom);

} // namespace toadstone::detail

#endif
