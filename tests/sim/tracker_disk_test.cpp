// The operation tracker on simulated disks: full ones, failing ones, and power that goes.
#include "support/tracker.hpp"

#include <catch2/catch.hpp>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Work, a crash of the machine in the middle of it, a restart; what anybody was told holds.
task<> crashes(sim::world& world, manners how, bool power) {
    witness all;
    running_tracker server;
    for (unsigned round = 0; round < 3; ++round) {
        server.start();
        const io::endpoint at = co_await server.listening();
        if (round > 0) static_cast<void>(co_await list(at, all));
        auto clients = spawn(crowd(world, at, all, how, 10 * round, 3));
        co_await sleep_for(100us * (1 + world.choices().choose(60, sim::choice::timing)));
        co_await server.kill();
        clients.cancel();
        static_cast<void>(co_await clients.outcome());
        if (power) world.crash_disks();
    }
    server.start();
    const io::endpoint at = co_await server.listening();
    co_await ends_in_agreement(server, at, all);
}
task<> loses_power(sim::world& world) {
    manners how;
    how.may_break = how.leaves = true;
    how.note_size = world.choices().choose(2, sim::choice::amount) * 300;
    co_await crashes(world, how, true);
}
task<> is_killed(sim::world& world) {
    manners how;
    how.may_break = how.leaves = true;
    co_await crashes(world, how, false);
}

task<> has_bad_disks(sim::world& world) {
    witness all;
    running_tracker server;
    manners how;
    how.errors = true;
    how.leaves = world.choices().choose(2, sim::choice::fault) == 1;
    for (unsigned round = 0; round < 3; ++round) {
        server.start();
        const outcome<io::endpoint> at = co_await as_outcome(server.listening());
        if (!at.has_value()) continue; // the journal could not be opened, or not be synced
        static_cast<void>(co_await list(at.value(), all));
        co_await crowd(world, at.value(), all, how, 10 * round, 3);
        co_await server.kill();
        world.crash_disks();
    }
}

/// A sync that fails, and then perhaps a server that is started again before the power fails.
task<> fails_to_sync(sim::world& world, bool restart) {
    witness all;
    running_tracker server;
    server.start();
    {
        const io::endpoint at = co_await server.listening();
        single client(at);
        unsigned status = co_await client.create(all);
        expect(status == 201, "not created");
        world.fail_next_sync();
        status = co_await client.move(all, "start");
        expect(status == 503, "a message that is not on the disk was confirmed");
        // What can be read is what was certain before, and it has to hold.
        const answer shown = co_await client.ask(http_text("GET", "/operations/1"));
        expect(shown.ok(), "the last durable state cannot be read: " + shown.body);
        all.hear(shown.body.substr(0, shown.body.find('\n')), all.known(1));
        expect(shown.body.find("pending") != shown.body.npos, "it is shown: " + shown.body);
        const answer health = co_await client.ask(http_text("GET", "/healthz"));
        expect(health.status == 503 &&
                   health.body.find("sync operations.journal") != health.body.npos,
               "its health is " + std::to_string(health.status) + " " + health.body);
        status = co_await client.move(all, "fail");
        expect(status == 503, "it goes on writing");
        expect(server.failures() == 1, "the surroundings were not told once");
    }
    co_await server.kill();
    if (restart) {
        server.start();
        const io::endpoint at = co_await server.listening();
        static_cast<void>(co_await list(at, all));
        if (world.choices().choose(2, sim::choice::amount) == 1) {
            single client(at);
            static_cast<void>(co_await client.move(all, "start"));
            const unsigned status = co_await client.move(all, "pause");
            expect(status == 200, "the new server does not work");
        }
        co_await server.kill();
    }
    world.crash_disks();
    server.start();
    const io::endpoint at = co_await server.listening();
    static_cast<void>(co_await list(at, all));
    co_await server.stop();
}

