// The operation tracker on a simulated kernel: every schedule, clients that leave in the middle, a
// cancellation at each of its awaits.
#include "support/tracker.hpp"

#include <catch2/catch.hpp>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<> works(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    co_await crowd(world, at, all, {}, 0, 3);
    expect(all.operations() == 3, "there are not 3 operations");
    const std::string listed = co_await list(at, all);
    co_await journal_agrees(listed);
    co_await server.stop();
}

task<> outlives_leavers(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    manners rude;
    rude.leaves = true;
    co_await when_all(crowd(world, at, all, rude, 0, 3), crowd(world, at, all, {}, 3, 1));
    co_await sleep_for(1min); // what was still on its way has arrived
    const std::string listed = co_await list(at, all);
    co_await journal_agrees(listed);
    co_await server.stop();
}

task<> outlives_network(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    manners wary;
    wary.may_break = true;
    co_await crowd(world, at, all, wary, 0, 3);
    co_await sleep_for(1min);
    const std::string listed = co_await list(at, all);
    co_await journal_agrees(listed);
    co_await server.stop();
}

} // namespace

TEST_CASE("tracker: every client gets its own operation, moved by its own messages") {
    const auto found = sim::explore(seeds(100, 20), works);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: clients that leave in the middle of a section cost the others nothing") {
    const auto found = sim::explore(seeds(150, 30), outlives_leavers);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: on a faulty network no answer contradicts another") {
    auto options = seeds(150, 30);
    options.world.network_faults = true;
    const auto found = sim::explore(options, outlives_network);
    INFO(found.to_string());
    CHECK(found);
}
