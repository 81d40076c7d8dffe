// What the program around a server has to do: descriptors and signals.
#ifndef TOADSTONE_EXAMPLES_HTTP_PROGRAM_HPP
#define TOADSTONE_EXAMPLES_HTTP_PROGRAM_HPP

#include "limits.hpp"

#include <toadstone/io/signal_set.hpp>
#include <toadstone/runtime/cancel.hpp>
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

/// Asks for a shutdown at the first signal. The set is gone then, so that a second one ends the
/// process as usual.
[[nodiscard]] toadstone::task<> stop_on_signal(toadstone::io::signal_set signals,
                                               toadstone::cancellation_source& stop,
                                               std::function<void(std::string_view)> log);

/// Writes to stderr `2026-05-04T11:22:33.123Z task 17 'conn 127.0.0.1:50412': event`. Control
/// characters in the event, which may quote a client, are replaced; toadstone::printable() cuts
/// what is quoted.
void log_of_task(std::string_view event) noexcept;

} // namespace http

#endif
