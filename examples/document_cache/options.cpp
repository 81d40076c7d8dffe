// The command line, with CLI11.
#include "options.hpp"

#include "http/options.hpp"

#include <CLI/CLI.hpp>

#include <map>
#include <string>

namespace cache {

bool parse_options(int argc, char** argv, options& chosen, int& exit_code) {
    CLI::App app("Keeps documents and finds them by their words, over HTTP. An index that was "
                 "left in the middle of a change is noticed, and made again.");
    app.option_defaults()->always_capture_default();
    http::add_limits(app, chosen.clients);
    app.add_option("--workers", chosen.workers, "Threads, 0 for one per processor");
    app.add_option("--data", chosen.data, "Folder with the journals; made if it is not there");
    app.add_option("--shards", chosen.shards, "Parts of new data")->check(CLI::Range(1, 99));
    app.add_option("--on-poison", chosen.strategy,
                   "What to do about an index that was left in the middle of a change: restore "
                   "it; ignore that; terminate, with code 70")
        ->transform(CLI::CheckedTransformer(
            std::map<std::string, on_poison>{{"terminate", on_poison::terminate},
                                             {"ignore", on_poison::ignore},
                                             {"restore", on_poison::restore}},
            CLI::ignore_case))
        ->default_str("restore");
    http::add_milliseconds(app, "--journal-wait", chosen.journal_wait,
                           "For another server that has the data to end", true);
    http::add_milliseconds(app, "--disk-patience", chosen.disk_patience,
                           "How long a change is tried again when the disk refuses it", true);
    app.add_option("--compact-after", chosen.compact_after,
                   "Changed documents of a shard until they become part of its base");
    app.add_option("--snapshot-after", chosen.snapshot_after,
                   "Bytes of a shard's journal until it is saved as a snapshot");
    app.add_option("--lines-per-turn", chosen.lines_per_turn,
                   "Lines of a document until others have their turn")
        ->check(CLI::Range(1, 1000000));
    app.add_option("--kill-indexers", chosen.kill_workers,
                   "Cancels every so many-th task in the middle of an index, to try what comes "
                   "of it; 0: none");
    return http::parse(app, argc, argv, exit_code);
}

} // namespace cache
