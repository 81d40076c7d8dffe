// What the journal of a tracker holds: records of what happened to operations, and snapshots.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_HISTORY_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_HISTORY_HPP

#include "book.hpp"
#include "operation.hpp"
#include "operation_json.hpp"

#include "journal/recovery.hpp"

#include <toadstone/runtime/task.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace tracker {

/// Types of records.
enum class record_type : std::uint32_t {
    change = 1, ///< {"id":..., "name":...} or {"id":..., "event":..., "note":...}
    import = 2, ///< a snapshot that stands for it has what a former journal said
};

/// The operation as a record leaves it: while it happens and when it is read again.
///
/// Errors: std::runtime_error for one that does not fit; illegal_move is one.
[[nodiscard]] operation after(const std::optional<operation>& before,
                              const journal_record& what);

/// Reads what open() has found into an empty book, a part at a time.
///
/// Errors: std::runtime_error with folder and record for what is no journal of a tracker.
/// Cancellation: a cancellation point now and then.
[[nodiscard]] toadstone::task<> read_history(book& into, const journal::contents& found,
                                             std::string folder);

} // namespace tracker

#endif
