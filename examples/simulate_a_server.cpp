// A server in a simulated world: a tally over TCP meets a hostile kernel in hundreds of runs,
// and is then cancelled at each of its awaits. A Catch2 test: run it, it ends with
//
//     All tests passed
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include <catch2/catch.hpp>

#include <exception>
#include <span>
#include <stdexcept>
#include <utility>

using namespace toadstone;

namespace {

struct tally {
    int votes = 0;
    int voters = 0; // one for each vote
};

// The server, as it runs in production: a vote for each byte.
task<> poll_station(io::tcp_stream voter, sync::mutex<tally>& result) {
    char ballot[1];
    for (;;) {
        const std::size_t count = co_await voter.read_some(std::span(ballot));
        if (count == 0) break;
        auto held = co_await result.lock();
        ++held->votes;
        co_await voter.write_all("ok"); // the invariant is broken meanwhile
        ++held->voters;
    }
}

task<> votes(io::endpoint at, int times) {
    auto station = co_await io::tcp_stream::connect(at);
    char answer[2];
    for (int i = 0; i < times; ++i) {
        co_await station.write_all("x");
        const std::size_t count = co_await station.read_some(std::span(answer));
        if (count == 0) co_return; // the server was cancelled
        if (count == 1) co_await station.read_some(std::span(answer));
    }
}

// What happens in each run, and what has to hold at its end.
task<> election(sim::world&) {
    sync::mutex<tally> result;
    cancellation_source closing;
    auto quiet = [](const io::endpoint&, const std::exception_ptr&) {};
    auto handler = [&result](io::tcp_stream voter) {
        return poll_station(std::move(voter), result);
    };
    const io::endpoint at = io::endpoint::loopback(8000);
    auto server =
        spawn(io::serve({.at = at}, handler, {}, closing.token(), io::tell_nobody(), quiet));
    co_await yield_now();
    const outcome<> first = co_await as_outcome(votes(at, 3));
    const outcome<> second = co_await as_outcome(votes(at, 2));
    closing.cancel();
    co_await server;
    if (result.is_poisoned()) co_return; // loud, explained, recoverable: no harm
    auto held = co_await result.lock();
    if (held->votes != held->voters) throw std::runtime_error("a vote without a voter");
}

} // namespace

TEST_CASE("the tally is right, whatever the kernel does") {
    sim::explore_options options;
    options.world.workers = 2;
    const auto found = sim::explore(options, election);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("the tally is right or poisoned, wherever the server is cancelled") {
    sim::cancel_options options;
    options.victims = "conn ";
    const auto found = sim::cancel_at_every_await(options, election);
    INFO(found.to_string());
    CHECK(found);
}
