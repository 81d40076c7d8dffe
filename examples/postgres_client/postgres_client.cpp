// A client of PostgreSQL by libpq: postgres_client [PARAMETERS]
//
// Shows: a C library with a non-blocking descriptor, awaited by io::readiness(): to connect, to
// send, to receive. A query that is given up in the middle leaves its rows in the connection,
// where they would be taken for the next one's. The connection is in a mutex, which such an
// interruption poisons; whoever comes next cancels that query, throws its rows away, and goes
// on with the same connection, or with a new one if that fails.
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
#include <exception>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

/// A client that many tasks may share.
class client {
public:
    client(std::string parameters, postgres::connection&& first)
        : parameters_(std::move(parameters)), connection_(std::move(first)) {}

    task<std::string> ask(std::string query) {
        std::string text;
        auto repair = [&](postgres::connection& broken, const poison_cause&) -> task<> {
            const auto drained = co_await try_with_timeout(2s, broken.drain());
            text = "drained; ";
            if (drained.has_value()) co_return;
            broken = co_await with_timeout(2s, postgres::connection::connect(parameters_));
            text = "connected again; ";
        };
        auto held = co_await connection_.lock_or_recover(repair);
        const postgres::answer all = co_await held->query(std::move(query));
        if (!all.refused.empty()) co_return text + "refused (" + all.refused + ")";
        for (const auto& row : all.rows) text += row.front();
        co_return text;
    }

private:
    std::string parameters_;
    sync::mutex<postgres::connection> connection_;
};

task<> says(client& from, std::string query) {
    const std::string answer = co_await from.ask(query);
    std::printf("%s: %s\n", query.c_str(), answer.c_str());
}

task<> story(std::string parameters) {
    postgres::connection first =
        co_await with_timeout(2s, postgres::connection::connect(parameters));
    client database(parameters, std::move(first));
    co_await says(database, "select 7");
    co_await says(database, "select nothing");
    const std::string endless = "select pg_sleep(3600)";
    const auto end = co_await try_with_timeout(20ms, database.ask(endless));
    std::printf("%s: %s\n", endless.c_str(), end.has_value() ? "answered" : "given up");
    co_await says(database, "select 8");
}

} // namespace

int main(int argc, char** argv) {
    const std::string parameters = argc > 1 ? argv[1] : "";
    return run(story(parameters), {.workers = 1});
}
