// The part of a server's command line that is about its clients.
#ifndef TOADSTONE_EXAMPLES_HTTP_OPTIONS_HPP
#define TOADSTONE_EXAMPLES_HTTP_OPTIONS_HPP

#include "limits.hpp"

#include <chrono>

namespace CLI {
class App;
}

namespace http {

/// --host, --port, --max-body and so on. The values that are there become the defaults.
void add_limits(CLI::App& app, limits& chosen);

/// Reads the command line.
///
/// Returns: true to go on; false to exit with `exit_code`, after --help or a mistake that has
///     been explained.
[[nodiscard]] bool parse(CLI::App& app, int argc, char** argv, int& exit_code);

/// An option of so many milliseconds, up to a day.
void add_milliseconds(CLI::App& app, const char* name, std::chrono::milliseconds& value,
                      const char* what, bool may_be_zero = false);

} // namespace http

#endif
