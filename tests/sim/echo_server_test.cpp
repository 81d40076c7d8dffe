// examples/echo_server.hpp on a simulated kernel: every schedule, faulty networks, a
// cancellation at each of its awaits.
#include "echo_server.hpp"

#include "support/simulated.hpp"

#include "support/failing_new.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Different for every client and place, so that no byte can take another's place unnoticed.
std::string message(unsigned client, std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>(client * 61 + i * 7 + i / 251);
    }
    return text;
}

/// The echo server, as a task of the scenario.
class running_server {
public:
    running_server() { limits_.drain = 2s; }
    [[nodiscard]] io::serve_limits& limits() noexcept { return limits_; }
    void start() { serving_.emplace(spawn(serve(*this), {.name = "server"})); }
    [[nodiscard]] task<io::endpoint> listening() const { return at_.known(); }
    [[nodiscard]] task<io::serve_report> stop() {
        stop_.cancel(cancel_reason::shutdown);
        co_await *serving_;
        co_return report_;
    }
    void ask_to_stop() { stop_.cancel(cancel_reason::shutdown); }

private:
    static task<> serve(running_server& self) {
        auto on_listening = [&self](const io::endpoint& at) { self.at_.set(at); };
        const auto quiet = [](const io::endpoint&, const std::exception_ptr&) {};
        self.report_ =
            co_await echo_server::serve_echo(io::endpoint::loopback(7000), self.limits_, 60s,
                                             self.stop_.token(), on_listening, quiet);
    }

    io::serve_limits limits_;
    cancellation_source stop_;
    address at_;
    io::serve_report report_;
    std::optional<join_handle<void>> serving_;
};

/// How a client fared.
enum class fate : unsigned char { echoed, broken, refused };

task<> send_and_finish(io::tcp_stream& to, const std::string& what) {
    co_await to.write_all(what);
    to.shutdown_write();
}

/// Sends, reads at the same time, and checks that nothing comes but what it has sent.
task<fate> converse(io::endpoint at, unsigned client, std::size_t size) {
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    if (!stream) co_return fate::refused;
    const std::string sent = message(client, size);
    std::string got;
    bool broken = false;
    try {
        co_await with_timeout(
            10min, when_all(send_and_finish(*stream, sent), read_to_end(*stream, got)));
    } catch (const std::system_error&) {
        broken = true;
    } catch (const timeout_error&) {
        broken = true; // nobody has accepted it
    }
    expect(sent.compare(0, got.size(), got) == 0 && got.size() <= sent.size(),
           "client " + std::to_string(client) + " got what it had not sent");
    co_return !broken && got.size() == sent.size() ? fate::echoed : fate::broken;
}

std::size_t any_size(sim::world& world) {
    static constexpr std::array<std::size_t, 6> sizes = {100, 1, 3000, 16384, 40000, 100000};
    return sizes[world.choices().choose(sizes.size(), sim::choice::amount)];
}

task<> must_echo(sim::world& world, io::endpoint at, unsigned client) {
    const fate end = co_await converse(at, client, any_size(world));
    expect(end == fate::echoed,
           "client " + std::to_string(client) + " was not answered in full");
}
task<> may_break(sim::world& world, io::endpoint at, unsigned client) {
    static_cast<void>(co_await converse(at, client, any_size(world)));
}

/// `clients` of one kind, at the same time.
template <class Client>
task<> crowd(sim::world& world, io::endpoint at, unsigned clients, Client client) {
    auto body = [&](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < clients; ++i) {
            scope.spawn(client(world, at, i), {.name = "client", .where = placement::any()})
                .detach();
        }
        co_return;
    };
    co_await with_scope(body);
}

task<> echoes_to_all(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    co_await crowd(world, at, 3, must_echo);
    const io::serve_report report = co_await server.stop();
    expect(report.accepted == 3, "there were not 3 connections");
    expect(report.failed == 0, "a handler failed");
    expect(report.cut == 0, "a handler was cut");
}

