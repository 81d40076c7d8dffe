// libpq by readiness, against a real server: cancelled at each await, and thousands of queries
// while it is killed in the middle; every row is that of its own query.
#include <postgres_client/connection.hpp>

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <support/client_storm.hpp>
#include <support/counted_awaits.hpp>
#include <support/io.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <pwd.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Where Debian has its programs; empty: nowhere.
std::string programs() {
    std::string found;
    std::error_code none;
    for (const auto& each : std::filesystem::directory_iterator("/usr/lib/postgresql", none)) {
        const auto here = each.path() / "bin";
        if (std::filesystem::exists(here / "postgres")) found = here.string();
    }
    return found;
}

/// It listens in a folder of its own, and refuses to be root.
class real_server {
public:
    explicit real_server(std::string bin) : bin_(std::move(bin)) {
        if (const passwd* const other = ::geteuid() == 0 ? ::getpwnam("postgres") : nullptr) {
            as_other_ = {"--reuid=postgres", "--regid=postgres", "--clear-groups"};
            if (::chown(folder_.path().c_str(), other->pw_uid, other->pw_gid) != 0) {
                throw std::system_error(errno, std::generic_category(), "chown");
            }
        }
    }
    ~real_server() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_.path(), ignored); // its socket, too
    }
    real_server(const real_server&) = delete;
    real_server& operator=(const real_server&) = delete;

    task<> make() {
        io::child_process initdb = io::child_process::spawn(
            program("initdb", {"--no-sync", "-A", "trust", "-U", "tester", "-D", data()}));
        const io::exit_status end = co_await initdb.wait();
        if (!end.success()) throw std::runtime_error("initdb: " + end.to_string());
    }
    void start() {
        process_.emplace(io::child_process::spawn(
            program("postgres", {"-D", data(), "-k", folder_.path(), "-c",
                                 "listen_addresses=", "-c", "fsync=off"})));
    }
    /// SIGKILL of the first process: those of the connections end by themselves.
    task<> kill() {
        process_->kill(SIGKILL);
        co_await process_->wait();
    }
    task<> stop() {
        process_->kill(SIGINT);
        co_await process_->wait();
    }
    [[nodiscard]] bool runs() { return !process_->try_wait(); }
    [[nodiscard]] std::string parameters() const {
        return "host=" + folder_.path() + " user=tester dbname=postgres";
    }

private:
    [[nodiscard]] std::string data() const { return folder_.path() + "/data"; }
    [[nodiscard]] io::command program(const std::string& name,
                                      std::vector<std::string> own) const {
        std::vector<std::string> arguments = as_other_;
        arguments.push_back(bin_ + "/" + name);
        arguments.insert(arguments.end(), own.begin(), own.end());
        const std::string first = as_other_.empty() ? arguments.front() : "setpriv";
        if (as_other_.empty()) arguments.erase(arguments.begin());
        io::command made(first, std::move(arguments));
        made.working_directory("/").output(io::child_stream::null);
        made.error(io::child_stream::null);
        return made;
    }

    temporary_folder folder_;
    std::string bin_;
    std::vector<std::string> as_other_;
    std::optional<io::child_process> process_;
};

class client {
public:
    client(std::string parameters, bool drains)
        : parameters_(std::move(parameters)), drains_(drains) {}

    task<std::string> echo(std::string text) {
        auto repair = [this](inside& broken, const poison_cause&) -> task<> {
            if (drains_ && broken) {
                const auto drained = co_await try_with_timeout(20s, broken->drain());
                if (drained.has_value()) co_return;
            }
            broken.emplace(co_await postgres::connection::connect(parameters_));
        };
        auto held = co_await connection_.lock_or_recover(repair);
        if (!held->has_value()) {
            held->emplace(co_await postgres::connection::connect(parameters_));
        }
        const auto all =
            co_await (*held)->query("select '" + text + "' from generate_series(1, 100)");
        for (const auto& row : all.rows) {
            if (row.front() != text) co_return row.front();
        }
        co_return all.rows.size() == 100 ? text : "not all rows: " + all.refused;
    }
    [[nodiscard]] bool is_poisoned() const { return connection_.is_poisoned(); }

private:
    using inside = std::optional<postgres::connection>;
    std::string parameters_;
    bool drains_;
    sync::mutex<inside> connection_;
};

task<> begins(real_server& server) {
    co_await server.make();
    server.start();
    client first(server.parameters(), false);
    co_await until_it_answers(first);
}
task<> storms(real_server& server, unsigned queries, tally& all) {
    clients_of<client> clients;
    for (int i = 0; i < 4; ++i) {
        clients.push_back(std::make_unique<client>(server.parameters(), true));
    }
    auto restart = [&server]() -> task<> {
        co_await server.kill();
        // The next one refuses to start while processes of this one are left.
        bool runs = false;
        while (!runs) {
            server.start();
            co_await sleep_for(500ms);
            runs = server.runs();
        }
    };
    co_await storm(clients, restart, queries, all);
}

} // namespace

TEST_CASE("postgres client: S469: a query cancelled at each await; no row is another query's") {
    const std::string bin = programs();
    if (bin.empty()) {
        WARN("there is no PostgreSQL here");
        return;
    }
    const std::size_t before = open_descriptors();
    {
        real_server server(bin);
        {
            runtime rt({.workers = 1});
            rt.block_on(begins(server));
        }
        {
            stepped world;
            counted_awaits awaits(world);
            bool stopped = true;
            unsigned poisoned = 0;
            for (unsigned n = 1; stopped; ++n) {
                REQUIRE(n < 1000);
                client database(server.parameters(), false);
                const auto first = "first " + std::to_string(n);
                auto end = awaits.run(database.echo(first), n);
                stopped = end.is_cancelled();
                if (!stopped) CHECK(end.value() == first);
                poisoned += database.is_poisoned();
                const auto second = "second " + std::to_string(n);
                CHECK(awaits.run(database.echo(second)).value() == second);
            }
            CHECK(poisoned >= 1); // an answer may be there before it is awaited
            CHECK(world.worker().in_flight() == 0);
        }
        tally all;
        const unsigned queries = how_many_queries();
        {
            runtime rt({.workers = 1});
            rt.block_on(storms(server, queries, all));
            rt.block_on(server.stop());
        }
        check(all, queries);
    }
    CHECK(open_descriptors() == before);
}
