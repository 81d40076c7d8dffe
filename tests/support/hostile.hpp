// Scenarios of connections against a hostile kernel: exploring one, and cancelling its victims.
#ifndef TOADSTONE_TESTS_SUPPORT_HOSTILE_HPP
#define TOADSTONE_TESTS_SUPPORT_HOSTILE_HPP

#include "simulated.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <utility>

namespace toadstone::tests {

struct hostility {
    unsigned runs = 150;
    unsigned worlds = 4; ///< in which the victims are cancelled
    bool faults = false; ///< of network and disk
};

/// Explores a scenario, then cancels the tasks named "victim" at each of their awaits.
template <class Body>
void check_all(Body& body, hostility how = {}) {
    auto options = seeds(how.runs, how.runs / 5);
    options.world.network_faults = options.world.disk_faults = how.faults;
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
    auto everywhere = everything_goes_wrong("victim", how.worlds);
    const auto cancelled = sim::cancel_at_every_await(everywhere, body);
    INFO(cancelled.to_string());
    CHECK(cancelled);
    CHECK(!cancelled.points.empty());
}

inline unsigned pick_timing(sim::world& world, unsigned n) {
    return world.choices().choose(n, sim::choice::timing);
}
inline task<> a_while(sim::world& world) {
    co_await sleep_for(std::chrono::microseconds(10) * pick_timing(world, 40));
}
/// Cancels at some time, in two runs of three; in a tame run never.
template <class T>
task<> may_cancel(sim::world& world, join_handle<T>& which) {
    if (pick_timing(world, 3) == 0) co_return;
    co_await a_while(world);
    which.cancel();
}

/// A connection, both of its ends.
struct connection_pair {
    task<> open() {
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        auto accepting = spawn(accept(listener, there));
        io::tcp_stream stream = co_await io::tcp_stream::connect(listener.local_endpoint());
        here.emplace(std::move(stream));
        co_await accepting;
    }
    static task<> accept(io::tcp_listener& listener, std::optional<io::tcp_stream>& into) {
        io::tcp_stream stream = co_await listener.accept();
        into.emplace(std::move(stream));
    }
    std::optional<io::tcp_stream> here{};
    std::optional<io::tcp_stream> there{};
};

} // namespace toadstone::tests

#endif
