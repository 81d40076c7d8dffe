// The journal on simulated disks: power that fails, disks that do, and tasks that are stopped.
#include "support/failing_new.hpp"
#include "support/journal.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

namespace toadstone::tests {
namespace {

/// Processes one after the other, each of which is stopped at any time, and most of them by the
/// power. The last one ends in order.
task<> crashes(sim::world& world, unsigned rounds, sightings* seen) {
    make_folders(world);
    journal_witness all;
    const auto calm = world.now() + 10s;
    for (unsigned round = 0; round < rounds; ++round) {
        life how;
        how.orderly = world.choices().choose(4, sim::choice::fault) == 1;
        how.seen = seen;
        static_cast<void>(co_await lives(world, all, how));
        if (world.choices().choose(3, sim::choice::fault) < 2) world.crash_disks();
        if (seen && all.acknowledgements() > 0) seen->note("acknowledged");
    }
    if (seen) co_await sleep_until(calm); // the disks are good now
    expect(co_await lives(world, all, {.orderly = true}), "good disks, and no journal");
    world.crash_disks();
    co_await is_whole(all);
}
task<> loses_power(sim::world& world) {
    co_await crashes(world, 10, nullptr);
}

sim::explore_options crashing(unsigned runs) {
    auto options = seeds(runs);
    options.world.strict_folders = true;
    return options;
}

/// One life, of more than one segment, in which something happens to the tasks named so, then
/// another one, and the rest of the promises.
task<> is_stopped(sim::world& world) {
    make_folders(world);
    journal_witness all;
    static_cast<void>(co_await lives(world, all, {.records = 4, .orderly = true}));
    world.crash_disks();
    static_cast<void>(co_await lives(world, all, {.records = 1, .orderly = true}));
    world.crash_disks();
    co_await is_whole(all);
}

/// As opens(), of a task of its own.
task<> opens_once(journal_witness& all) {
    try {
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
}
/// Something happens to a process that opens what another one has left in the middle of a
/// write.
task<> is_stopped_while_opening(sim::world& world) {
    make_folders(world);
    journal_witness all;
    static_cast<void>(co_await lives(world, all, {.records = 4, .orderly = true}));
    static_cast<void>(co_await lives(world, all, {.records = 4}));
    world.crash_disks();
    auto opener = spawn(opens_once(all), {.name = "opener"});
    static_cast<void>(co_await opener.outcome());
    world.crash_disks();
    static_cast<void>(co_await lives(world, all, {.orderly = true}));
    co_await is_whole(all);
}

void survives(const char* victims, unsigned seeds, std::size_t least,
              task<> (*body)(sim::world&)) {
    auto options = everything_goes_wrong(victims, seeds);
    options.world.strict_folders = true;
    const auto found = sim::cancel_at_every_await(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() >= least);
}

} // namespace

TEST_CASE("journal: S544: a thousand processes are stopped at any time, and nothing is lost") {
    const auto found = sim::explore(crashing(100), loses_power);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("journal: S544: the same on disks that fail and are full") {
    sightings seen;
    auto options = crashing(150);
    options.world.disk_faults = true;
    options.world.calm_after = 5s;
    options.world.all_memory_back = false;
    const auto found =
        sim::explore(options, [&seen](sim::world& world) { return crashes(world, 6, &seen); });
    INFO(found.to_string());
    CHECK(found);
    CHECK(seen.has("refused"));
    CHECK(seen.has("unknown"));
    CHECK(seen.has("goes on"));
}

TEST_CASE("journal: S545: its writer is stopped at every await, then the power fails") {
    survives("writer", 5, 10, is_stopped);
}

TEST_CASE("journal: S546: an append is cut at every await, and the others go on") {
    survives("appender", 5, 4, is_stopped);
}

TEST_CASE("journal: S547: it is stopped while it is opened, then the power fails") {
    survives("opener", 5, 10, is_stopped_while_opening);
}

TEST_CASE("journal: S548: a snapshot is cut at every await, then the power fails") {
    survives("saver", 5, 10, is_stopped);
}

} // namespace toadstone::tests
