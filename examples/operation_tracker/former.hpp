// The former journal of a tracker: a file of lines. Read to be taken over.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_FORMER_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_FORMER_HPP

#include "operation.hpp"

#include <toadstone/runtime/task.hpp>

#include <cstdint>
#include <map>
#include <string>

namespace tracker {

struct former_journal {
    std::map<operation_id, operation> operations;
    std::uint64_t torn_bytes = 0; ///< at its end: an append that was cut in the middle
};

/// Reads one, and changes nothing.
///
/// Errors: std::runtime_error with path and line for what is none, or another server's;
///     std::system_error.
/// Cancellation: each read is a cancellation point.
[[nodiscard]] toadstone::task<former_journal> read_former(std::string path);

} // namespace tracker

#endif
