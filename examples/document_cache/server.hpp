// The server: the data, the store and the connections, from the start until the last one.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_SERVER_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_SERVER_HPP

#include "options.hpp"

#include <toadstone/io/endpoint.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <functional>

namespace cache {

/// What a server needs of the program around it. Outlives the server.
struct surroundings {
    std::function<std::size_t()> live_tasks;                          ///< for the metrics page
    std::function<void(const toadstone::io::endpoint&)> on_listening; ///< from now on it serves
    std::function<void(const toadstone::poison_cause&)> on_fatal{};   ///< see listeners
};

/// Takes the port, then the data, serves until `stop`, and drains.
///
/// Errors: as http::serve() and store::open().
/// Cancellation: may be cancelled anywhere; what was acknowledged is on the disk.
[[nodiscard]] toadstone::task<> operate(const options& chosen, const surroundings& around,
                                        toadstone::cancellation_token stop);

} // namespace cache

#endif
