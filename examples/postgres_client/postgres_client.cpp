// A client of PostgreSQL by libpq: postgres_client [PARAMETERS]
//
// Shows: a C library whose descriptor is awaited by io::readiness(). A query that is given up
// leaves its rows in the connection, whose mutex that poisons; whoever comes next cancels the
// query, throws its rows away, and goes on with the connection, or with a new one.
//
//     $ postgres_client
//     select 7: 7
//     select nothing: refused (column "nothing" does not exist)
//     select pg_sleep(3600): given up
//     select 8: drained; 8
#include "connection.hpp"

#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>

using namespace toadstone;
using namespace std::chrono_literals;

/// A query for a connection that many tasks may share.
static task<> ask(sync::mutex<postgres::connection>& db, std::string to, std::string query) {
    const char* how = "";
    auto repair = [&](postgres::connection& broken, const poison_cause&) -> task<> {
        const auto drained = co_await try_with_timeout(2s, broken.drain());
        how = drained ? "drained; " : "connected again; ";
        if (!drained) broken = co_await with_timeout(2s, postgres::connection::connect(to));
    };
    auto held = co_await db.lock_or_recover(repair);
    const postgres::answer all = co_await held->query(query);
    std::string text = all.refused.empty() ? "" : "refused (" + all.refused + ")";
    for (const auto& row : all.rows) text += row.front();
    std::printf("%s: %s%s\n", query.c_str(), how, text.c_str());
}

static task<> story(std::string to) {
    auto first = co_await with_timeout(2s, postgres::connection::connect(to));
    sync::mutex<postgres::connection> db(std::move(first));
    for (const std::string query :
         {"select 7", "select nothing", "select pg_sleep(3600)", "select 8"}) {
        const auto limit = query == "select pg_sleep(3600)" ? 20ms : 20s;
        const auto end = co_await try_with_timeout(limit, ask(db, to, query));
        if (end.has_exception()) end.value(); // throws it
        if (end.is_cancelled()) std::printf("%s: given up\n", query.c_str());
    }
}

int main(int argc, char** argv) {
    return run(story(argc > 1 ? argv[1] : ""), {.workers = 1});
}
