// The journal on the real kernel, by tasks of several workers. tests/sim/journal_test.cpp has
// the rest.
#include "journal/journal.hpp"

#include <toadstone/runtime.hpp>

#include <support/io.hpp>

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr int appenders = 6;
constexpr int records_each = 40;

/// What was acknowledged, by number.
struct acknowledgements {
    std::mutex lock;
    std::map<std::uint64_t, std::pair<journal::position, std::string>> all; // under the lock

    void add(const journal::position& at, std::string payload) {
        const std::lock_guard hold(lock);
        all.emplace(at.sequence, std::pair(at, std::move(payload)));
    }
    /// As long as it is known without a gap.
    std::pair<journal::position, std::string> state() {
        const std::lock_guard hold(lock);
        std::pair<journal::position, std::string> known;
        for (const auto& [sequence, each] : all) {
            if (sequence != known.first.sequence + 1) break;
            known.first = each.first;
            known.second += each.second + "\n";
        }
        return known;
    }
};

task<> appends(journal::journal& store, acknowledgements& told, int who) {
    for (int i = 0; i < records_each; ++i) {
        const std::string payload = std::to_string(who) + " " + std::to_string(i) + " " +
                                    std::string(static_cast<std::size_t>(i) * 11, 'x');
        const journal::position at = co_await store.append(1, payload);
        told.add(at, payload);
    }
}

task<> saves(journal::journal& store, acknowledgements& told) {
    for (int i = 0; i < 3; ++i) {
        auto [at, state] = told.state();
        co_await store.save_snapshot(at, std::move(state));
        co_await sleep_for(std::chrono::milliseconds(2));
    }
}

task<> lives(journal::options chosen, acknowledgements& told) {
    journal::journal store(std::move(chosen));
    const journal::contents found = co_await store.open();
    if (found.end.sequence != 0) throw std::runtime_error("it is not new");
    auto all = [&](task_scope& scope) -> task<> {
        for (int who = 0; who < appenders; ++who) {
            scope.spawn(appends(store, told, who),
                        {.where = placement::worker(static_cast<unsigned>(who))});
        }
        scope.spawn(saves(store, told), {.where = placement::worker(1)});
        co_return;
    };
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(store.run());
        co_await with_scope(all);
        store.close();
    };
    co_await with_scope(body);
    if (!store.failure().empty()) throw std::runtime_error(store.failure());
}

task<std::string> reads(journal::options chosen) {
    journal::journal store(std::move(chosen));
    journal::contents found = co_await store.open();
    for (const auto& each : found.records) found.state += each.payload + "\n";
    co_return found.state;
}

} // namespace

TEST_CASE("journal: S535: tasks of three workers append, and all of it is on the real disk") {
    const temporary_folder log;
    const temporary_folder states;
    journal::options chosen;
    chosen.folder = log.path();
    chosen.snapshots = states.path();
    chosen.segment_bytes = 16384;
    chosen.queue_bytes = 2048;
    acknowledgements told;
    runtime rt({.workers = 3});
    rt.block_on(lives(chosen, told));
    CHECK(told.all.size() == std::size_t{appenders} * records_each);
    CHECK(rt.block_on(reads(chosen)) == told.state().second);
}
