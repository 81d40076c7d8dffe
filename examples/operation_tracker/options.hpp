// What the operator may choose on the command line.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPTIONS_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPTIONS_HPP

#include "http/limits.hpp"

#include <chrono>
#include <cstddef>
#include <string>

namespace tracker {

enum class when_journal_fails : unsigned char { go_on_reading, exit };
enum class commit : unsigned char { together, each };

struct options {
    http::limits clients{};
    unsigned workers = 0;                       ///< 0: one per processor
    std::string journal = "operations.journal"; ///< a folder, made if it is not there
    std::string snapshots{};                    ///< another folder for these; it is there
    std::string former{};                       ///< a file: taken over into a new journal
    /// A snapshot is made when the records behind the one before come to so much, and to as
    /// much as that one.
    std::size_t snapshot_bytes = std::size_t{4} << 20;
    std::size_t segment_bytes = std::size_t{4} << 20;
    commit how = commit::together; ///< of the records that wait

    when_journal_fails on_failure = when_journal_fails::go_on_reading;

    std::chrono::milliseconds journal_wait{10000}; ///< for another server to let it go
    std::chrono::milliseconds slow_sync{0};        ///< added to every critical section
};

/// Reads the command line into `chosen`.
///
/// Returns: true to go on; false to exit with `exit_code`, after --help or a mistake that has
///     been explained.
[[nodiscard]] bool parse_options(int argc, char** argv, options& chosen, int& exit_code);

} // namespace tracker

#endif
