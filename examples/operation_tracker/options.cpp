// The command line, by CLI11.
#include "options.hpp"

#include "http/options.hpp"

#include <CLI/CLI.hpp>

#include <map>
#include <string>

namespace tracker {
bool parse_options(int argc, char** argv, options& chosen, int& exit_code) {
    CLI::App app("Tracks operations over HTTP: each moves through a state machine, and each "
                 "step is on the disk before it is confirmed.");
    app.option_defaults()->always_capture_default();
    http::add_limits(app, chosen.clients);
    app.add_option("--workers", chosen.workers, "Threads, 0 for one per processor");
    app.add_option("--journal,--log", chosen.journal, "File that keeps what happened");
    http::add_milliseconds(app, "--journal-wait", chosen.journal_wait,
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
    http::add_milliseconds(app, "--slow-sync", chosen.slow_sync,
                           "Makes every critical section last longer, to try interruptions",
                           true);
    try {
        app.parse(argc, argv);
        return true;
    } catch (const CLI::ParseError& why) {
        exit_code = app.exit(why) == 0 ? 0 : 2;
        return false;
    }
}

} // namespace tracker
