// Taking the port, opening the journal, and handing connections to serve_client().
#include "server.hpp"

#include "connection.hpp"
#include "log.hpp"
#include "metrics.hpp"
#include "routes.hpp"
#include "store.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <exception>
#include <string>
#include <system_error>
#include <utility>

namespace tracker {
namespace {

using toadstone::task;
namespace io = toadstone::io;

struct log_failure {
    /// Connections break all the time, and clients do not read what they asked for: no news.
    void operator()(const io::endpoint& peer, const std::exception_ptr& error) const {
        try {
            std::rethrow_exception(error);
        } catch (const std::system_error&) {
        } catch (const toadstone::timeout_error&) {
        } catch (const std::exception& why) {
            log("the connection from " + peer.to_string() +
                " failed: " + std::string(toadstone::what_of(why)));
        }
    }
    void operator()(const io::accept_trouble& why) const {
        log("nobody can be accepted on " + why.at.to_string() +
            " for now: " + why.error.message());
    }
};

/// The port is taken before the journal is touched: a server that cannot have it has not
/// disturbed the one that does. Who connects meanwhile waits.
task<> prepare(const service& all, io::endpoint at) {
    co_await all.operations.open();
    all.around.on_listening(at);
}

task<> serve(const service& all, io::endpoint at, toadstone::cancellation_token stop) {
    io::listener_options listener;
    listener.at = at;
    io::serve_limits limits;
    limits.max_connections = all.chosen.max_connections;
    limits.max_per_address = all.chosen.max_per_address;
    limits.drain = all.chosen.drain_timeout;
    const auto on_listening = [&all](const io::endpoint& where) { return prepare(all, where); };
    const auto serve_one = [&all](io::tcp_stream stream, toadstone::cancellation_token draining,
                                  io::connection_place& place) {
        return serve_client(all, std::move(stream), std::move(draining), place);
    };
    const io::serve_report report = co_await io::serve(
        listener, serve_one, limits, std::move(stop), on_listening, log_failure());
    log("stopped after " + std::to_string(report.accepted) + " connections, " +
        std::to_string(report.cut) + " of them cut");
}

} // namespace

task<> operate(const options& chosen, const surroundings& around,
               toadstone::cancellation_token stop) {
    const io::endpoint at = io::endpoint::of(chosen.host, chosen.port);
    metrics counts;
    answer_budget answers(chosen.max_answers);
    store operations(chosen, counts, around.on_journal_failed);
    const service all{chosen, counts, operations, answers, around};
    co_await serve(all, at, std::move(stop));
}

} // namespace tracker
