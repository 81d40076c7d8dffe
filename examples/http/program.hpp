// What the program around a server has to do: its runtime, descriptors and signals.
#ifndef TOADSTONE_EXAMPLES_HTTP_PROGRAM_HPP
#define TOADSTONE_EXAMPLES_HTTP_PROGRAM_HPP

#include "limits.hpp"

#include <toadstone/io/endpoint.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/loop.hpp>
#include <toadstone/runtime/task.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace http {

/// Each connection is a descriptor. What the process starts with is often far less than it may
/// have.
///
/// Returns: a sentence for the operator if it stays less than `chosen` needs, else nothing.
[[nodiscard]] std::string raise_descriptor_limit(const limits& chosen);

/// A whole program behind its command line: `body` in a runtime of so many workers, 0 for one
/// for each processor. `name` comes before what it fails with.
///
/// Returns: the exit code of `body`; 1 if it fails.
[[nodiscard]] int run_program(const char* name, unsigned workers,
                              std::function<toadstone::task<int>(toadstone::runtime&)> body);

/// Awaits `serve()`, and makes the request of `stop` at SIGTERM or SIGINT. A second signal ends
/// the process as usual.
///
/// Errors: as serve(). Cancellation: as serve().
[[nodiscard]] toadstone::task<> serve_until_signal(std::function<toadstone::task<>()> serve,
                                                   toadstone::cancellation_source& stop,
                                                   std::function<void(std::string_view)> log);

/// "listening on 127.0.0.1:8080", for whoever has started the program.
void print_listening(const toadstone::io::endpoint& where);

/// Writes to stderr `2026-05-04T11:22:33.123Z task 17 'conn 127.0.0.1:50412': event`. Control
/// characters in the event, which may quote a client, are replaced; toadstone::printable() cuts
/// what is quoted.
void log_of_task(std::string_view event) noexcept;

} // namespace http

#endif
