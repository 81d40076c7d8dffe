// The operation tracker on simulated disks, with others about: another server, and somebody who
// removes the journal.
#include "support/tracker.hpp"

#include <catch2/catch.hpp>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

tracker::options at_port(std::uint16_t port) {
    tracker::options chosen;
    chosen.clients.port = port;
    return chosen;
}

/// An old server that drains, or dies, and a new one that has been started before that.
task<> takes_over(sim::world& world) {
    auto how = at_port(8080);
    how.slow_sync = 10ms;
    running_tracker old(how);
    running_tracker fresh(at_port(8081));
    old.start();
    const io::endpoint first = co_await old.listening();
    witness all;
    manners wary;
    wary.may_break = true;
    auto clients = spawn(crowd(world, first, all, wary, 0, 3));
    co_await sleep_for(10ms * world.choices().choose(20, sim::choice::timing));
    fresh.start();
    co_await sleep_for(10ms * world.choices().choose(20, sim::choice::timing));
    if (world.choices().choose(2, sim::choice::fault) == 1) {
        co_await old.kill();
    } else {
        co_await old.stop();
    }
    clients.cancel();
    static_cast<void>(co_await clients.outcome());
    const io::endpoint second = co_await fresh.listening();
    co_await crowd(world, second, all, {}, 10, 2);
    co_await ends_in_agreement(fresh, second, all);
}

task<> keeps_out_another(sim::world& world) {
    running_tracker old(at_port(8080));
    old.start();
    const io::endpoint at = co_await old.listening();
    witness all;
    co_await crowd(world, at, all, {}, 0, 1);
    const auto before = world.file(segment_file(1));
    auto impatient = at_port(8081);
    impatient.journal_wait = 100ms;
    running_tracker other(impatient);
    other.start();
    std::string said;
    try {
        static_cast<void>(co_await other.listening());
    } catch (const std::runtime_error& error) {
        said = error.what();
    }
    expect(said == "the journal in operations.journal is open in another process, which has "
                   "not ended within 100 ms: stop that one first",
           "the second server says: " + said);
    expect(world.file(segment_file(1)) == before, "the second server has changed the journal");
    co_await crowd(world, at, all, {}, 1, 1);
    co_await ends_in_agreement(old, at, all);
}

/// `before` counts the runs in which it had not begun to serve.
task<> stops_while_loading(sim::world& world, unsigned& before) {
    std::string lines;
    for (int id = 1; id <= 20'000; ++id) {
        lines += "{\"id\":" + std::to_string(id) +
                 ",\"name\":\"one of many\",\"state\":\"pending\",\"messages\":0}\n";
    }
    const std::string snapshot = to_bytes(journal::snapshot{{}, std::move(lines)});
    world.put_file(std::string(kept_in) + "/lock", "");
    world.put_file(snapshot_file(0), snapshot);
    running_tracker server;
    server.start();
    const unsigned turns = world.choices().choose(60, sim::choice::timing);
    for (unsigned i = 0; i < turns; ++i) co_await sleep_for(10us);
    const auto begun = world.now();
    co_await server.stop();
    // The names in a folder are asked for by another thread, which is waited for.
    expect(world.now() - begun < 2s, "it went on for a while");
    if (!server.has_listened()) ++before;
    expect(world.file(snapshot_file(0)) == snapshot, "the journal is another one");
}

task<> loses_its_journal(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    manners how;
    how.errors = true;
    auto clients = spawn(crowd(world, at, all, how, 0, 3));
    co_await sleep_for(100us * world.choices().choose(60, sim::choice::timing));
    const bool some = world.file(segment_file(1)).has_value();
    const bool last = some && world.choices().choose(2, sim::choice::amount) == 1;
    world.remove_file(last ? segment_file(1) : std::string(kept_in) + "/lock");
    co_await clients;
    single client(at);
    const answer made =
        co_await client.ask(http_text("POST", "/operations", R"({"name":"x"})"));
    expect(made.status == 503, "written into nothing: " + made.body);
    static_cast<void>(co_await list(at, all)); // all that was confirmed before can be read
    const answer health = co_await client.ask(http_text("GET", "/healthz"));
    expect(health.status == 503, "it says that it is well");
    expect(server.failures() == 1, "its surroundings were not told once");
    co_await server.stop();
}

} // namespace

TEST_CASE(
    "S120: a new server has the journal when the old one has ended, and all that is in it") {
    const auto found = sim::explore(seeds(80, 20), takes_over);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("S120: a second server on a journal gives up, and the first notices nothing") {
    const auto found = sim::explore(seeds(40, 10), keeps_out_another);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("S128: a request to stop ends the reading of a journal") {
    unsigned before = 0;
    const auto body = [&before](sim::world& world) {
        return stops_while_loading(world, before);
    };
    const auto found = sim::explore(seeds(30), body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(before > 0);
}

TEST_CASE("S128: nothing is confirmed once the journal was removed, and the rest can be read") {
    const auto found = sim::explore(seeds(80, 20), loses_its_journal);
    INFO(found.to_string());
    CHECK(found);
}