task<> survives_faults(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    co_await crowd(world, at, 4, may_break);
    static_cast<void>(co_await server.stop());
}

/// What a network may do, one thing after the other, and then it is well again.
task<> harass(sim::world& world) {
    for (int i = 0; i < 4; ++i) {
        co_await sleep_for(100us * world.choices().choose(20, sim::choice::timing));
        switch (world.choices().choose(4, sim::choice::fault)) {
        case 1:
            world.reset_connections();
            break;
        case 2:
            world.partition();
            co_await sleep_for(10s * (1 + world.choices().choose(9, sim::choice::timing)));
            world.heal();
            break;
        case 3:
            world.partition();
            co_await sleep_for(1s);
            world.reset_connections();
            world.heal();
            break;
        default:
            break;
        }
    }
}

task<> serves_afterwards(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    co_await when_all(crowd(world, at, 3, may_break), harass(world));
    co_await crowd(world, at, 2, must_echo);
    static_cast<void>(co_await server.stop());
}

/// Writes without ever reading, until the server loses patience.
task<> writes_only(sim::world&, io::endpoint at, unsigned) {
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    const std::string much = message(7, 400'000);
    const auto ended = co_await try_with_timeout(10min, stream->write_all(much));
    expect(ended.has_exception(), "the server took more than it could send back");
}
task<> drops_those_who_do_not_read(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    const auto begun = world.now();
    co_await when_all(crowd(world, at, 1, writes_only), crowd(world, at, 2, must_echo));
    const auto took = world.now() - begun;
    expect(took >= 60s && took < 3min, "it took another time than the idle timeout");
    const io::serve_report report = co_await server.stop();
    expect(report.failed == 1, "the one client that does not read is not the one that failed");
}

/// Leaves in the middle: with half of the answer unread, or half of the question unsent.
task<> vanishes(sim::world& world, io::endpoint at, unsigned client) {
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    const std::string sent = message(client, any_size(world));
    try {
        co_await with_timeout(100us * world.choices().choose(30, sim::choice::timing),
                              stream->write_all(sent));
        char first = 0;
        static_cast<void>(co_await with_timeout(1s, stream->read_some(std::span(&first, 1))));
    } catch (const timeout_error&) {
        // this is the middle
    }
}
task<> lets_go_who_vanishes(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    co_await when_all(crowd(world, at, 3, vanishes), crowd(world, at, 1, must_echo));
    // Nobody is told of a peer that is gone before something is written to him, or he is read.
    co_await sleep_for(121s);
    const io::serve_report report = co_await server.stop();
    expect(report.cut == 0, "the server still held the connection of a peer that had left");
}

task<> bounds_connections(sim::world& world) {
    running_server server;
    server.limits().max_connections = 2;
    server.start();
    const io::endpoint at = co_await server.listening();
    co_await crowd(world, at, 5, must_echo);
    const io::serve_report report = co_await server.stop();
    expect(report.peak <= 2, "more handlers ran than may");
    expect(report.accepted == 5, "somebody was not served");
}

/// Says little, and waits for the end of the connection.
task<> lingers(sim::world&, io::endpoint at, unsigned client) {
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    if (!stream) co_return; // too late
    const std::string sent = message(client, 300);
    std::string got;
    try {
        co_await stream->write_all(sent);
        co_await with_timeout(20s, read_to_end(*stream, got));
    } catch (const std::system_error&) {
        // closed before it was accepted, or with bytes that nobody had read
    }
    expect(sent.compare(0, got.size(), got) == 0, "got what was not sent");
}
task<> asks_to_stop(sim::world& world, running_server& server) {
    co_await sleep_for(50us * world.choices().choose(40, sim::choice::timing));
    server.ask_to_stop();
}
task<> drains(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    auto stopping = spawn(asks_to_stop(world, server));
    auto clients = spawn(crowd(world, at, 3, lingers));
    co_await stopping;
    const auto begun = world.now();
    const io::serve_report report = co_await server.stop();
    expect(world.now() - begun < 1s, "idle connections held up the drain");
    expect(report.cut == 0 && report.failed == 0, "a drained connection failed or was cut");
    clients.cancel();
    static_cast<void>(co_await clients.outcome());
}

task<> cuts_what_does_not_end(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    auto client = spawn(crowd(world, at, 1, writes_only));
    co_await sleep_for(1s);
    const auto begun = world.now();
    const io::serve_report report = co_await server.stop();
    const auto took = world.now() - begun;
    expect(took >= 2s && took < 3s, "the drain did not last as long as it may");
    expect(report.cut == 1, "the one connection that was cut is not counted");
    co_await client;
}

/// One connection is cancelled, of a pair perhaps two; the clients of the others must not
/// notice.
task<> cancelled_somewhere(sim::world& world) {
    running_server server;
    server.start();
    const io::endpoint at = co_await server.listening();
    unsigned broken = 0;
    const auto client = [&broken](sim::world& in, io::endpoint to, unsigned i) -> task<> {
        const fate end = co_await converse(to, i, any_size(in));
        broken += end != fate::echoed;
    };
    co_await crowd(world, at, 2, client);
    co_await client(world, at, 2);
    const unsigned victims = std::getenv("TOADSTONE_SIM_PAIRS") ? 2 : 1;
    expect(broken <= victims, "a connection was hurt that was not cancelled");
    static_cast<void>(co_await server.stop());
}

/// Clients that get what is theirs or nothing, whatever is done to the server's tasks; then the
/// server is asked to stop, and does.
task<> stopped_somewhere(sim::world& world) {
    running_server server;
    server.start();
    const auto at = co_await try_with_timeout(1s, server.listening());
    if (at.has_value()) co_await with_timeout(1h, crowd(world, at.value(), 2, may_break));
    try {
        static_cast<void>(co_await server.stop());
    } catch (const task_cancelled&) {
        // the server itself was the victim
    } catch (const std::system_error& error) {
        // an accept that cannot be waited out ends a server
        if (error.code().value() != EIO) throw;
    }
}

} // namespace

