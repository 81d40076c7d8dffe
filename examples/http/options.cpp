// Options of CLI11.
#include "options.hpp"

#include <CLI/CLI.hpp>

#include <string>

namespace http {

void add_milliseconds(CLI::App& app, const char* name, std::chrono::milliseconds& value,
                      const char* what, bool may_be_zero) {
    // A day is as good as never here, and far from overflowing a clock.
    constexpr long longest = 24 * 3600 * 1000;
    app.add_option_function<long>(
           name, [&value](long given) { value = std::chrono::milliseconds(given); }, what)
        ->type_name("MS")
        ->check(CLI::Range(may_be_zero ? 0L : 1L, longest))
        ->default_str(std::to_string(value.count()));
}

void add_limits(CLI::App& app, limits& chosen) {
    app.add_option("--host", chosen.host, "Address to listen on");
    app.add_option("--port", chosen.port, "Port to listen on, 0 for any");
    app.add_option(
        "--allow-host", chosen.allowed_hosts,
        "A name that clients may use for this server, beside addresses, localhost and "
        "that of --host; * allows all. May be repeated");
    app.add_option("--max-connections", chosen.max_connections,
                   "When there are so many, the idlest makes room for the next")
        ->check(CLI::PositiveNumber);
    app.add_option("--max-per-address", chosen.max_per_address,
                   "Of these, from one IPv4 address or one IPv6 /64 network; 0 for any number");
    app.add_option(
           "--max-answers", chosen.max_answers,
           "Bytes that all answers under way may need together; what would need more is "
           "answered 503")
        ->check(CLI::PositiveNumber);
    app.add_option("--max-header", chosen.max_header, "Bytes of a request's head")
        ->check(CLI::Range(256, 1 << 20));
    app.add_option("--max-body", chosen.max_body, "Bytes of a request's body")
        ->check(CLI::Range(1, 1 << 30));
    add_milliseconds(app, "--header-timeout", chosen.header_timeout,
                     "For a whole head, from its first byte on");
    add_milliseconds(app, "--idle-timeout", chosen.idle_timeout,
                     "From the connection, or from an answer, to the next whole head");
    add_milliseconds(app, "--request-timeout", chosen.request_timeout,
                     "For a body and the handling; again for the answer");
    add_milliseconds(app, "--drain-timeout", chosen.drain_timeout,
                     "For requests in flight after SIGTERM or SIGINT");
}

bool parse(CLI::App& app, int argc, char** argv, int& exit_code) {
    try {
        app.parse(argc, argv);
        return true;
    } catch (const CLI::ParseError& why) {
        exit_code = app.exit(why) == 0 ? 0 : 2;
        return false;
    }
}

} // namespace http
