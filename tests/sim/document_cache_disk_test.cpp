// The document cache on simulated disks: power that fails, disks that do, another server.
#include "support/failing_new.hpp"

#include "support/document_cache.hpp"

#include <catch2/catch.hpp>

namespace toadstone::tests {
namespace {

using cache::fate;

task<cache::verdict> put(cache::store& all, std::string id, std::string body) {
    std::vector<cache::wish> one;
    one.push_back({std::move(id), false, cache::format::text, std::move(body)});
    const auto said = co_await all.change(std::move(one));
    co_return said.front();
}

/// False: an error of the disks.
task<bool> begins(running_cache& server) {
    try {
        co_await server.start();
    } catch (const std::system_error&) {
        co_return false;
    }
    co_return true;
}

/// Processes one after the other, stopped at any time, most of them by the power. The last one
/// has good disks, and all that was confirmed.
task<> crashes(sim::world& world, unsigned rounds, bool faults) {
    running_cache server;
    cache_witness all;
    all.disks_fail = true;
    const auto calm = world.now() + 10s;
    const habits how{.requests = 4, .leaves = true, .errors = true};
    for (unsigned round = 0; round < rounds; ++round) {
        const bool there = co_await begins(server);
        if (there) {
            auto one = spawn(visits(world, server.store(), all, "a", how), on(0, "visitor"));
            auto two = spawn(visits(world, server.store(), all, "b", how), on(1, "visitor"));
            co_await sleep_for(20us * world.choices().choose(200, sim::choice::timing));
            one.cancel();
            two.cancel();
            const auto first = co_await one.outcome();
            const auto second = co_await two.outcome();
            if (first.exception()) std::rethrow_exception(first.exception());
            if (second.exception()) std::rethrow_exception(second.exception());
        }
        co_await server.kill();
        if (pick(world, 3) < 2) world.crash_disks();
    }
    if (faults) co_await sleep_until(calm);
    co_await server.start();
    co_await looks(server.store(), all, "");
    const auto said = co_await put(server.store(), "last", "ant");
    expect(said.how == fate::stored, "it does not go on");
    co_await server.stop();
}
task<> loses_power(sim::world& world) {
    co_await crashes(world, 5, false);
}
task<> has_bad_disks(sim::world& world) {
    co_await crashes(world, 4, true);
}

/// A sync fails, and the journal with it. It is opened again, in the same process, and says
/// what was in its hands; what was confirmed stays.
task<> reopens(sim::world& world) {
    running_cache server;
    cache_witness all;
    all.disks_fail = true;
    co_await server.start();
    habits how{.requests = 3, .nonsense = false};
    for (unsigned round = 0; round < 3; ++round) {
        auto one = spawn(visits(world, server.store(), all, "a", how), on(1, "visitor"));
        co_await some_turns(world, 10);
        world.fail_next_sync();
        co_await visits(world, server.store(), all, "b", how);
        co_await one;
    }
    const auto said = co_await put(server.store(), "last", "ant");
    expect(said.how == fate::stored, "it does not go on: " + said.why);
    co_await looks(server.store(), all, "");
    co_await server.kill();
    world.crash_disks();
    co_await server.start();
    co_await looks(server.store(), all, "");
    co_await server.stop();
}

task<> says_that_it_has_failed(sim::world& world) {
    auto hasty = small_cache();
    hasty.disk_patience = 0ms;
    running_cache server(hasty);
    co_await server.start();
    cache::store& all = server.store();
    auto said = co_await put(all, "one", "ant");
    expect(said.how == fate::stored && all.failure().empty(), "not well: " + all.failure());
    world.fail_next_sync();
    said = co_await put(all, "one", "bee");
    expect(said.how == fate::unknown, "confirmed, or refused");
    expect(all.failure().find("the journal has failed") == 0, "it says: " + all.failure());
    said = co_await put(all, "one", "cow");
    expect(said.how == fate::stored && all.failure().empty(), "not again: " + all.failure());
    co_await server.stop();
}

task<> opens_at_last(running_cache& server, bool& refused) {
    try {
        co_await server.start();
    } catch (const journal::journal_in_use&) {
        refused = true;
    }
}
/// The one that comes second waits, and has everything, or gives up.
task<> race(sim::world& world) {
    auto patient = small_cache();
    patient.journal_wait = 1min;
    running_cache one;
    running_cache other(pick(world, 2) == 0 ? small_cache() : patient);
    cache_witness all;
    bool refused = false;
    co_await one.start();
    auto comes = spawn(opens_at_last(other, refused), on(1, "other"));
    const habits how{.requests = 3};
    co_await visits(world, one.store(), all, "a", how);
    if (pick(world, 2) == 0) co_await sleep_for(1s);
    co_await one.stop();
    co_await comes;
    if (refused) {
        co_await other.kill();
        co_await other.start();
    }
    co_await looks(other.store(), all, "");
    co_await visits(world, other.store(), all, "b", how);
    co_await other.stop();
}
/// Both at the same time, with nothing there yet.
task<> race_for_nothing(sim::world&) {
    running_cache one;
    running_cache other;
    bool first = false;
    bool second = false;
    co_await when_all(opens_at_last(one, first), opens_at_last(other, second));
    expect(first != second, "not exactly one has it");
    running_cache& has = first ? other : one;
    const auto said = co_await put(has.store(), "x", "ant");
    expect(said.how == fate::stored, "not stored");
    co_await one.kill();
    co_await other.kill();
}

task<> has_other_shards(sim::world&) {
    running_cache server;
    co_await server.start();
    co_await server.stop();
    auto chosen = small_cache();
    chosen.shards = 3;
    running_cache other(chosen);
    std::string said;
    try {
        co_await other.start();
    } catch (const std::runtime_error& error) {
        said = error.what();
    }
    expect(said == "documents has another number of shards: start with --shards 2",
           "it says: " + said);
    co_await other.kill();
}

/// Stopped while it starts, and again; then it starts.
task<> is_stopped_at_the_start(sim::world& world) {
    cache_witness all;
    all.disks_fail = true;
    running_cache server;
    co_await server.start();
    co_await visits(world, server.store(), all, "a", {.requests = 3, .errors = true});
    co_await server.kill();
    world.crash_disks();
    auto starter = spawn(begins(server), {.name = "starter"});
    static_cast<void>(co_await starter.outcome());
    co_await server.kill();
    world.crash_disks();
    co_await server.start();
    co_await looks(server.store(), all, "");
    co_await server.stop();
}

sim::explore_options strictly(unsigned runs) {
    auto options = seeds(runs);
    options.world.strict_folders = true;
    return options;
}

} // namespace

TEST_CASE("document cache: S560: processes are stopped at any time, and nothing confirmed is "
          "lost") {
    const auto found = sim::explore(strictly(60), loses_power);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("document cache: S561: the same on disks that fail and are full") {
    auto options = strictly(60);
    options.world.disk_faults = true;
    options.world.calm_after = 5s;
    options.world.settles_within = 5min;
    options.world.all_memory_back = false;
    const auto found = sim::explore(options, has_bad_disks);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE(
    "document cache: S562: a journal that has failed is opened again, and nothing is lost") {
    const auto found = sim::explore(strictly(60), reopens);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("document cache: S569: it says that a journal has failed, until it is open again") {
    const auto found = sim::explore(strictly(20), says_that_it_has_failed);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE(
    "document cache: S563: two servers on the same data: one after the other, or refused") {
    const auto found = sim::explore(strictly(40), race);
    INFO(found.to_string());
    CHECK(found);
    const auto nothing = sim::explore(strictly(40), race_for_nothing);
    INFO(nothing.to_string());
    CHECK(nothing);
}

TEST_CASE("document cache: S564: data with another number of shards is refused") {
    const auto found = sim::explore(strictly(5), has_other_shards);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("document cache: S565: stopped at any await of its start, it starts the next time") {
    auto options = everything_goes_wrong("starter", 1);
    options.world.strict_folders = true;
    const auto found = sim::cancel_at_every_await(options, is_stopped_at_the_start);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() > 10);
}

} // namespace toadstone::tests
