// The tests of docs/tutorial.md: the server meets a hostile network, and is cancelled at each
// of its awaits. Prints what was done, or what failed and how to repeat it.
#include "server.hpp"

#include <toadstone/sim.hpp>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

using namespace toadstone;

namespace {

// A client: what it is answered; empty if the connection ends before.
task<std::string> ask(io::endpoint at, std::string request) {
    auto server = co_await io::tcp_stream::connect(at);
    io::buffered_reader lines(server);
    co_await server.write_all(request + "\n");
    const auto answer = co_await lines.read_line();
    co_return answer.value_or("");
}

// One run: two clients write, whatever becomes of them. Then a third one has to be served.
task<> two_writers(sim::world&) {
    notes::store all;
    cancellation_source closing;
    const auto handler = [&all](io::tcp_stream client) {
        return notes::serve_client(std::move(client), all);
    };
    const auto quiet = [](const io::endpoint&, const std::exception_ptr&) {};
    const io::endpoint at = io::endpoint::loopback(7100);
    auto server =
        spawn(io::serve({.at = at}, handler, {}, closing.token(), io::tell_nobody(), quiet));
    co_await yield_now(); // by now it listens
    auto first = spawn(ask(at, "set colour green"), {.name = "first client"});
    auto second = spawn(ask(at, "set colour blue"), {.name = "second client"});
    const outcome<std::string> one = co_await first.outcome();
    const outcome<std::string> two = co_await second.outcome();

    const std::string colour = co_await all.get("colour");
    const std::size_t bytes = co_await all.bytes();
    if (bytes != (colour == "?" ? 0 : colour.size()))
        throw std::runtime_error(colour + " has " + std::to_string(bytes) + " bytes");
    closing.cancel();
    co_await server;
}

} // namespace

int main() {
    sim::explore_options hostile;
    hostile.world.workers = 2;
    const auto explored = sim::explore(hostile, two_writers);
    std::printf("%s\n", explored.to_string().c_str());

    sim::cancel_options everywhere;
    everywhere.victims = "conn ";
    const auto cancelled = sim::cancel_at_every_await(everywhere, two_writers);
    std::printf("%s\n", cancelled.to_string().c_str());
    return explored && cancelled ? 0 : 1;
}
