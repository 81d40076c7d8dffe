// Changes of the operation tracker beside each other, and what is left when one is cut: on a
// simulated kernel, behind HTTP.
#include "support/tracker.hpp"

#include "support/failing_new.hpp"

#include <catch2/catch.hpp>

#include <array>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

std::string get_one() {
    return http_text("GET", "/operations/1");
}

/// Changes of different operations, each of a second, and readers meanwhile.
task<> makes_one(io::endpoint at, witness& all, std::uint64_t& id) {
    single client(at);
    const answer got =
        co_await client.ask(http_text("POST", "/operations", R"({"name":"one"})"));
    expect(got.status == 201, "not created");
    all.hear(got.body.substr(0, got.body.find('\n')), 0);
    id = number_after(got.body, "{\"id\":");
}
task<> starts_one(sim::world& world, io::endpoint at, witness& all, std::uint64_t id) {
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    tracker_client client(std::move(*stream));
    const auto begun = world.now();
    const answer got = co_await client.ask(http_text(
        "POST", "/operations/" + std::to_string(id) + "/messages", R"({"event":"start"})"));
    expect(got.status == 200, "not started: " + got.body);
    all.hear(got.body.substr(0, got.body.find('\n')), 1);
    expect(world.now() - begun < 1900ms, "it has waited for a change of another operation");
}
task<> looks_meanwhile(sim::world& world, io::endpoint at, witness& all, std::uint64_t id) {
    co_await sleep_for(300ms);
    single client(at);
    const auto begun = world.now();
    const answer got =
        co_await client.ask(http_text("GET", "/operations/" + std::to_string(id)));
    all.hear(got.body.substr(0, got.body.find('\n')), 1);
    expect(got.body.find("pending") != got.body.npos, "it shows what is not certain");
    static_cast<void>(co_await list(at, all));
    expect(world.now() - begun < 300ms, "who reads has waited for a change");
}
task<> goes_side_by_side(sim::world& world) {
    tracker::options slow;
    slow.slow_sync = 1s;
    running_tracker server(slow);
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    std::array<std::uint64_t, 3> ids{};
    const auto begun = world.now();
    co_await when_all(makes_one(at, all, ids[0]), makes_one(at, all, ids[1]),
                      makes_one(at, all, ids[2]));
    co_await when_all(starts_one(world, at, all, ids[0]), starts_one(world, at, all, ids[1]),
                      starts_one(world, at, all, ids[2]),
                      looks_meanwhile(world, at, all, ids[1]));
    expect(world.now() - begun < 3800ms, "changes of different operations waited");
    co_await ends_in_agreement(server, at, all);
}

/// One that leaves in the middle of a change of an operation, and others that come to it, or
/// read it, right afterwards.
task<> leaves_one(sim::world& world, io::endpoint at, std::string_view event) {
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    tracker_client client(std::move(*stream));
    const std::string body = "{\"event\":\"" + std::string(event) + "\"}";
    const auto patience = 20us * world.choices().choose(60, sim::choice::timing);
    try {
        static_cast<void>(co_await with_timeout(
            patience, client.ask(http_text("POST", "/operations/1/messages", body))));
    } catch (const timeout_error&) {
    }
}
task<> knows_what_was_cut(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    single client(at);
    unsigned status = co_await client.create(all);
    expect(status == 201, "not created");
    status = co_await client.move(all, "start");
    expect(status == 200, "not started");
    for (int round = 0; round < 4; ++round) {
        const std::string_view event = round % 2 == 0 ? "pause" : "resume";
        const std::uint64_t before = all.known(1);
        co_await leaves_one(world, at, event);
        // Done again, it succeeds if it has not happened, and is refused if it has: never two.
        status = co_await client.move(all, std::string(event));
        expect(status == 200 || status == 409, "neither done nor refused");
        const answer shown = co_await client.ask(get_one());
        all.hear(shown.body.substr(0, shown.body.find('\n')), before);
        expect(number_after(shown.body, "\"messages\":") == before, "not once: " + shown.body);
        co_await sleep_for(1s); // what was still on its way is refused
    }
    co_await ends_in_agreement(server, at, all);
}

