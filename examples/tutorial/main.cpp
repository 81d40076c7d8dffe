// The server of docs/tutorial.md: notes PORT keeps notes for all who connect, until SIGINT or
// SIGTERM.
#include "server.hpp"

#include <csignal>
#include <cstdio>
#include <string>

using namespace toadstone;

task<> stop_on_signal(cancellation_source& stop) {
    io::signal_set signals({SIGINT, SIGTERM});
    co_await signals.wait();
    stop.cancel(cancel_reason::shutdown);
}

task<> serve_notes(std::string port) {
    notes::store all;
    cancellation_source stop;
    const auto handler = [&all](io::tcp_stream client) {
        return notes::serve_client(std::move(client), all);
    };
    const auto tell = [](const io::endpoint& at) {
        std::printf("listening on %s\n", at.to_string().c_str());
        std::fflush(stdout);
    };
    const io::endpoint at("127.0.0.1:" + port);
    co_await when_all(io::serve({.at = at}, handler, {}, stop.token(), tell),
                      stop_on_signal(stop));
}

int main(int argc, char** argv) {
    return run(serve_notes(argc > 1 ? argv[1] : "7100"));
}
