// The simulated network: how long it takes, and what does not get through.
#include "support/simulated.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Both ends of a connection.
struct line {
    io::tcp_stream here;  ///< connected
    io::tcp_stream there; ///< accepted
};
task<line> connects(io::tcp_listener& to) {
    auto here = co_await io::tcp_stream::connect(to.local_endpoint());
    auto there = co_await to.accept();
    co_return line{std::move(here), std::move(there)};
}

task<std::string> reads(io::tcp_stream& from, std::size_t count) {
    std::string text;
    char buffer[64];
    while (text.size() < count) {
        const std::size_t room = std::min(sizeof buffer, count - text.size());
        const std::size_t got = co_await from.read_some(std::span(buffer).first(room));
        if (got == 0) break;
        text.append(buffer, got);
    }
    co_return text;
}
// Whether this arrives within a minute.
task<bool> arrives(io::tcp_stream& from, std::string what) {
    const auto got = co_await try_with_timeout(1min, reads(from, what.size()));
    expect(got.is_cancelled() || got.value() == what, "something else arrived");
    co_return !got.is_cancelled();
}

// The shortest of many: a single segment may be slower than its connection.
task<std::chrono::nanoseconds> takes(sim::world& world, io::tcp_stream& from,
                                     io::tcp_stream& to) {
    std::chrono::nanoseconds shortest = 1h;
    for (int i = 0; i < 20; ++i) {
        const auto begun = world.now();
        co_await from.write_all("x");
        static_cast<void>(co_await reads(to, 1));
        shortest = std::min(shortest, world.now() - begun);
    }
    co_return shortest;
}

using there_and_back = std::pair<std::chrono::nanoseconds, std::chrono::nanoseconds>;

task<> measures(sim::world& world, std::set<there_and_back>& seen) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto between = co_await connects(listener);
    const auto there = co_await takes(world, between.here, between.there);
    const auto back = co_await takes(world, between.there, between.here);
    seen.emplace(there, back);
}

// A number for each byte, in order, whatever is slow.
task<> counts_up(io::tcp_stream& to) {
    for (char c = 'a'; c <= 'z'; ++c) co_await to.write_all(std::string_view(&c, 1));
}
task<> keeps_order(sim::world&) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto between = co_await connects(listener);
    auto counting = spawn(counts_up(between.here));
    const std::string got = co_await reads(between.there, 26);
    co_await counting;
    expect(got == "abcdefghijklmnopqrstuvwxyz", "out of order: " + got);
}

task<> clogs_one_way(sim::world& world) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    expect(world.connections_made() == 0, "there is a connection already");
    auto first = co_await connects(listener);
    auto second = co_await connects(listener);
    expect(world.connections_made() == 2, "two connections are not two");
    world.clog(0, sim::side::acceptor);
    for (line* each : {&first, &second}) {
        co_await each->here.write_all("there");
        co_await each->there.write_all("back");
    }
    bool came = co_await arrives(second.there, "there");
    expect(came, "the neighbour is clogged");
    came = co_await arrives(second.here, "back");
    expect(came, "the neighbour is clogged");
    came = co_await arrives(first.here, "back");
    expect(came, "the other direction is clogged");
    first.here.shutdown_write();
    came = co_await arrives(first.there, "there");
    expect(!came, "it is not clogged");
    world.unclog(0, sim::side::acceptor);
    came = co_await arrives(first.there, "there");
    expect(came, "what was sent meanwhile is lost");
    char end = 0;
    const std::size_t rest = co_await first.there.read_some(std::span(&end, 1));
    expect(rest == 0, "the end of the stream is lost");
}

task<> clogs_all(sim::world& world) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    world.clog(1, sim::side::connector);
    world.clog_all(sim::side::acceptor);
    auto first = co_await connects(listener);
    auto second = co_await connects(listener);
    for (line* each : {&first, &second}) {
        co_await each->here.write_all("there");
        co_await each->there.write_all("back");
        bool came = co_await arrives(each->there, "there");
        expect(!came, "one is not clogged");
        came = co_await arrives(each->here, "back");
        expect(came == (each == &first), "the other direction is not as it was clogged");
    }
    world.unclog_all();
    bool came = co_await arrives(first.there, "there");
    expect(came, "one is still clogged");
    came = co_await arrives(second.there, "there");
    expect(came, "one is still clogged");
    came = co_await arrives(second.here, "back");
    expect(came, "one that was clogged by itself is still so");
}

// Nobody has a time limit: only the network can go on.
task<> waits_behind_a_clog(sim::world& world, bool all) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto between = co_await connects(listener);
    if (all) {
        world.clog_all();
    } else {
        world.clog(0);
    }
    co_await between.here.write_all("x");
    static_cast<void>(co_await reads(between.there, 1));
}
task<> unclogs_later(sim::world& world) {
    co_await sleep_for(1h);
    world.unclog(0);
}
task<> waits_behind_a_partition(sim::world& world) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    world.partition();
    auto between = co_await connects(listener);
    static_cast<void>(between);
}

// --- families ---

