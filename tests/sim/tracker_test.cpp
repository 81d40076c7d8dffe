// The operation tracker on a simulated kernel: every schedule, clients that leave in the
// middle, a cancellation at each of its awaits.
#include "support/tracker.hpp"

#include "support/failing_new.hpp"

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
    co_await ends_in_agreement(server, at, all);
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
    co_await ends_in_agreement(server, at, all);
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
    co_await ends_in_agreement(server, at, all);
}

std::string post_start() {
    return http_text("POST", "/operations/1/messages", R"({"event":"start"})");
}
std::string get_one() {
    return http_text("GET", "/operations/1");
}

task<> progresses(io::endpoint at, witness& all, unsigned& status) {
    single client(at);
    status = co_await client.move(all, "progress");
}
/// Two changes of two seconds each, within three: the second one has to wait for the lock, and
/// has no time left for its own.
task<> outlasts_its_deadline(sim::world& world) {
    tracker::options slow;
    slow.slow_sync = 2s;
    slow.clients.request_timeout = 3s;
    running_tracker server(slow);
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    single first(at);
    unsigned status = co_await first.create(all);
    expect(status == 201, "not created");
    unsigned one = 0;
    unsigned other = 0;
    status = co_await first.move(all, "start");
    expect(status == 200, "not started");
    const auto begun = world.now();
    co_await when_all(progresses(at, all, one), progresses(at, all, other));
    expect(world.now() - begun < 4s, "a request took longer than its deadline");
    const std::string ends = std::to_string(one) + " and " + std::to_string(other);
    expect((one == 503) != (other == 503), "not exactly one was out of time: " + ends);
    expect((one == 200) != (other == 200), "not exactly one was answered: " + ends);
    const std::string listed = co_await list(at, all);
    co_await journal_agrees(listed);
    expect(listed.find("\"messages\":2}") != std::string::npos, "there are not two messages");
    co_await server.stop();
}

task<> answers_a_pipeline(sim::world&) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    tracker_client client(std::move(*stream));
    std::string requests = http_text("POST", "/operations", R"({"name":"one"})");
    requests.append(post_start()).append(get_one()).append(post_start()).append(get_one());
    requests.append("GET /healthz HTTP/1.0\r\n\r\n");
    co_await client.send(requests);
    static constexpr std::array<unsigned, 6> expected = {201, 200, 200, 409, 200, 200};
    for (const unsigned each : expected) {
        const answer got = co_await with_timeout(10min, client.receive());
        expect(got.status == each, "the wrong answer, or in the wrong order: " + got.body);
    }
    const answer after = co_await with_timeout(10min, client.receive());
    expect(after.status == 0, "HTTP/1.0 was kept alive");
    co_await server.stop();
}

