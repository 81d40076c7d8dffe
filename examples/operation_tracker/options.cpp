// The command line, by CLI11.
#include "options.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <map>
#include <string>

namespace tracker {
namespace {

void add_milliseconds(CLI::App& app, const char* name, std::chrono::milliseconds& value,
                      const char* what, bool may_be_zero = false) {
    // A day is as good as never here, and far from overflowing a clock.
    constexpr long longest = 24 * 3600 * 1000;
    app.add_option_function<long>(
           name, [&value](long given) { value = std::chrono::milliseconds(given); }, what)
        ->type_name("MS")
        ->check(CLI::Range(may_be_zero ? 0L : 1L, longest))
        ->default_str(std::to_string(value.count()));
}

} // namespace

bool parse_options(int argc, char** argv, options& chosen, int& exit_code) {
    CLI::App app("Tracks operations over HTTP: each moves through a state machine, and each "
                 "step is on the disk before it is confirmed.");
    app.option_defaults()->always_capture_default();
    app.add_option("--host", chosen.host, "Address to listen on");
    app.add_option("--port", chosen.port, "Port to listen on, 0 for any");
    app.add_option("--workers", chosen.workers, "Threads, 0 for one per processor");
    app.add_option("--journal,--log", chosen.journal, "File that keeps what happened");
    add_milliseconds(app, "--journal-wait", chosen.journal_wait,
                     "For another server that has the journal to end", true);
    app.add_option(
           "--when-journal-fails", chosen.on_failure,
           "What to do when the journal cannot be synced any more or is gone: read-only "
           "goes on with what is certain, exit drains and ends with code 74")
        ->transform(CLI::CheckedTransformer(
            std::map<std::string, when_journal_fails>{
                {"read-only", when_journal_fails::go_on_reading},
                {"exit", when_journal_fails::exit}},
            CLI::ignore_case))
        ->default_str("read-only");
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
    add_milliseconds(app, "--slow-sync", chosen.slow_sync,
                     "Makes every critical section last longer, to try interruptions", true);
    try {
        app.parse(argc, argv);
        return true;
    } catch (const CLI::ParseError& why) {
        exit_code = app.exit(why) == 0 ? 0 : 2;
        return false;
    }
}

} // namespace tracker
