// What the operator may choose on the command line.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_OPTIONS_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_OPTIONS_HPP

#include "http/limits.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace cache {

/// What is done about a shard whose index somebody has left in the middle of a change.
enum class on_poison : unsigned char {
    terminate, ///< the process ends with the cause; whoever watches over it starts another
    ignore,    ///< it goes on with what is there, as with a lock that cannot be poisoned
    restore,   ///< the shard is made again of what is known to be good
};

struct options {
    options() { clients.max_body = std::size_t{1} << 20; }

    http::limits clients;
    unsigned workers = 0; ///< 0: one per processor
    std::string data = "documents";
    on_poison strategy = on_poison::restore;
    std::size_t shards = 16; ///< of a new cache; an old one has to have as many

    std::size_t max_quarantine = std::size_t{8} << 20; ///< bytes of all inputs with strikes

    std::chrono::milliseconds journal_wait{10000}; ///< for another server to let it go
    std::chrono::milliseconds disk_patience{3000}; ///< for a disk that refuses records

    /// Changed documents of a shard after which they are made part of its base: those that a
    /// restoration has to put into the index again.
    std::size_t compact_after = 256;
    /// Bytes of a shard's records after which it is saved as a snapshot.
    std::size_t snapshot_after = std::size_t{1} << 20;
    std::size_t segment_bytes = std::size_t{4} << 20; ///< of a journal's files
    /// Lines of a document after which an indexer lets others go first.
    std::size_t lines_per_turn = 64;

    /// Every so many-th indexer is cancelled in its section, as by a fault that nobody has
    /// thought of; 0: none.
    std::uint64_t kill_workers = 0;
    /// Where the epochs of journals come from; empty: std::random_device.
    std::function<std::uint64_t()> random{};
};

/// Reads the command line into `chosen`.
///
/// Returns: true to go on; false to exit with `exit_code`, after --help or a mistake that has
///     been explained.
[[nodiscard]] bool parse_options(int argc, char** argv, options& chosen, int& exit_code);

} // namespace cache

#endif
