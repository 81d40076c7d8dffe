// A journal inside a scenario: tasks that append, and a witness of what was promised.
#ifndef TOADSTONE_TESTS_SUPPORT_JOURNAL_HPP
#define TOADSTONE_TESTS_SUPPORT_JOURNAL_HPP

#include "journal/journal.hpp"

#include "support/explored.hpp"
#include "support/simulated.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace toadstone::tests {

using namespace std::chrono_literals;

/// Knows what was appended, and what became of it. The payloads are "task.number.padding", each
/// of them once; a state is all payloads up to there, a line each.
class journal_witness {
public:
    void tries(const std::string& payload) { tried_.insert(payload); }
    void refused(const std::string& payload) {
        tried_.erase(payload);
        refused_.insert(payload);
    }
    void acknowledged(const journal::position& at, const std::string& payload) {
        expect(at.sequence > certain_.size(), "an old number was given again");
        expect(acknowledged_.emplace(at.sequence, std::pair(at, payload)).second,
               "two records have one number");
    }
    /// What open() gives has to be all that was acknowledged, and nothing that nobody appended.
    /// From here on it is certain.
    void check(const journal::contents& found) {
        std::vector<std::string> history = lines(found.state);
        expect(history.size() == found.state_at.sequence, "a state of another position");
        for (const auto& each : found.records) {
            history.push_back(each.payload);
            expect(each.sequence == history.size(), "a gap between two records");
        }
        expect(history.size() == found.end.sequence, "the end is elsewhere");
        expect(history.size() >= certain_.size() &&
                   std::equal(certain_.begin(), certain_.end(), history.begin()),
               "what was found before is not there any more");
        for (const auto& [sequence, record] : acknowledged_) {
            expect(sequence <= history.size(), "an acknowledged record is lost");
            expect(history[sequence - 1] == record.second, "another record is in its place");
        }
        std::set<std::string> seen;
        std::map<std::string, int> last;
        for (const auto& each : history) {
            expect(seen.insert(each).second, "a record is there twice");
            expect(!refused_.contains(each), "a record that was refused is there");
            expect(tried_.contains(each), "a record that nobody appended");
            const std::size_t dot = each.find('.');
            const int number = std::stoi(each.substr(dot + 1));
            int& before = last[each.substr(0, dot)];
            expect(number > before, "the records of a task are not in their order");
            before = number;
        }
        certain_ = std::move(history);
        end_ = found.end;
        acknowledged_.clear();
    }

    [[nodiscard]] std::uint64_t next_epoch() { return ++epoch_; }
    [[nodiscard]] int next_number() { return ++number_; }
    [[nodiscard]] const std::vector<std::string>& certain() const { return certain_; }
    [[nodiscard]] std::size_t acknowledgements() const { return acknowledged_.size(); }

    /// The longest state without a gap that is known, and what it stands for.
    [[nodiscard]] std::pair<journal::position, std::string> state() const {
        std::string state;
        for (const auto& each : certain_) state += each + "\n";
        journal::position at = end_;
        for (const auto& [sequence, record] : acknowledged_) {
            if (sequence != at.sequence + 1) break;
            at = record.first;
            state += record.second + "\n";
        }
        return {at, std::move(state)};
    }

    [[nodiscard]] static std::vector<std::string> lines(const std::string& state) {
        std::vector<std::string> all;
        for (std::size_t at = 0; at < state.size();) {
            const std::size_t end = state.find('\n', at);
            all.push_back(state.substr(at, end - at));
            at = end + 1;
        }
        return all;
    }

private:
    std::vector<std::string> certain_;
    journal::position end_;
    std::map<std::uint64_t, std::pair<journal::position, std::string>> acknowledged_;
    std::set<std::string> tried_;
    std::set<std::string> refused_;
    std::uint64_t epoch_ = 0;
    int number_ = 0;
};

/// Segments so small that every few records need a new one.
inline journal::options small_journal(journal_witness& all) {
    journal::options chosen;
    chosen.folder = "log";
    chosen.snapshots = "states";
    chosen.segment_bytes = journal::smallest_segment;
    chosen.batch_bytes = 2000;
    chosen.queue_bytes = 3000;
    chosen.lock_wait = 200ms;
    chosen.random = [&all] { return all.next_epoch(); };
    return chosen;
}

inline void make_folders(sim::world& world) {
    world.make_folder("log");
    world.make_folder("states");
}

/// Appends so many records, one after the other. Goes on until the journal has failed.
inline task<> appends(journal::journal& store, journal_witness& all, int who, unsigned count,
                      sightings* seen = nullptr) {
    for (unsigned i = 0; i < count; ++i) {
        const int number = all.next_number();
        const std::string payload = std::to_string(who) + "." + std::to_string(number) + "." +
                                    std::string(number % 4 * std::size_t{400}, 'x');
        all.tries(payload);
        try {
            const journal::position at = co_await store.append(7, payload);
            all.acknowledged(at, payload);
            if (seen && seen->has("refused")) seen->note("goes on");
        } catch (const journal::not_appended&) {
            all.refused(payload);
            if (seen && store.failure().empty()) seen->note("refused");
        } catch (const journal::append_unknown&) {
            if (seen) seen->note("unknown");
        } catch (const std::bad_alloc&) {
        }
    }
}

/// Snapshots of what is known, now and then.
inline task<> saves(sim::world& world, journal::journal& store, journal_witness& all,
                    unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        co_await some_turns(world, 20);
        auto [at, state] = all.state();
        try {
            co_await store.save_snapshot(at, std::move(state));
        } catch (const std::system_error&) { // the disk's
        } catch (const std::bad_alloc&) {
        }
    }
}

struct life {
    unsigned records = 3; ///< of each of two tasks
    unsigned snapshots = 1;
    bool orderly = false; ///< closed at its end; else stopped at any time
    sightings* seen = nullptr;
};

/// From open() to the end of a process. Returns: false if it could not be opened, by an error
/// of the disks.
inline task<bool> lives(sim::world& world, journal_witness& all, life how) {
    journal::journal store(small_journal(all));
    bool opened = false;
    try {
        const journal::contents found = co_await store.open();
        all.check(found);
        opened = true;
    } catch (const std::system_error&) {
    }
    if (!opened) co_return false;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(store.run(), on(0, "writer"));
        auto saver = scope.spawn(saves(world, store, all, how.snapshots), on(1, "saver"));
        auto one =
            scope.spawn(appends(store, all, 1, how.records, how.seen), on(0, "appender"));
        auto other =
            scope.spawn(appends(store, all, 2, how.records, how.seen), on(1, "appender"));
        if (how.orderly) {
            static_cast<void>(co_await one.outcome());
            static_cast<void>(co_await other.outcome());
            static_cast<void>(co_await saver.outcome());
            store.close();
        } else {
            co_await sleep_for(20us * world.choices().choose(60, sim::choice::timing));
            scope.cancel();
        }
    };
    try {
        co_await with_scope(body);
    } catch (const std::bad_alloc&) { // the writer's
    }
    co_return true;
}

/// Everything that is there, verified, when the disks are good again.
inline task<> is_whole(journal_witness& all) {
    {
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
    }
    io::folder log = co_await io::folder::open("log");
    io::folder states = co_await io::folder::open("states");
    const journal::survey there =
        co_await journal::look_through(log, states, journal::how_much::everything);
    if (there.broken) throw journal::damaged_journal(*there.broken);
}

} // namespace toadstone::tests

#endif
