// What the operator may choose on the command line.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPTIONS_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPTIONS_HPP

#include "http/limits.hpp"

#include <chrono>
#include <string>

namespace tracker {

enum class when_journal_fails : unsigned char { go_on_reading, exit };

struct options {
    http::limits clients{};
    unsigned workers = 0; ///< 0: one per processor
    std::string journal = "operations.journal";

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
