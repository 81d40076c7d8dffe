// How tcp_stream::connect() goes about a host with several addresses.
#ifndef TOADSTONE_IO_CONNECT_OPTIONS_HPP
#define TOADSTONE_IO_CONNECT_OPTIONS_HPP

#include <toadstone/io/endpoint.hpp>

#include <chrono>

namespace toadstone::io {

class resolver;

/// How tcp_stream::connect() goes about it.
struct connect_options {
    /// Who finds the addresses; null: resolver::system(). Copied when connect() is called.
    const resolver* names = nullptr;
    /// v4 or v6 alone; none is both.
    endpoint::family of = endpoint::family::none;
    /// After so long without an answer the next address is tried beside the others.
    std::chrono::milliseconds attempt_delay{250};
    /// So long the addresses of IPv4 wait for those of IPv6 to be known.
    std::chrono::milliseconds resolution_delay{50};
};

} // namespace toadstone::io

#endif