/// Two changes that have looked at the journal when it fails for the first: the second is
/// refused, by then, and knows that it has not happened.
task<> comes_too_late(io::endpoint at, std::string name, std::chrono::nanoseconds after,
                      answer& got) {
    co_await sleep_for(after);
    single client(at);
    got = co_await client.ask(http_text("POST", "/operations", "{\"name\":\"" + name + "\"}"));
}
task<> fails_before_a_record(sim::world& world) {
    tracker::options slow;
    slow.slow_sync = 1s;
    running_tracker server(slow);
    server.start();
    const io::endpoint at = co_await server.listening();
    std::array<answer, 2> got;
    co_await comes_too_late(at, "before", 0ms, got[0]);
    expect(got[0].status == 201, "not created: " + got[0].body);
    world.fail_next_sync();
    co_await when_all(comes_too_late(at, "first", 0ms, got[0]),
                      comes_too_late(at, "second", 500ms, got[1]));
    const std::string unknown = "it is unknown whether this has happened";
    expect(got[0].status == 503 && got[0].body.find(unknown) != std::string::npos,
           "the first: " + got[0].body);
    expect(got[1].status == 503 && got[1].body.find(unknown) == std::string::npos,
           "the second: " + got[1].body);
    single client(at);
    const answer metrics = co_await client.ask(http_text("GET", "/metrics"));
    expect(metrics.body.find("tracker_poisonings_total{reason=\"exception\"} 1\n") !=
               std::string::npos,
           "not the first alone has poisoned: " + metrics.body);
    co_await server.kill();
}

/// A server that takes over this former journal. Gives what it lists, or why it does not start.
task<> takes_over(sim::world& world, std::string content, std::string& refusal,
                  std::string& listed) {
    world.put_file("old", content);
    tracker::options importing;
    importing.former = "old";
    running_tracker server(importing, "/srv/" + std::to_string(content.size()) + "/new");
    world.make_folder("/srv/" + std::to_string(content.size()));
    server.start();
    witness all;
    refusal.clear();
    try {
        const io::endpoint at = co_await server.listening();
        listed = co_await list(at, all);
    } catch (const std::runtime_error& error) {
        refusal = error.what();
    }
    if (refusal.empty()) co_await server.stop();
    expect(world.file("old") == content, "changed a file that it was only to read");
}

constexpr std::string_view whole = "{\"id\":1,\"name\":\"one\"}\n";

task<> leaves_out_what_is_torn(sim::world& world) {
    const std::string zeros(300, '\0');
    std::string refusal;
    std::string listed;
    for (const std::string& torn :
         {std::string("{\"id\":1,\"event\":\"start\",\"no"), zeros, zeros + "nn\"}\n",
          "{\"id\":1,\"event\":\"start\",\"note\":\"n" + zeros,
          "{\"id\":1,\"event\":\"start\",\"note\":\"n" + zeros + "n\"}\n"}) {
        co_await takes_over(world, std::string(whole) + torn, refusal, listed);
        expect(refusal.empty(), "torn off in the middle of a record, it was refused");
        expect(listed.find("\"state\":\"pending\",\"messages\":0") != listed.npos,
               "not what was whole: " + listed);
    }
}
task<> takes_over_no_damage(sim::world& world) {
    const std::string zeros(300, '\0');
    std::string refusal;
    std::string listed;
    for (const std::string& damaged :
         {zeros + "nn\"}\n" + std::string(whole), zeros + "}\n" + zeros,
          std::string(whole) + std::string(whole), std::string("# notes\n"),
          std::string("{\"id\":1,\"event\":\"start\"}\n")}) {
        co_await takes_over(world, damaged, refusal, listed);
        expect(refusal.find("old line ") == 0, "served from a damaged journal: " + refusal);
    }
}

