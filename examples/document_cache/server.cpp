// From the command line's wishes to connections that are served.
#include "server.hpp"

#include "metrics.hpp"
#include "routes.hpp"
#include "store.hpp"

#include "http/server.hpp"

#include <toadstone/runtime/task_scope.hpp>

#include <utility>

namespace cache {
namespace {

using toadstone::task;
using toadstone::task_scope;

/// The port is taken before the data is touched: a server that cannot have it has not disturbed
/// the one that does.
task<> prepare(store& documents, task_scope& scope, const surroundings& around,
               toadstone::io::endpoint at) {
    co_await documents.open();
    documents.start(scope);
    around.on_listening(at);
}

} // namespace

task<> operate(const options& chosen, const surroundings& around,
               toadstone::cancellation_token stop) {
    metrics shown;
    listeners told;
    told.on_recovery = [&shown](const recovery& what) { shown.count_recovery(what); };
    told.on_fatal = around.on_fatal;
    store documents(chosen, told);
    service all(chosen, shown, documents, around);
    auto body = [&](task_scope& scope) -> task<> {
        const auto ready = [&](const toadstone::io::endpoint& at) {
            return prepare(documents, scope, around, at);
        };
        co_await http::serve(all, ready, std::move(stop));
        documents.close();
    };
    co_await toadstone::with_scope(body);
}

} // namespace cache
