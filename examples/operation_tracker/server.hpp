// The server: the journal, the store and the connections, from the start until the last one.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_SERVER_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_SERVER_HPP

#include "options.hpp"

#include <toadstone/io/endpoint.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <functional>

namespace tracker {

/// What a server needs of the program around it. Outlives the server.
struct surroundings {
    std::function<std::size_t()> live_tasks;                          ///< for the metrics page
    std::function<void(const toadstone::io::endpoint&)> on_listening; ///< from now on it serves
    std::function<void()>
        on_journal_failed{}; ///< once, on any worker: nothing changes any more
};

/// Takes the port, then the journal, serves until `stop`, and drains. `stop` also ends the
/// waiting for the journal and the reading of it.
///
/// Errors: std::system_error, also for a port that is in use; std::invalid_argument for a host
///     that is no address; std::runtime_error for a journal that is none, or another server's.
/// Cancellation: may be cancelled anywhere; what was acknowledged is on the disk.
[[nodiscard]] toadstone::task<> operate(const options& chosen, const surroundings& around,
                                        toadstone::cancellation_token stop);

} // namespace tracker

#endif