/// A bit of what was acknowledged is flipped, a server killed before or not.
task<> refuses_flipped_bits(sim::world& world) {
    tracker::options no_snapshots;
    no_snapshots.snapshot_bytes = 1 << 20;
    running_tracker server(no_snapshots);
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    single client(at);
    unsigned status = co_await client.create(all);
    expect(status == 201, "not created");
    for (const char* event : {"start", "pause", "resume", "pause"}) {
        status = co_await client.move(all, event);
        expect(status == 200, "not moved");
    }
    co_await server.stop();
    const std::string good = world.file(segment_file(1)).value();
    const std::string_view places[] = {"\"one\"", "start", "pause", "resume"};
    const auto which = places[world.choices().choose(4, sim::choice::fault)];
    std::string flipped = good;
    const std::size_t byte = good.find(which) + 1;
    flipped[byte] = static_cast<char>(flipped[byte] ^ 1);
    world.put_file(segment_file(1), flipped);
    server.start();
    std::string refusal;
    try {
        static_cast<void>(co_await server.listening());
    } catch (const std::runtime_error& error) {
        refusal = error.what();
    }
    expect(refusal.find(segment_file(1)) != refusal.npos, "served from damage: " + refusal);
    expect(world.file(segment_file(1)) == flipped, "changed a file that is damaged");
    world.put_file(segment_file(1), good);
    server.start();
    const io::endpoint again = co_await server.listening();
    static_cast<void>(co_await list(again, all));
    co_await server.stop();
}

// What it says when it cannot begin.
task<std::string> complaint_about(std::string_view path) {
    running_tracker server({}, path);
    server.start();
    try {
        static_cast<void>(co_await server.listening());
    } catch (const std::exception& error) {
        co_return error.what();
    }
    co_await server.stop();
    co_return "";
}
task<> has_no_folder(sim::world& world) {
    std::string said = co_await complaint_about("/var/lib/tracker/journal");
    expect(said == "open /var/lib/tracker: No such file or directory",
           "of a missing folder it says: " + said);
    expect(!world.file("/var/lib/tracker/journal"), "and a journal was made");
    world.put_file("/var/lib", "");
    said = co_await complaint_about("/var/lib/tracker/journal");
    expect(said == "open /var/lib/tracker: Not a directory",
           "of a file in the way it says: " + said);
    world.make_folder("/srv/tracker");
    said = co_await complaint_about("/srv/tracker/journal");
    expect(said.empty(), "with its folder it says: " + said);
}

} // namespace

TEST_CASE("tracker: a journal in a folder that is not there is a clear error") {
    const auto found = sim::explore(seeds(50, 10), has_no_folder);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: a former journal's torn last record is left out when it is taken over") {
    const auto found = sim::explore(seeds(20), leaves_out_what_is_torn);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE(
    "tracker: a former journal that is damaged elsewhere, or none, is refused unchanged") {
    const auto found = sim::explore(seeds(20), takes_over_no_damage);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: S584: a flipped bit of what was acknowledged is refused unchanged") {
    const auto found = sim::explore(seeds(40), refuses_flipped_bits);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: a message whose sync failed is neither confirmed nor shown") {
    const auto body = [](sim::world& world) { return fails_to_sync(world, false); };
    const auto found = sim::explore(seeds(40, 10), body);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: S593: a change whose journal fails before its record has not happened") {
    const auto found = sim::explore(seeds(20, 5), fails_before_a_record);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: a new server does not trust what a failed sync left in memory") {
    const auto body = [](sim::world& world) { return fails_to_sync(world, true); };
    const auto found = sim::explore(seeds(40, 10), body);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: what it has told anybody survives a failure of power") {
    auto options = seeds(150, 30);
    options.world.strict_folders = true;
    const auto found = sim::explore(options, loses_power);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: what it has told anybody survives its own sudden death") {
    const auto found = sim::explore(seeds(100, 20), is_killed);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: full and failing disks cost answers, never what was answered") {
    auto options = seeds(150, 30);
    options.world.disk_faults = true;
    calm_down(options, 2s, 3min);
    const auto found = sim::explore(options, has_bad_disks);
    INFO(found.to_string());
    CHECK(found);
}
