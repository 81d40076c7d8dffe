// An echo server: what a client sends comes back, until it says that it is done.
//
// Shows: serve() on every worker, limits on connections and idle time, draining on a signal.
//
//     $ echo_server --port 7000 &
//     listening on 127.0.0.1:7000
//     $ echo hello | nc -N 127.0.0.1 7000
//     hello
//     $ kill %1        # exit code 0, once the connections have been told
#include "echo_server.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace {

using namespace toadstone;

struct options {
    std::string host = "127.0.0.1";
    std::uint16_t port = 7000;
    unsigned workers = 0;
    std::size_t max_connections = 10000;
    unsigned idle_timeout = 60;
};

/// The set is gone after the first signal, so that a second one ends the process as usual.
task<> stop_on_signal(io::signal_set signals, cancellation_source& stop) {
    co_await signals.wait();
    stop.cancel(cancel_reason::shutdown);
}

task<> serve_until_signal(const options& chosen) {
    cancellation_source stop;
    io::signal_set signals({SIGTERM, SIGINT});
    io::serve_limits limits;
    limits.max_connections = chosen.max_connections;
    const auto at = io::endpoint::of(chosen.host, chosen.port);
    const std::chrono::seconds idle(chosen.idle_timeout);
    const auto say_where = [](const io::endpoint& where) {
        std::printf("listening on %s\n", where.to_string().c_str());
        std::fflush(stdout);
    };
    // A failure of the one, such as a port in use, cancels the other.
    co_await when_all(echo_server::serve_echo(at, limits, idle, stop.token(), say_where),
                      stop_on_signal(std::move(signals), stop));
}

} // namespace

int main(int argc, char** argv) {
    open_standard_descriptors();
    // A reader of stdout that has left is no reason to die.
    std::signal(SIGPIPE, SIG_IGN);
    options chosen;
    CLI::App app("Sends back what it receives.");
    app.option_defaults()->always_capture_default();
    app.add_option("--host", chosen.host, "Address to listen on");
    app.add_option("--port", chosen.port, "Port to listen on, 0 for any");
    app.add_option("--workers", chosen.workers, "Threads, 0 for one per processor");
    app.add_option("--max-connections", chosen.max_connections, "More wait to be accepted")
        ->check(CLI::PositiveNumber);
    app.add_option("--idle-timeout", chosen.idle_timeout, "Seconds of silence allowed")
        ->check(CLI::PositiveNumber);
    CLI11_PARSE(app, argc, argv);

    runtime_options workers;
    workers.workers = chosen.workers;
    return run(serve_until_signal(chosen), workers);
}
