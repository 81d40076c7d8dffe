// Replaying the journal: the book as the disk knows it.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_REPLAY_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_REPLAY_HPP

#include "book.hpp"

#include <toadstone/io/file.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <cstdint>

namespace tracker {

struct replayed {
    book operations;
    std::size_t records = 0;
    std::uint64_t whole_bytes = 0; ///< up to the end of the last whole record
    std::uint64_t last_bytes = 0;  ///< of these, the last record
    std::uint64_t torn_bytes = 0;  ///< behind it: an append that was cut in the middle
};

/// Reads a journal from its beginning.
///
/// Errors: std::runtime_error with path and line for what is no journal; std::system_error.
/// Cancellation: each read is a cancellation point; nothing is changed.
[[nodiscard]] toadstone::task<replayed> replay(toadstone::io::file& journal);

/// Writes the last record of a journal again, in its place, and syncs. After a failed sync, of
/// a server that has ended since, Linux shows what was written and takes it for clean: to sync
/// alone would succeed, and leave it to be lost with the power.
///
/// Errors: as replay(). Cancellation: anywhere; the bytes are the same before and after.
[[nodiscard]] toadstone::task<> write_last_again(toadstone::io::file& journal);

} // namespace tracker

#endif
