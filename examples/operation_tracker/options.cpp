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
    app.add_option("--journal,--log", chosen.journal,
                   "Folder that keeps what happened, made if it is not there");
    app.add_option("--snapshots", chosen.snapshots,
                   "Another folder for snapshots, which is there, perhaps on another volume");
    app.add_option("--import", chosen.former,
                   "File: a journal of the former format, to be taken over into a new one");
    app.add_option("--snapshot-bytes", chosen.snapshot_bytes,
                   "A snapshot is made when the records behind the one before come to so "
                   "much, and to as much as that one")
        ->check(CLI::PositiveNumber);
    app.add_option("--commit", chosen.how,
                   "How records are synced: all that wait together, or each by itself, to "
                   "see the difference")
        ->transform(CLI::CheckedTransformer(
            std::map<std::string, commit>{{"together", commit::together},
                                          {"each", commit::each}},
            CLI::ignore_case))
        ->default_str("together");
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
    return http::parse(app, argc, argv, exit_code);
}

} // namespace tracker
