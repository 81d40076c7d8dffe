// Descriptors that come although they are not wanted any more: an open, an accept or a connect
// that is cancelled at any moment is delivered or closed.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include "support/simulated.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

sim::cancel_options everywhere() {
    sim::cancel_options options;
    options.victims = "late";
    options.seeds = 10;
    return options;
}

task<> opens() {
    auto file = co_await io::file::open("f", {.write = true, .create = true});
    co_await file.close();
}
task<> accepts(io::tcp_listener& listener) {
    auto stream = co_await listener.accept();
    co_await stream.close();
}
task<> connects(io::endpoint to) {
    auto stream = co_await io::tcp_stream::connect(to);
    co_await stream.close();
}

// That no descriptor is left, the run looks at by itself.
task<> stopped_while_it_opens(sim::world&) {
    auto late = spawn(opens(), {.name = "late"});
    static_cast<void>(co_await late.outcome());
}
task<> stopped_while_it_accepts(sim::world&) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto late = spawn(accepts(listener), {.name = "late"});
    auto client = spawn(connects(listener.local_endpoint()), {.name = "client"});
    co_await client;
    static_cast<void>(co_await late.outcome());
}
task<> stopped_while_it_connects(sim::world&) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto server = spawn(accepts(listener), {.name = "server"});
    auto late = spawn(connects(listener.local_endpoint()), {.name = "late"});
    static_cast<void>(co_await late.outcome());
    co_await sleep_for(1s);
    server.cancel(); // nobody may have come
    static_cast<void>(co_await server.outcome());
}

} // namespace

TEST_CASE("S70: an open that is cancelled at any moment leaves no descriptor behind") {
    const auto found = sim::cancel_at_every_await(everywhere(), stopped_while_it_opens);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("S58: an accept that is cancelled at any moment leaves no descriptor behind") {
    const auto found = sim::cancel_at_every_await(everywhere(), stopped_while_it_accepts);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("tcp_stream: a connect that is cancelled at any moment leaves no descriptor behind") {
    const auto found = sim::cancel_at_every_await(everywhere(), stopped_while_it_connects);
    INFO(found.to_string());
    CHECK(found);
}
