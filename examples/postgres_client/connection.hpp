// A connection to PostgreSQL: libpq does the talking, io::readiness() the waiting.
#ifndef TOADSTONE_EXAMPLES_POSTGRES_CLIENT_CONNECTION_HPP
#define TOADSTONE_EXAMPLES_POSTGRES_CLIENT_CONNECTION_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <libpq-fe.h>

namespace postgres {
using namespace toadstone;
/// Rows of texts; or what the server did not like, which leaves the connection as it was.
struct answer {
    std::string refused;
    std::vector<std::vector<std::string>> rows;
};

/// One query at a time, to its end: rows of one that was given up are still to come, for the
/// next one to take for its own, until drain(). So it belongs into a sync::mutex. Errors:
/// std::runtime_error with what libpq says; the connection is of no use afterwards.
class connection {
public:
    static task<connection> connect(std::string parameters) {
        connection made(PQconnectStart(parameters.c_str()));
        PGconn* const inside = made.inside_.get();
        made.check(PQstatus(inside) != CONNECTION_BAD, "postgres: connect: ");
        for (auto wants = PGRES_POLLING_WRITING; wants != PGRES_POLLING_OK;) {
            const bool reads = wants == PGRES_POLLING_READING;
            const auto what = reads ? io::events::readable : io::events::writable;
            co_await io::readiness(PQsocket(inside), what); // maybe another one each time
            wants = PQconnectPoll(inside);
            made.check(wants != PGRES_POLLING_FAILED, "postgres: connect: ");
        }
        made.check(PQsetnonblocking(inside, 1) == 0, "postgres: connect: ");
        co_return made;
    }

    task<answer> query(std::string text) {
        check(PQsendQuery(inside_.get(), text.c_str()) == 1, "postgres: send: ");
        answer all = co_await results();
        co_return all;
    }
    /// Ends a query that was given up, and throws away what is left of its answer.
    task<> drain() {
        auto ask = [this] { // libpq's way to do that makes a connection of its own, and blocks
            char why[256] = "no memory";
            const std::unique_ptr<PGcancel, void (*)(PGcancel*)> cancel(
                PQgetCancel(inside_.get()), PQfreeCancel);
            if (cancel && PQcancel(cancel.get(), why, sizeof why)) return;
            throw std::runtime_error(std::string("postgres: cancel: ") + why);
        };
        co_await spawn_blocking(ask);
        static_cast<void>(co_await results());
    }

private:
    explicit connection(PGconn* inside) : inside_(inside, PQfinish) {}

    /// Sends what is left of the query, and receives all that comes for it.
    task<answer> results() {
        for (answer all;;) {
            const int left = PQflush(inside_.get());
            check(left >= 0, "postgres: send: ");
            if (left > 0 || PQisBusy(inside_.get())) {
                // A server whose answer nobody reads may have no room for the rest of a query.
                const auto also = left > 0 ? io::events::writable : io::events::none;
                co_await io::readiness(PQsocket(inside_.get()), io::events::readable | also);
                check(PQconsumeInput(inside_.get()) == 1, "postgres: receive: ");
            } else if (PGresult* const part = PQgetResult(inside_.get())) {
                take(part, all);
            } else {
                check(PQstatus(inside_.get()) == CONNECTION_OK, "postgres: receive: ");
                co_return all;
            }
        }
    }
    static void take(PGresult* from, answer& into) {
        const scope_exit clears([from] { PQclear(from); });
        const char* const why = PQresultErrorField(from, PG_DIAG_MESSAGE_PRIMARY);
        if (PQresultStatus(from) == PGRES_FATAL_ERROR) into.refused = why ? why : "no memory";
        for (int at = 0; at < PQntuples(from); ++at) {
            auto& row = into.rows.emplace_back();
            for (int i = 0; i < PQnfields(from); ++i) row.push_back(PQgetvalue(from, at, i));
        }
    }
    void check(bool good, const char* doing) const {
        if (!good) throw std::runtime_error(std::string(doing) + PQerrorMessage(inside_.get()));
    }
    std::unique_ptr<PGconn, void (*)(PGconn*)> inside_;
};

} // namespace postgres

#endif