std::string without_port(const io::endpoint& which) {
    return which.with_port(0).to_string();
}
task<> names_of(io::endpoint at, io::endpoint to, std::string client, std::string server) {
    auto listener = io::tcp_listener::bind(at);
    const std::uint16_t port = listener.local_endpoint().port();
    expect(without_port(listener.local_endpoint()) == without_port(at), "listens elsewhere");
    auto here = co_await io::tcp_stream::connect(to.with_port(port));
    auto there = co_await listener.accept();
    expect(without_port(here.local()) == client, "connects from " + here.local().to_string());
    expect(without_port(there.peer()) == client, "the peer is " + there.peer().to_string());
    expect(there.peer().port() == here.local().port(), "the peer has another port");
    expect(without_port(there.local()) == server, "accepted at " + there.local().to_string());
    expect(there.local().port() == port, "accepted at another port");
}
task<> tells_names(sim::world&) {
    const auto v4 = io::endpoint::loopback(0);
    const auto v6 = io::endpoint::of("::1", 0);
    const auto any = io::endpoint::of("::", 0);
    co_await names_of(v4, v4, "127.0.0.1:0", "127.0.0.1:0");
    co_await names_of(v6, v6, "[::1]:0", "[::1]:0");
    co_await names_of(any, v6, "[::1]:0", "[::1]:0");
    auto listener = io::tcp_listener::bind(any);
    const auto to = v4.with_port(listener.local_endpoint().port());
    auto here = co_await io::tcp_stream::connect(to);
    auto there = co_await listener.accept();
    expect(here.local().kind() == io::endpoint::family::v4, "an IPv4 socket has turned");
    expect(without_port(there.peer()) == "[::ffff:127.0.0.1]:0",
           "the peer is " + there.peer().to_string());
}
task<> refuses_the_other_family(sim::world&) {
    const auto v4 = io::endpoint::loopback(0);
    const auto v6 = io::endpoint::of("::1", 0);
    for (const auto& [at, to] : {std::pair(v4, v6), std::pair(v6, v4)}) {
        auto listener = io::tcp_listener::bind(at);
        const auto wrong = to.with_port(listener.local_endpoint().port());
        const auto end = co_await as_outcome(io::tcp_stream::connect(wrong));
        expect(end.has_exception(), "connected to a listener of the other family");
    }
}
task<> tells_its_name(std::string& into) {
    into = this_task::name();
    co_return;
}
task<> serves_ipv6(sim::world&) {
    std::string name;
    cancellation_source stop;
    address at;
    auto handler = [&name](io::tcp_stream) { return tells_its_name(name); };
    auto listening = [&at](const io::endpoint& where) { at.set(where); };
    auto server = spawn(
        io::serve({.at = io::endpoint::of("::1", 0)}, handler, {}, stop.token(), listening));
    const io::endpoint to = co_await at.known();
    auto client = co_await io::tcp_stream::connect(to);
    const std::string own = client.local().to_string();
    char end = 0;
    static_cast<void>(co_await client.read_some(std::span(&end, 1)));
    stop.cancel();
    static_cast<void>(co_await server);
    expect(name == "conn " + own && own.find("[::1]:") == 0, own + " is served as " + name);
}

} // namespace

TEST_CASE("network: addresses of either family come back as they are") {
    const auto found = sim::explore(seeds(50), tells_names);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("network: who listens at one address is not found by the other family") {
    const auto found = sim::explore(seeds(50), refuses_the_other_family);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("network: a connection of IPv6 is served under its name") {
    const auto found = sim::explore(seeds(50), serves_ipv6);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("network: in a hostile world each direction of a connection has its own latency") {
    std::set<there_and_back> seen;
    const auto body = [&seen](sim::world& world) { return measures(world, seen); };
    auto options = seeds(300);
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
    for (const auto there : {10us, 50us, 1000us}) {
        for (const auto back : {10us, 50us, 1000us}) {
            INFO(there.count() << " " << back.count());
            CHECK(seen.count({there, back}) == 1);
        }
    }
    seen.clear();
    CHECK(sim::simulate(body));
    CHECK(seen == std::set<there_and_back>{{50us, 50us}});
}

TEST_CASE("network: a stream keeps its order, whatever its latency") {
    const auto found = sim::explore(seeds(200), keeps_order);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("network: one direction can be clogged, and loses nothing") {
    const auto found = sim::explore(seeds(100, 20), clogs_one_way);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("network: all connections can be clogged, those to come as well") {
    const auto found = sim::explore(seeds(100, 20), clogs_all);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("network: who waits behind a clog for ever is told as a deadlock") {
    for (const bool all : {false, true}) {
        const auto body = [all](sim::world& world) { return waits_behind_a_clog(world, all); };
        const auto end = sim::simulate(body);
        CHECK_FALSE(end);
        CHECK_THAT(end.failure,
                   Catch::Contains("nobody can go on") && Catch::Contains("network_test.cpp:"));
        CHECK(end.steps < 1000);
    }
}

TEST_CASE("network: a clog that somebody will end is no deadlock") {
    const auto body = [](sim::world& world) -> task<> {
        co_await when_all(waits_behind_a_clog(world, false), unclogs_later(world));
    };
    const auto found = sim::explore(seeds(50), body);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("network: clogs and partitions end where the world gets calm, and at that time") {
    auto options = seeds(50);
    options.world.calm_after = 10s;
    const auto behind = [](auto wait) {
        return [wait](sim::world& world) -> task<> {
            const auto begun = world.now();
            // A timer for later must not carry the clock past that time.
            co_await with_timeout(1h, wait(world));
            const auto took = world.now() - begun;
            expect(took >= 10s && took < 11s, "it went on at another time");
        };
    };
    const auto one = [](sim::world& world) { return waits_behind_a_clog(world, false); };
    const auto all = [](sim::world& world) { return waits_behind_a_clog(world, true); };
    auto found = sim::explore(options, behind(one));
    INFO(found.to_string());
    CHECK(found);
    found = sim::explore(options, behind(all));
    INFO(found.to_string());
    CHECK(found);
    found = sim::explore(options, behind(waits_behind_a_partition));
    INFO(found.to_string());
    CHECK(found);
}
