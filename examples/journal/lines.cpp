// Lines from standard input, kept in a journal: each is printed when it is on the disk.
//
// Shows: a program around a journal. Lines are appended by a task each, so that those that come
// together share a sync; what has been appended without a gap is its state, of which it makes
// a snapshot now and then. Killed at any time, it finds every line that it has printed.
//
//     $ mkdir log states
//     $ printf 'one\ntwo\n' | journal_lines log states
//     found 0 lines
//     1 one
//     2 two
//     $ printf 'three\n' | journal_lines log states
//     found 2 lines
//     3 three
#include "journal.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace {

using namespace toadstone;

constexpr std::size_t most_at_once = 32;
constexpr std::uint64_t lines_per_snapshot = 100;

// What the lines amount to: here, all of them.
struct state {
    std::string text;
    journal::position end; // what it stands for
    std::map<std::uint64_t, std::pair<journal::position, std::string>> ahead;

    void add(const journal::position& at, std::string line) {
        ahead.emplace(at.sequence, std::pair(at, std::move(line)));
        for (auto next = ahead.begin(); next != ahead.end(); next = ahead.erase(next)) {
            if (next->first != end.sequence + 1) break;
            end = next->second.first;
            text += next->second.second + "\n";
        }
    }
};

// The line is in the journal and in the state, or in neither: hence the shield.
task<> keep(journal::journal& store, state& all, std::string line, sync::semaphore::permit) {
    const journal::position at = co_await shield(store.append(1, line));
    std::printf("%llu %s\n", static_cast<unsigned long long>(at.sequence), line.c_str());
    std::fflush(stdout);
    all.add(at, std::move(line));
    if (at.sequence % lines_per_snapshot != 0) co_return;
    co_await store.save_snapshot(all.end, all.text);
}

task<> read_lines(journal::journal& store, state& all) {
    io::pipe_reader input = io::standard_input();
    io::buffered_reader lines(input);
    sync::semaphore free(most_at_once);
    auto body = [&](task_scope& scope) -> task<> {
        std::optional<std::string> line = co_await lines.read_line();
        while (line) {
            auto permit = co_await free.acquire();
            scope.spawn(keep(store, all, std::move(*line), std::move(permit)));
            line = co_await lines.read_line();
        }
    };
    co_await with_scope(body);
}

task<> keep_lines(journal::options chosen) {
    journal::journal store(std::move(chosen));
    journal::contents found = co_await store.open();
    for (const auto& each : found.notes) std::fprintf(stderr, "%s\n", each.c_str());
    state all{std::move(found.state), found.state_at, {}};
    for (auto& each : found.records) all.text += each.payload + "\n";
    all.end = found.end;
    std::printf("found %llu lines\n", static_cast<unsigned long long>(all.end.sequence));
    std::fflush(stdout);
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(store.run(), {.name = "journal"});
        co_await read_lines(store, all);
        store.close();
    };
    co_await with_scope(body);
}

task<int> guarded(journal::options chosen) {
    int code = 1;
    try {
        co_await keep_lines(std::move(chosen));
        code = 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "journal_lines: %s\n", error.what());
    }
    co_return code;
}

} // namespace

int main(int count, char** values) {
    if (count != 3) {
        std::fputs("usage: journal_lines FOLDER SNAPSHOTS\n", stderr);
        return 2;
    }
    journal::options chosen;
    chosen.folder = values[1];
    chosen.snapshots = values[2];
    chosen.segment_bytes = 65536; // small ones, to see some of them
    return run(guarded(std::move(chosen)), {.workers = 1});
}