TEST_CASE("echo server: every byte comes back, in order, on a hostile kernel") {
    const auto found = sim::explore(seeds(150, 30), echoes_to_all);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: on a faulty network nobody gets a byte that is not his") {
    auto options = seeds(150, 30);
    options.world.network_faults = true;
    calm_down(options, 2s, 3min);
    const auto found = sim::explore(options, survives_faults);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: after resets and partitions it serves as before") {
    auto options = seeds(150, 30);
    calm_down(options, 30s, 10min); // six of them are harass()'s own
    const auto found = sim::explore(options, serves_afterwards);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: a client that does not read is dropped, the others notice nothing") {
    const auto found = sim::explore(seeds(40, 10), drops_those_who_do_not_read);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: a client that vanishes in the middle leaves nothing behind") {
    const auto found = sim::explore(seeds(100, 20), lets_go_who_vanishes);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: never more connections than the limit, and everybody's turn comes") {
    const auto found = sim::explore(seeds(100, 20), bounds_connections);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: a drain ends idle connections at once") {
    const auto found = sim::explore(seeds(150, 30), drains);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: a drain cuts, at its end, who does not read") {
    const auto found = sim::explore(seeds(40, 10), cuts_what_does_not_end);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("echo server: a connection cancelled at any await harms no other") {
    auto options = everything_goes_wrong("conn ", 2);
    options.world.calm_after = 10s;
    options.world.settles_within = 5min;
    const auto found = sim::cancel_at_every_await(options, cancelled_somewhere);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() >= 9);
    CHECK(found.allocations >= (options.seeds > 0 ? 9U : 3U)); // the calm world has fewest
}

TEST_CASE("echo server: cancelled at any await of its own, it ends and leaves nothing") {
    for (const char* victim : {"accept", "server"}) {
        auto options = everything_goes_wrong(victim, 2);
        const auto found = sim::cancel_at_every_await(options, stopped_somewhere);
        INFO(victim << ": " << found.to_string());
        CHECK(found);
        CHECK(!found.points.empty());
    }
}
