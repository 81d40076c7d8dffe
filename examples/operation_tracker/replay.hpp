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
    std::size_t records = 0;
    std::uint64_t whole_bytes = 0; ///< of the journal, up to the end of the last whole record
    std::uint64_t last_bytes = 0;  ///< of these, the last record
    std::uint64_t torn_bytes = 0;  ///< behind it: an append that was cut in the middle
};

/// Reads a journal from `begin`, which is where a record begins, and makes happen in
/// `operations` what it says there.
///
/// Errors: std::runtime_error with path and line, or place, for what is no journal;
///     std::system_error. Some of it may have happened by then.
/// Cancellation: each read is a cancellation point; the journal is not changed.
[[nodiscard]] toadstone::task<replayed> replay(toadstone::io::file& journal, book& operations,
                                               std::uint64_t begin = 0);

/// Writes the last record of a journal again, in its place, and syncs. After a failed sync, of
/// a server that has ended since, Linux shows what was written and takes it for clean: to sync
/// alone would succeed, and leave it to be lost with the power.
///
/// Errors: as replay(). Cancellation: anywhere; the bytes are the same before and after.
[[nodiscard]] toadstone::task<> write_last_again(toadstone::io::file& journal,
                                                 const replayed& there);

} // namespace tracker

#endif
