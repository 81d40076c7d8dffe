// A server of HTTP/1.1, from its port on until the last connection.
#ifndef TOADSTONE_EXAMPLES_HTTP_SERVER_HPP
#define TOADSTONE_EXAMPLES_HTTP_SERVER_HPP

#include "site.hpp"

#include <toadstone/io/endpoint.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/task.hpp>

#include <functional>

namespace http {

/// Takes the port, awaits `prepare`, serves until `stop`, and drains. Who connects before
/// `prepare` has ended waits.
///
/// Errors: std::system_error, also for a port that is in use; std::invalid_argument for a host
///     that is no address; what `prepare` throws.
/// Cancellation: may be cancelled anywhere.
[[nodiscard]] toadstone::task<>
serve(site& all, std::function<toadstone::task<>(const toadstone::io::endpoint&)> prepare,
      toadstone::cancellation_token stop);

} // namespace http

#endif
