// Opening the journal, and handing connections to serve_client().
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

/// Connections break all the time, and clients do not read what they asked for: no news.
void log_failure(const io::endpoint& peer, const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::system_error&) {
    } catch (const toadstone::timeout_error&) {
    } catch (const std::exception& why) {
        log("the connection from " + peer.to_string() + " failed: " + why.what());
    }
}

task<> serve(const service& all, io::endpoint at, const surroundings& around,
             toadstone::cancellation_token stop) {
    io::listener_options listener;
    listener.at = at;
    io::serve_limits limits;
    limits.max_connections = all.chosen.max_connections;
    limits.drain = all.chosen.drain_timeout;
    const auto serve_one = [&all](io::tcp_stream stream,
                                  toadstone::cancellation_token draining) {
        return serve_client(all, std::move(stream), std::move(draining));
    };
    const io::serve_report report = co_await io::serve(
        listener, serve_one, limits, std::move(stop), around.on_listening, &log_failure);
    log("stopped after " + std::to_string(report.accepted) + " connections, " +
        std::to_string(report.cut) + " of them cut");
}

/// A new journal may be synced as often as one likes: it can be lost with the power until its
/// folder is synced as well.
task<> sync_folder_of(std::string path) {
    const std::size_t slash = path.rfind('/');
    path = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    io::file folder = co_await io::file::open(path);
    co_await folder.sync_all();
    co_await folder.close();
}

} // namespace

task<> operate(const options& chosen, const surroundings& around,
               toadstone::cancellation_token stop) {
    const io::endpoint at = io::endpoint::of(chosen.host, chosen.port);
    io::open_options how;
    how.append = true;
    how.create = true;
    io::file journal = co_await io::file::open(chosen.journal, how);
    co_await sync_folder_of(chosen.journal);
    metrics counts;
    store operations(std::move(journal), chosen.slow_sync, counts);
    co_await operations.load();
    const service all{chosen, counts, operations, around};
    co_await serve(all, at, around, std::move(stop));
}

} // namespace tracker