/// A text, and the status that it deserves.
std::pair<std::string, unsigned> nonsense(unsigned which) {
    switch (which) {
    case 0:
        return {"\x16\x03\x01 hello\r\n\r\n", 400};
    case 1:
        return {"GET / HTTP/1.1\r\n\r\n", 400}; // no host
    case 2:
        return {"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505};
    case 3:
        return {"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + std::string(9000, 'a'), 431};
    case 4:
        return {
            "POST /operations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n{",
            413};
    case 5:
        return {"GET / HTTP/1.1\r\nHo", 408};
    case 6:
        return {"POST /operations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
                408};
    case 7:
        return {http_text("POST", "/operations", "{\"name\":7}"), 400};
    default:
        return {http_text("PUT", "/operations"), 405};
    }
}
task<> refuses_nonsense(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    const auto sent = nonsense(world.choices().choose(9, sim::choice::amount));
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    tracker_client client(std::move(*stream));
    const answer got = co_await with_timeout(10min, client.ask(sent.first));
    expect(got.status == sent.second, "not " + std::to_string(sent.second) + " but " +
                                          std::to_string(got.status) + ": " + got.body);
    witness heard;
    co_await crowd(world, at, heard, {}, 0, 1);
    co_await server.stop();
}

/// Says all that it has to say, and that it has nothing more to say, before the answer.
task<> looks_like_leaving(sim::world&) {
    tracker::options slow;
    slow.slow_sync = 1s;
    running_tracker server(slow);
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    single first(at);
    const unsigned status = co_await first.create(all);
    expect(status == 201, "not created");
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    tracker_client client(std::move(*stream));
    co_await client.send(post_start());
    client.stream().shutdown_write();
    const answer got = co_await with_timeout(10min, client.receive());
    expect(got.status == 0, "an answer to a client that has left: " + got.body);
    co_await ends_in_agreement(server, at, all);
}

task<> drains_at_work(sim::world& world) {
    tracker::options slow;
    slow.slow_sync = 100ms;
    running_tracker server(slow);
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    manners how;
    how.may_break = true; // refused, once it has stopped
    auto clients = spawn(crowd(world, at, all, how, 0, 3));
    co_await sleep_for(10ms * world.choices().choose(100, sim::choice::timing));
    const auto begun = world.now();
    co_await server.stop();
    expect(world.now() - begun < 4s, "requests in flight held up the drain");
    clients.cancel();
    static_cast<void>(co_await clients.outcome());
    server.start();
    const io::endpoint again = co_await server.listening();
    co_await ends_in_agreement(server, again, all);
}

/// Two clients at work while something happens to a connection of the server; one later.
task<> cancelled_somewhere(sim::world& world) {
    running_tracker server;
    server.start();
    const io::endpoint at = co_await server.listening();
    witness all;
    manners patient;
    patient.messages = 1;
    patient.may_break = patient.errors = true;
    co_await crowd(world, at, all, patient, 0, 2);
    co_await crowd(world, at, all, patient, 2, 1);
    expect(all.errors() > 0 || all.operations() >= 3, "a client gave up");
    co_await server.kill();
    const bool back = co_await is_back(server, all);
    expect(back, "it does not come back");
}

/// The server itself is cancelled. It can be started again, and knows what it knew.
task<> stopped_somewhere(sim::world& world) {
    running_tracker server;
    server.start();
    witness all;
    try {
        const io::endpoint at = co_await server.listening();
        manners patient;
        patient.messages = 1;
        patient.may_break = patient.errors = true;
        co_await with_timeout(5min, crowd(world, at, all, patient, 0, 2));
    } catch (const task_cancelled&) {
        // before it listened
    } catch (const std::system_error&) {
        // it failed
    } catch (const timeout_error&) {
        // deaf since
    }
    co_await server.kill();
    world.crash_disks();
    // Cancelled again, perhaps, on its way back; in a pair, twice.
    bool back = co_await is_back(server, all);
    for (int again = 0; again < 2 && !back; ++again) {
        co_await server.kill();
        back = co_await is_back(server, all);
    }
    expect(back, "it does not come back");
}

} // namespace

TEST_CASE("tracker: a request beyond its deadline is answered 503, the next ones as usual") {
    const auto found = sim::explore(seeds(60, 10), outlasts_its_deadline);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: requests sent ahead are answered in their order") {
    const auto found = sim::explore(seeds(100, 20), answers_a_pipeline);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: nonsense is answered with the right status and harms nobody else") {
    const auto found = sim::explore(seeds(150, 30), refuses_nonsense);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: a client that shuts down its sending half gets no answer") {
    const auto found = sim::explore(seeds(60, 10), looks_like_leaving);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: a drain answers the requests in flight and loses nothing") {
    const auto found = sim::explore(seeds(100, 20), drains_at_work);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tracker: a connection cancelled at any await is nobody else's trouble") {
    auto options = everything_goes_wrong("conn ", 1);
    options.world.calm_after = 10s;
    options.world.settles_within = 5min;
    const auto found = sim::cancel_at_every_await(options, cancelled_somewhere);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() > 50);
    CHECK(found.allocations > 100);
}

TEST_CASE("tracker: cancelled at any await of its own, it has lost nothing when it is back") {
    for (const char* victim : {"accept", "server"}) {
        auto options = everything_goes_wrong(victim, 2);
        const auto found = sim::cancel_at_every_await(options, stopped_somewhere);
        INFO(victim << ": " << found.to_string());
        CHECK(found);
        CHECK(!found.points.empty());
    }
}

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
    calm_down(options, 2s, 3min);
    const auto found = sim::explore(options, outlives_network);
    INFO(found.to_string());
    CHECK(found);
}