/// Thousands of records of two operations: files and memory are those of the state.
task<> stays_small(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    single client(at);
    unsigned status = co_await client.create(all);
    expect(status == 201, "not created");
    status = co_await client.move(all, "start");
    for (int i = 0; i < 500; ++i) {
        if (i % 50 == 0) co_await sleep_for(5s); // a snapshot may take its time
        status = co_await client.move(all, i % 2 == 0 ? "pause" : "resume");
        expect(status == 200, "not moved");
    }
    co_await sleep_for(1min);
    io::folder opened = co_await io::folder::open(std::string(kept_in));
    const auto there = co_await opened.list();
    std::string names;
    for (const io::folder_entry& each : there) names += " " + each.name;
    expect(there.size() <= 6, "too many files for one operation:" + names);
    expect(!world.file(segment_file(1)), "the first segment is still there");
    const std::string listed = co_await list(at, all);
    co_await journal_agrees(listed);
    co_await server.kill();
    world.crash_disks();
    const bool back = co_await is_back(server, all);
    expect(back, "it does not come back");
}

/// Whatever happens to the tasks behind the connections, and then to the power.
task<> breaks_behind(sim::world& world) {
    running_tracker server;
    server.start();
    witness all;
    const io::endpoint at = co_await server.listening();
    manners rude;
    rude.messages = 3;
    rude.leaves = rude.may_break = rude.errors = true;
    co_await crowd(world, at, all, rude, 0, 2);
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    if (stream) { // else it has ended for want of memory
        tracker_client client(std::move(*stream));
        const answer got =
            co_await client.ask(http_text("POST", "/operations", R"({"name":"x"})"));
        expect(got.body.find("took too long") == got.body.npos, "a change waits for nobody");
    }
    co_await server.kill();
    world.crash_disks();
    bool back = co_await is_back(server, all); // or it happens then
    if (!back) {
        co_await server.kill();
        back = co_await is_back(server, all);
    }
    expect(back, "it does not come back");
}

/// A server that takes over a former journal is cut anywhere, the power fails; another one
/// goes on with it, if it has to, and then a usual one.
task<> takes_over_at_last(sim::world& world) {
    world.put_file("old", "{\"id\":1,\"name\":\"one\"}\n{\"id\":4,\"name\":\"four\"}\n"
                          "{\"id\":1,\"event\":\"start\"}\n");
    tracker::options importing;
    importing.former = "old";
    for (const char* name : {"first", "second"}) {
        running_tracker server(importing);
        server.start(name);
        std::string refusal;
        try {
            static_cast<void>(co_await server.listening());
        } catch (const std::exception& error) { // cut, or there is nothing left to do
            refusal = error.what();
        }
        const bool done = refusal.empty() || refusal.find("no new journal") != refusal.npos;
        expect(done || std::string_view(name) == "first", "it cannot be repeated: " + refusal);
        co_await server.kill();
        world.crash_disks();
    }
    running_tracker plain;
    plain.start();
    const io::endpoint at = co_await plain.listening();
    witness all;
    const std::string listed = co_await list(at, all);
    expect(listed.find("\"one\",\"state\":\"running\",\"messages\":1") != listed.npos &&
               listed.find("{\"id\":4,\"name\":\"four\",\"state\":\"pending\"") != listed.npos,
           "not what the former journal says: " + listed);
    single client(at);
    const answer made =
        co_await client.ask(http_text("POST", "/operations", R"({"name":"five"})"));
    expect(made.body.find("{\"id\":5,") == 0, "an id that was given before: " + made.body);
    co_await plain.stop();
}

} // namespace

TEST_CASE("tracker: S585: changes of different operations go on side by side; readers wait for "
          "none") {
    const auto found = sim::explore(seeds(60, 10), goes_side_by_side);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE(
    "tracker: S586: a change that was cut has happened once or not at all, for the next") {
    const auto found = sim::explore(seeds(150, 30), knows_what_was_cut);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: S587: the files are those of the state, not of the history") {
    const auto found = sim::explore(seeds(2), stays_small);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: S588: what happens to the tasks behind the connections loses nothing") {
    for (const char* victim : {"journal", "snapshots", "repairs"}) {
        auto options = everything_goes_wrong(victim, 2);
        options.world.strict_folders = true;
        const auto found = sim::cancel_at_every_await(options, breaks_behind);
        INFO(victim << ": " << found.to_string());
        CHECK(found);
        CHECK(!found.points.empty());
    }
}

TEST_CASE("tracker: S589: a former journal is taken over, however often that is cut") {
    auto options = everything_goes_wrong("first", 3);
    options.world.strict_folders = true;
    const auto found = sim::cancel_at_every_await(options, takes_over_at_last);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() > 20);
}
