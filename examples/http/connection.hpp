// A connection: requests from one client, one after the other, each within its limits.
#ifndef TOADSTONE_EXAMPLES_HTTP_CONNECTION_HPP
#define TOADSTONE_EXAMPLES_HTTP_CONNECTION_HPP

#include "site.hpp"

#include <toadstone/io/serve.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/task.hpp>

namespace http {

/// Serves a client until it leaves, misbehaves, falls silent, or the server drains or has to
/// make room for another.
///
/// Errors: std::system_error when the connection breaks; nothing is left to be done then.
/// Cancellation: may be cancelled anywhere; work under way is cut, and what it left is seen to.
[[nodiscard]] toadstone::task<> serve_client(site& all, toadstone::io::tcp_stream stream,
                                             toadstone::cancellation_token draining,
                                             toadstone::io::connection_place& place);

} // namespace http

#endif
