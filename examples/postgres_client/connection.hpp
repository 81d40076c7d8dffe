// A connection to PostgreSQL: libpq does the talking, io::readiness() the waiting.
#ifndef TOADSTONE_EXAMPLES_POSTGRES_CLIENT_CONNECTION_HPP
#define TOADSTONE_EXAMPLES_POSTGRES_CLIENT_CONNECTION_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <libpq-fe.h>

namespace postgres {

using toadstone::task;
namespace io = toadstone::io;

/// Rows of texts; or what the server did not like, which leaves the connection as it was.
struct answer {
    std::string refused;
    std::vector<std::vector<std::string>> rows;
};

/// One query at a time, to its end: rows of one that was given up are still to come, and would
/// be taken for the next one's. So it belongs into a sync::mutex, which knows when that
/// happens; drain() then makes it good again.
///
/// Errors: std::runtime_error with what libpq says; the connection is of no use afterwards.
class connection {
public:
    static task<connection> connect(std::string parameters) {
        connection made(PQconnectStart(parameters.c_str()));
        PGconn* const inside = made.inside_.get();
        auto wanted = PGRES_POLLING_WRITING;
        while (wanted != PGRES_POLLING_OK) {
            if (wanted == PGRES_POLLING_FAILED) made.fail("connect");
            // Its descriptor may be another one each time.
            co_await io::readiness(PQsocket(inside), wanted == PGRES_POLLING_READING
                                                         ? io::events::readable
                                                         : io::events::writable);
            wanted = PQconnectPoll(inside);
        }
        if (PQsetnonblocking(inside, 1) != 0) made.fail("connect");
        co_return made;
    }

    task<answer> query(std::string text) {
        if (!PQsendQuery(inside_.get(), text.c_str())) fail("send");
        co_await flush();
        answer all = co_await results();
        co_return all;
    }

    /// Ends a query that was given up, and throws away what is left of its answer.
    task<> drain() {
        auto ask = [this] { // libpq's way to do that makes a connection of its own, and blocks
            char why[256] = {};
            const std::unique_ptr<PGcancel, frees> cancel(PQgetCancel(inside_.get()));
            if (!cancel || !PQcancel(cancel.get(), why, sizeof why)) {
                throw std::runtime_error(std::string("postgres: cancel: ") + why);
            }
        };
        co_await toadstone::spawn_blocking(ask);
        co_await flush();
        static_cast<void>(co_await results());
    }

private:
    struct frees {
        void operator()(PGconn* which) const noexcept { PQfinish(which); }
        void operator()(PGresult* which) const noexcept { PQclear(which); }
        void operator()(PGcancel* which) const noexcept { PQfreeCancel(which); }
    };

    explicit connection(PGconn* inside) : inside_(inside) {
        if (!inside) throw std::bad_alloc();
    }

    task<> flush() {
        PGconn* const inside = inside_.get();
        for (int left = PQflush(inside); left != 0; left = PQflush(inside)) {
            if (left < 0) fail("send");
            const io::events came = co_await io::readiness(
                PQsocket(inside), io::events::readable | io::events::writable);
            // A server whose answer nobody reads may have no room for the rest of it.
            if (contains(came, io::events::readable) && !PQconsumeInput(inside))
                fail("receive");
        }
    }
    task<answer> results() {
        PGconn* const inside = inside_.get();
        answer all;
        for (;;) {
            while (PQisBusy(inside)) {
                co_await io::readiness(PQsocket(inside), io::events::readable);
                if (!PQconsumeInput(inside)) fail("receive");
            }
            const std::unique_ptr<PGresult, frees> part(PQgetResult(inside));
            if (!part) break;
            take(*part, all);
        }
        if (PQstatus(inside) != CONNECTION_OK) fail("receive");
        co_return all;
    }
    static void take(const PGresult& from, answer& into) {
        if (PQresultStatus(&from) == PGRES_FATAL_ERROR) {
            const char* const why = PQresultErrorField(&from, PG_DIAG_MESSAGE_PRIMARY);
            into.refused = why ? why : PQresultErrorMessage(&from);
        }
        for (int row = 0; row < PQntuples(&from); ++row) {
            auto& texts = into.rows.emplace_back();
            for (int column = 0; column < PQnfields(&from); ++column) {
                texts.emplace_back(PQgetvalue(&from, row, column));
            }
        }
    }
    [[noreturn]] void fail(const char* doing) const {
        throw std::runtime_error(std::string("postgres: ") + doing + ": " +
                                 PQerrorMessage(inside_.get()));
    }

    std::unique_ptr<PGconn, frees> inside_;
};

} // namespace postgres

#endif
