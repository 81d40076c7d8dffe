// What becomes of a record whose appender has gone, and of what follows records.
#include "support/failing_new.hpp"
#include "support/journal.hpp"

#include <catch2/catch.hpp>

#include <list>
#include <memory>
#include <optional>

namespace toadstone::tests {
namespace {

/// What followers make of the records: all payloads, in their order.
struct followed {
    std::list<std::string> lines;
    journal::position at;
    bool in_order = true;

    [[nodiscard]] std::string state() const {
        std::string all;
        for (const std::string& each : lines) all += each + "\n";
        return all;
    }
};

/// Has its node from the beginning, so that it cannot fail.
class line_follower final : public journal::follower {
public:
    line_follower(followed& into, const std::string& payload) : into_(into), node_{payload} {}
    void on_disk(const journal::position& behind) noexcept override {
        if (behind.sequence != into_.at.sequence + 1) into_.in_order = false;
        into_.at = behind;
        into_.lines.splice(into_.lines.end(), node_);
    }

private:
    followed& into_;
    std::list<std::string> node_;
};

/// A record that somebody submits; the ticket is kept where others find it.
struct attempt {
    std::string payload;
    std::optional<journal::ticket> sent{};
};

task<> submits(journal::journal& store, followed& state, attempt& mine) {
    journal::ticket sent = co_await store.submit(
        7, mine.payload, std::make_unique<line_follower>(state, mine.payload));
    mine.sent.emplace(std::move(sent));
    const journal::fate of = co_await mine.sent->outcome();
    if (of.how != journal::fate::end::on_disk) co_return;
    expect(state.at.sequence >= of.at.sequence, "told before its follower");
    expect(store.durable().sequence >= of.at.sequence, "told before it was on the disk");
}

/// Asks for the fate of what another task has submitted, and tells the witness.
task<> settles(attempt& of, journal_witness& all) {
    if (!of.sent) { // it was cut before that
        all.refused(of.payload);
        co_return;
    }
    const journal::fate first = co_await of.sent->outcome();
    const journal::fate again = co_await of.sent->outcome();
    expect(first.how == again.how && first.at == again.at, "two fates of one record");
    if (first.how == journal::fate::end::on_disk) all.acknowledged(first.at, of.payload);
    if (first.how == journal::fate::end::refused) all.refused(of.payload);
}

/// Whatever cut the tasks that had submitted them, the fate of the records is known as long as
/// the journal works.
task<> asks_for_fates(sim::world& world, bool unknown) {
    make_folders(world);
    journal_witness all;
    followed state;
    {
        std::vector<attempt> attempts;
        for (int who = 0; who < 4; ++who) {
            attempts.push_back({std::to_string(who) + "." + std::to_string(all.next_number()) +
                                "." + std::string(900, 'x')});
            all.tries(attempts.back().payload);
        }
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
        auto body = [&](task_scope& scope) -> task<> {
            auto running = scope.spawn(store.run(), on(0, "writer"));
            std::vector<join_handle<>> tasks;
            for (std::size_t who = 0; who < attempts.size(); ++who) {
                tasks.push_back(scope.spawn(submits(store, state, attempts[who]),
                                            on(static_cast<int>(who % 2), "appender")));
            }
            for (std::size_t who = 0; who < attempts.size(); ++who) {
                static_cast<void>(co_await tasks[who].outcome());
                co_await settles(attempts[who], all);
                expect(unknown || store.failure().empty(), store.failure());
            }
            store.close();
            static_cast<void>(co_await running.outcome());
        };
        try {
            co_await with_scope(body);
        } catch (const std::bad_alloc&) { // of a victim
        }
        expect(state.in_order, "followers out of order");
        expect(state.at == store.durable(), "the state is not that of the records");
        co_await store.save_snapshot(state.at, state.state());
    }
    world.crash_disks();
    co_await is_whole(all);
    const auto& there = all.certain();
    expect(there.size() >= state.lines.size() &&
               std::equal(state.lines.begin(), state.lines.end(), there.begin()),
           "what followed the records is not what is found");
}

/// The power fails at any time: what has followed records is the beginning of what is found.
task<> follows_what_is_found(sim::world& world) {
    make_folders(world);
    journal_witness all;
    followed state;
    std::string saved;
    for (int round = 0; round < 3; ++round) {
        std::list<attempt> attempts;
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
        state = {{all.certain().begin(), all.certain().end()}, found.end};
        auto body = [&](task_scope& scope) -> task<> {
            scope.spawn(store.run(), on(0, "writer"));
            for (int who = 0; who < 6; ++who) {
                attempts.push_back({std::to_string(who) + "." +
                                    std::to_string(all.next_number()) +
                                    std::string(who * std::size_t{150}, 'x')});
                all.tries(attempts.back().payload);
                scope.spawn(submits(store, state, attempts.back()), on(who % 2, "appender"));
            }
            co_await some_turns(world, 60);
            auto saving = scope.spawn(store.save_snapshot(state.at, state.state()), on(1));
            co_await sleep_for(20us * world.choices().choose(30, sim::choice::timing));
            scope.cancel();
        };
        co_await with_scope(body);
        expect(state.in_order, "followers out of order");
        for (attempt& each : attempts) co_await settles(each, all);
        world.crash_disks();
    }
    journal::journal store(small_journal(all));
    const journal::contents found = co_await store.open();
    all.check(found);
    expect(std::equal(state.lines.begin(), state.lines.end(), all.certain().begin()),
           "what followed the records is not what is found");
}

/// No memory for the writer, at any place: it costs records, and not the journal.
task<> does_without(sim::world& world, sightings& seen) {
    make_folders(world);
    journal_witness all;
    {
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
        auto body = [&](task_scope& scope) -> task<> {
            scope.spawn(store.run(), on(0, "writer"));
            co_await appends(store, all, 1, 7, &seen); // more than one segment
            expect(!seen.has("unknown"), "it failed");
            store.close();
        };
        try {
            co_await with_scope(body);
        } catch (const std::bad_alloc&) { // at its very end
        }
    }
    world.crash_disks();
    co_await is_whole(all);
}

/// A file of it is renamed, removed or replaced at any time.
task<> loses_a_file(sim::world& world, std::string_view which) {
    make_folders(world);
    journal_witness all;
    journal::journal store(small_journal(all));
    const journal::contents found = co_await store.open();
    all.check(found);
    auto body = [&](task_scope& scope) -> task<> {
        auto running = scope.spawn(store.run(), on(0, "writer"));
        co_await appends(store, all, 1, 2);
        expect(all.acknowledgements() == 2 && store.failure().empty(), "it does not work");
        auto both = scope.spawn(appends(store, all, 2, 3), on(1));
        co_await some_turns(world, 40);
        const std::string content = world.file(which).value();
        world.remove_file(which);
        const bool replaced = world.choices().choose(2, sim::choice::amount) == 1;
        if (replaced) world.put_file(which, content);
        const std::size_t before = all.acknowledgements();
        if (world.choices().choose(2, sim::choice::amount) == 1) {
            store.check_place();
            expect(!store.failure().empty(), "it looked, and saw nothing");
        }
        static_cast<void>(co_await both.outcome());
        co_await appends(store, all, 3, 1);
        expect(all.acknowledgements() <= before + 3, "acknowledged what nobody will find");
        const std::string why = store.failure();
        expect(why.find(std::string(which) + " was renamed, removed or replaced") != why.npos,
               "its failure is " + why);
        static_cast<void>(co_await running.outcome());
    };
    co_await with_scope(body);
}

/// A state of many parts, which is written, and read by the next process.
task<> saves_a_large_state(sim::world& world) {
    make_folders(world);
    journal_witness all;
    std::string state;
    for (int i = 0; state.size() < 3 * journal::part_bytes; ++i) state += std::to_string(i);
    state.resize(state.size() - world.choices().choose(3, sim::choice::amount));
    {
        journal::journal store(small_journal(all));
        static_cast<void>(co_await store.open());
        auto running = spawn(store.run());
        const journal::position at = co_await store.append(1, "one");
        co_await store.save_snapshot(at, state);
        store.close();
        co_await running;
    }
    std::optional<journal::damage> broken;
    const std::string file =
        world.file("states/" + journal::name_of(journal::snapshot_kind, 1)).value();
    const auto whole = journal::read_snapshot(file, "s", broken);
    expect(whole && whole->state == state, "another state");
    expect(to_bytes(*whole) == file, "written in another way");
}

} // namespace

TEST_CASE("journal: S580: a record's fate is known, whatever cut the task that submitted it") {
    auto options = everything_goes_wrong("appender", 5);
    options.world.strict_folders = true;
    const auto body = [](sim::world& world) { return asks_for_fates(world, false); };
    const auto found = sim::cancel_at_every_await(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() >= 4);
    CHECK(found.allocations > 10);
}

TEST_CASE("journal: S580: the same, and the writer is stopped at every await") {
    auto options = everything_goes_wrong("writer", 5);
    options.world.strict_folders = true;
    const auto body = [](sim::world& world) { return asks_for_fates(world, true); };
    const auto found = sim::cancel_at_every_await(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() >= 8);
}

TEST_CASE("journal: S581: what followed records when the power failed is what is found") {
    auto options = seeds(150, 30);
    options.world.strict_folders = true;
    const auto found = sim::explore(options, follows_what_is_found);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("journal: S582: want of memory in the writer costs records, and not the journal") {
    sightings seen;
    auto options = everything_goes_wrong("writer", 2);
    options.cancels = false;
    options.world.all_memory_back = false; // what was seen is kept
    const auto found = sim::cancel_at_every_await(
        options, [&seen](sim::world& world) { return does_without(world, seen); });
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.allocations > 20);
    CHECK(seen.has("refused"));
    CHECK(seen.has("goes on"));
}

TEST_CASE("journal: S583: nothing is acknowledged once its files are elsewhere") {
    for (const char* which : {"log/lock", "log/segment-00000000000000000001"}) {
        const auto body = [which](sim::world& world) { return loses_a_file(world, which); };
        const auto found = sim::explore(seeds(60, 10), body);
        INFO(which << ": " << found.to_string());
        CHECK(found);
    }
}

TEST_CASE("journal: S592: a large state is written a part at a time, and read as one") {
    const auto found = sim::explore(seeds(10), saves_a_large_state);
    INFO(found.to_string());
    CHECK(found);
}

} // namespace toadstone::tests
