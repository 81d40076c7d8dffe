// The store of the operation tracker by itself: what is left of a change that was cut, and
// snapshots of a book that goes on changing.
#include "support/failing_new.hpp"
#include "support/tracker.hpp"

#include "operation_tracker/metrics.hpp"
#include "operation_tracker/store.hpp"

#include "support/explored.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

namespace toadstone::tests {
namespace {

tracker::options in_this_folder() {
    tracker::options chosen;
    chosen.journal = kept_in;
    chosen.segment_bytes = 16384;
    chosen.snapshot_bytes = 300;
    return chosen;
}

tracker::message progress() {
    tracker::message what;
    what.what = tracker::event::progress;
    return what;
}

task<> changes(tracker::store& store, unsigned& done) {
    const tracker::operation moved = co_await store.advance(1, progress());
    done = static_cast<unsigned>(moved.messages);
}

/// A change, perhaps cut anywhere, of which nobody knows whether it has happened. Whoever reads
/// the operation when it has been cut, or changes it, knows, and so does the next server.
task<> is_certain_for_the_next(sim::world& world) {
    const tracker::options chosen = in_this_folder();
    std::uint64_t last = 0;
    const auto lives = [&](tracker::store& store) -> task<> {
        const tracker::operation one = co_await store.create("one");
        expect(one.id == 1, "not the first one");
        tracker::message start;
        const tracker::operation started = co_await store.advance(1, start);
        last = started.messages;
        for (int round = 0; round < 2; ++round) {
            unsigned done = 0;
            auto cut = spawn(changes(store, done), on(1, "changer"));
            static_cast<void>(co_await cut.outcome());
            const tracker::operation read = co_await store.find(1);
            expect(read.messages == last || read.messages == last + 1, "more than one change");
            expect(read.messages >= done, "what was confirmed is not there");
            co_await sleep_for(1s);
            const tracker::operation later = co_await store.find(1);
            expect(later.messages == read.messages, "it has happened after it was asked for");
            const tracker::operation next = co_await store.advance(1, progress());
            expect(next.messages == later.messages + 1, "the next change is not behind it");
            last = next.messages;
        }
        store.close();
    };
    {
        tracker::metrics counts;
        tracker::store store(chosen, counts, {});
        co_await store.open();
        const auto both = [&](task_scope& scope) -> task<> {
            scope.spawn(store.run(), on(0, "journal")).detach();
            co_await lives(store);
        };
        co_await with_scope(both);
    }
    world.crash_disks();
    tracker::metrics counts;
    tracker::store store(chosen, counts, {});
    co_await store.open();
    const tracker::operation found = co_await store.find(1);
    expect(found.messages == last, "the next server knows something else");
}

// --- the book ---

tracker::operation numbered(tracker::operation_id id, std::uint64_t messages) {
    tracker::operation one;
    one.id = id;
    one.name = "one of many";
    one.now = tracker::state::running;
    one.messages = messages;
    return one;
}

class changing_book {
public:
    void change(sim::world& world) {
        const bool fresh = world.choices().choose(4, sim::choice::amount) == 0;
        // New ones come in any order.
        const auto number = world.choices().choose(300, sim::choice::amount) + 1;
        std::uint64_t messages = 0;
        tracker::operation_id id = number;
        if (fresh) id += 1000;
        if (const auto before = operations_.find(id)) messages = before->messages + 1;
        ++at_.sequence;
        operations_.commit(tracker::book::page_to_be(numbered(id, messages)), at_);
    }
    [[nodiscard]] std::string text() const {
        std::string all;
        for (const auto& each : operations_.all()) all += to_json(each) + "\n";
        return all;
    }
    [[nodiscard]] tracker::book& operations() { return operations_; }
    [[nodiscard]] const journal::position& at() const { return at_; }

private:
    tracker::book operations_;
    journal::position at_;
};

/// Cuts through a book while operations are changed and come, in any order.
task<> cuts_at_one_moment(sim::world& world) {
    changing_book all;
    for (int i = 0; i < 400; ++i) all.change(world);
    for (int round = 0; round < 3; ++round) {
        const std::string expected = all.text();
        std::string written;
        {
            tracker::book::cut through(all.operations());
            expect(through.at() == all.at(), "it stands for another moment");
            bool more = true;
            while (more) {
                const unsigned changes = world.choices().choose(80, sim::choice::amount);
                for (unsigned i = 0; i < changes; ++i) all.change(world);
                more = through.write_part(written);
            }
        }
        expect(written == expected, "a snapshot of more than one moment");
    }
    co_return;
}

} // namespace

TEST_CASE(
    "tracker: S590: a change that was cut at any await is certain for whoever comes next") {
    auto options = everything_goes_wrong("changer", 6);
    options.world.strict_folders = true;
    options.pairs = true;
    const auto found = sim::cancel_at_every_await(options, is_certain_for_the_next);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() >= 3);
    CHECK(found.allocations >= 5);
}

TEST_CASE("tracker: S591: a snapshot is of one moment, whatever changes meanwhile") {
    const auto found = sim::explore(seeds(40), cuts_at_one_moment);
    INFO(found.to_string());
    CHECK(found);
}

} // namespace toadstone::tests
