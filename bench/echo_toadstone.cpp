// The echo servers of the bench that stand on toadstone.
#include "echo.hpp"

#include "echo_server.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

namespace bench {
namespace {

using namespace toadstone;

bool leaves_from_inside = false;

int run_server(task<> body) {
    const auto play = [](task<> inside) -> task<> {
        co_await std::move(inside);
        if (leaves_from_inside) std::_Exit(0);
    };
    return toadstone::run(play(std::move(body)), {.workers = 1});
}

task<> echo(io::tcp_stream stream) {
    const auto buffer = std::make_unique<std::array<std::byte, echo_buffer>>();
    for (;;) {
        const std::size_t got = co_await stream.read_some(std::span<std::byte>(*buffer));
        if (got == 0) break;
        co_await stream.write_all(std::span(*buffer).first(got));
    }
}

task<> echo_received(io::tcp_stream stream) {
    for (;;) {
        const io::received bytes = co_await stream.recv();
        if (bytes.empty()) break;
        co_await stream.write_all(bytes);
    }
}

using handler = task<> (*)(io::tcp_stream);

task<> accept_and_echo(task_scope& scope, unsigned connections, const ready_call& ready,
                       handler serve) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    ready({listener.local_endpoint().port(), 0});
    for (; connections > 0; --connections) {
        io::tcp_stream stream = co_await listener.accept();
        scope.spawn(serve(std::move(stream))).detach();
    }
}

task<> bare(unsigned connections, const ready_call& ready, handler serve) {
    const auto body = [&](task_scope& scope) {
        return accept_and_echo(scope, connections, ready, serve);
    };
    co_await with_scope(body);
}

task<> stop_on_connection(io::tcp_listener& listener, cancellation_source& stop) {
    const io::tcp_stream stream = co_await listener.accept();
    stop.cancel(cancel_reason::shutdown);
}

// The example's echo(), but for the deadlines.
task<> echo_in_its_time(io::tcp_stream client, cancellation_token draining) {
    std::array<std::byte, echo_buffer> buffer;
    for (;;) {
        const outcome<std::size_t> got = co_await as_outcome(
            with_token(draining, client.read_some(std::span<std::byte>(buffer))));
        if (got.is_cancelled()) co_return;
        const std::size_t bytes = got.value();
        if (bytes == 0) co_return;
        co_await client.write_all(std::span(buffer).first(bytes));
    }
}

enum class deadlines { on, off };

// As the main() of the example, which stops on a signal instead.
task<> shipped(const ready_call& ready, deadlines wanted) {
    // As the example has it for a count. On a busy machine the rounds of the other servers may
    // last longer than a minute.
    const std::chrono::seconds idle(leaves_from_inside ? 60 : 3600);
    auto control = io::tcp_listener::bind(io::endpoint::loopback(0));
    cancellation_source stop;
    const auto say_where = [&](const io::endpoint& where) {
        ready({where.port(), control.local_endpoint().port()});
    };
    const auto undated = [](io::tcp_stream client, cancellation_token draining) {
        return echo_in_its_time(std::move(client), std::move(draining));
    };
    io::listener_options options;
    options.at = io::endpoint::loopback(0);
    auto server = wanted == deadlines::on
                      ? echo_server::serve_echo(options.at, {}, idle, stop.token(), say_where)
                      : io::serve(options, undated, {}, stop.token(), say_where);
    auto stopper = stop_on_connection(control, stop);
    co_await when_all(std::move(server), std::move(stopper));
}

} // namespace

void leave_from_inside() noexcept {
    leaves_from_inside = true;
}

int serve_bare(unsigned connections, const ready_call& ready) {
    return run_server(bare(connections, ready, echo));
}

int serve_received(unsigned connections, const ready_call& ready) {
    return run_server(bare(connections, ready, echo_received));
}

int serve_shipped(unsigned, const ready_call& ready) {
    return run_server(shipped(ready, deadlines::on));
}

int serve_without_deadlines(unsigned, const ready_call& ready) {
    return run_server(shipped(ready, deadlines::off));
}

} // namespace bench
