// Echoing: the server of echo_server.cpp without its main(), for a simulation to include, too.
#ifndef TOADSTONE_EXAMPLES_ECHO_SERVER_HPP
#define TOADSTONE_EXAMPLES_ECHO_SERVER_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <utility>

namespace echo_server {

/// One client. A drain ends the wait for more; what was read before is still echoed.
inline toadstone::task<> echo(toadstone::io::tcp_stream client,
                              toadstone::cancellation_token draining,
                              std::chrono::seconds idle) {
    std::array<std::byte, 16384> buffer;
    for (;;) {
        auto read = toadstone::with_token(draining, client.read_some(std::span(buffer)));
        const toadstone::outcome<std::size_t> got =
            co_await toadstone::try_with_timeout(idle, std::move(read));
        if (got.is_cancelled()) co_return; // idle for too long, or draining
        const std::size_t bytes = got.value();
        if (bytes == 0) co_return; // the client is done
        // A client that does not read has no claim to a connection either.
        co_await toadstone::with_timeout(idle,
                                         client.write_all(std::span(buffer).first(bytes)));
    }
}

/// Echoes until `stop`. `on_failure` is told of connections that break.
template <class Listening, class Failure = toadstone::io::log_to_stderr>
toadstone::task<toadstone::io::serve_report>
serve_echo(toadstone::io::endpoint at, toadstone::io::serve_limits limits,
           std::chrono::seconds idle, toadstone::cancellation_token stop,
           Listening& on_listening, Failure on_failure = {}) {
    toadstone::io::listener_options listener;
    listener.at = at;
    const auto serve_client = [idle](toadstone::io::tcp_stream client,
                                     toadstone::cancellation_token draining) {
        return echo(std::move(client), std::move(draining), idle);
    };
    toadstone::io::serve_report report = co_await toadstone::io::serve(
        listener, serve_client, limits, std::move(stop), on_listening, on_failure);
    co_return report;
}

} // namespace echo_server

#endif
