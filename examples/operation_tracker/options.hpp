// What the operator may choose on the command line.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPTIONS_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tracker {

enum class when_journal_fails : unsigned char { go_on_reading, exit };

struct options {
    std::string host = "127.0.0.1";
    std::uint16_t port = 8080;
    unsigned workers = 0; ///< 0: one per processor
    std::string journal = "operations.journal";

    /// Hosts that requests may name beside addresses, localhost and `host`; "*": all.
    std::vector<std::string> allowed_hosts{};
    when_journal_fails on_failure = when_journal_fails::go_on_reading;

    std::size_t max_connections = 4096;
    std::size_t max_per_address = 1024;              ///< of these; 0: no limit
    std::size_t max_header = 8192;                   ///< bytes of a request's head
    std::size_t max_body = 65536;                    ///< bytes
    std::size_t max_answers = std::size_t{16} << 20; ///< bytes of all answers under way

    std::chrono::milliseconds journal_wait{10000};    ///< for another server to let it go
    std::chrono::milliseconds header_timeout{5000};   ///< for a head, from its first byte on
    std::chrono::milliseconds idle_timeout{30000};    ///< from an answer to the next whole head
    std::chrono::milliseconds request_timeout{10000}; ///< for the body and the handling
    std::chrono::milliseconds drain_timeout{5000};    ///< for what is in flight at the end
    std::chrono::milliseconds slow_sync{0};           ///< added to every critical section
};

/// Reads the command line into `chosen`.
///
/// Returns: true to go on; false to exit with `exit_code`, after --help or a mistake that has
///     been explained.
[[nodiscard]] bool parse_options(int argc, char** argv, options& chosen, int& exit_code);

} // namespace tracker

#endif
