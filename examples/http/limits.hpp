// What a client may take: time, memory and connections.
#ifndef TOADSTONE_EXAMPLES_HTTP_LIMITS_HPP
#define TOADSTONE_EXAMPLES_HTTP_LIMITS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace http {

/// Where a server listens, and what it lets its clients do.
struct limits {
    std::string host = "127.0.0.1";
    std::uint16_t port = 8080;
    /// Hosts that requests may name beside addresses, localhost and `host`; "*": all.
    std::vector<std::string> allowed_hosts{};

    std::size_t max_connections = 4096;
    std::size_t max_per_address = 1024;              ///< of these; 0: no limit
    std::size_t max_header = 8192;                   ///< bytes of a request's head
    std::size_t max_body = 65536;                    ///< bytes
    std::size_t max_answers = std::size_t{16} << 20; ///< bytes of all answers under way

    std::chrono::milliseconds header_timeout{5000};   ///< for a head, from its first byte on
    std::chrono::milliseconds idle_timeout{30000};    ///< from an answer to the next whole head
    std::chrono::milliseconds request_timeout{10000}; ///< for the body and the handling
    std::chrono::milliseconds drain_timeout{5000};    ///< for what is in flight at the end
};

} // namespace http

#endif
