// The store behind its routes, and the port that leads to them.
#include "server.hpp"

#include "metrics.hpp"
#include "routes.hpp"
#include "store.hpp"

#include "http/server.hpp"

#include <utility>

namespace tracker {
namespace {

using toadstone::task;

/// The port is taken before the journal is touched: a server that cannot have it has not
/// disturbed the one that does.
task<> prepare(store& operations, const surroundings& around, toadstone::io::endpoint at) {
    co_await operations.open();
    around.on_listening(at);
}

} // namespace

task<> operate(const options& chosen, const surroundings& around,
               toadstone::cancellation_token stop) {
    metrics shown;
    store operations(chosen, shown, around.on_journal_failed);
    service all(chosen, shown, operations, around);
    const auto ready = [&](const toadstone::io::endpoint& at) {
        return prepare(operations, around, at);
    };
    co_await http::serve(all, ready, std::move(stop));
}

} // namespace tracker
