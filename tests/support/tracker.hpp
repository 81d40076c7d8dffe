// The operation tracker inside a scenario: the server as a task, clients that drive operations.
#ifndef TOADSTONE_TESTS_SUPPORT_TRACKER_HPP
#define TOADSTONE_TESTS_SUPPORT_TRACKER_HPP

#include "operation_tracker/history.hpp"
#include "operation_tracker/log.hpp"
#include "operation_tracker/operation_json.hpp"
#include "operation_tracker/server.hpp"

#include "journal/recovery.hpp"

#include "support/simulated.hpp"
#include "support/tracker_client.hpp"

#include <array>
#include <cstdio>

// The log of the simulated server, silent but in a run that is looked at. The library with the
// server calls it, and nothing here may.
[[gnu::used]] inline void tracker::log(std::string_view event) noexcept {
    if (!std::getenv("TOADSTONE_SIM_REPLAY")) return;
    std::fprintf(stderr, "%s: %.*s\n", std::string(toadstone::this_task::name()).c_str(),
                 static_cast<int>(event.size()), event.data());
}

namespace toadstone::tests {

using namespace std::chrono_literals;

/// The folder of the journal.
inline constexpr std::string_view kept_in = "operations.journal";
inline std::string segment_file(std::uint64_t first) {
    return std::string(kept_in) + "/" + journal::name_of(journal::segment_kind, first);
}
inline std::string snapshot_file(std::uint64_t at) {
    return std::string(kept_in) + "/" + journal::name_of(journal::snapshot_kind, at);
}

/// The tracker, as a task of the scenario. Its segments are small, and snapshots many.
class running_tracker {
public:
    explicit running_tracker(tracker::options chosen = {}, std::string_view keeps = kept_in)
        : chosen_(std::move(chosen)) {
        chosen_.journal = keeps;
        chosen_.segment_bytes = 16384;
        if (chosen_.snapshot_bytes == tracker::options().snapshot_bytes) {
            chosen_.snapshot_bytes = 400;
        }
        around_.live_tasks = [] { return std::size_t{0}; };
        around_.on_listening = [this](const io::endpoint& at) { at_.set(at); };
        around_.on_journal_failed = [this] { ++failures_; };
    }
    void start(const char* name = "server") {
        at_ = {};
        stop_ = {};
        serving_.emplace(
            spawn(tracker::operate(chosen_, around_, stop_.token()), {.name = name}));
    }
    /// Throws what the server failed with.
    [[nodiscard]] task<io::endpoint> listening() {
        while (!at_.is_known() && !serving_->done()) co_await sleep_for(1ms);
        if (!at_.is_known()) co_await *serving_;
        const io::endpoint at = co_await at_.known();
        co_return at;
    }
    [[nodiscard]] task<> stop() {
        stop_.cancel(cancel_reason::shutdown);
        co_await *serving_;
    }
    [[nodiscard]] bool has_listened() const noexcept { return at_.is_known(); }
    /// Times that its journal has failed.
    [[nodiscard]] unsigned failures() const noexcept { return failures_; }
    /// As by the OOM killer.
    [[nodiscard]] task<> kill() {
        serving_->cancel();
        try {
            static_cast<void>(co_await serving_->outcome());
        } catch (const std::logic_error&) { // listening() has joined it
        }
    }

private:
    tracker::options chosen_;
    tracker::surroundings around_;
    cancellation_source stop_;
    address at_;
    unsigned failures_ = 0;
    std::optional<join_handle<void>> serving_;
};

/// How a client behaves, and what it may meet.
struct manners {
    unsigned messages = 4;
    bool leaves = false;    ///< hangs up in the middle, now and then, and comes back
    bool may_break = false; ///< connections break through no fault of the client
    /// The server may have to say 500, that there is no room, or that its journal failed.
    bool errors = false;
    std::size_t note_size = 0; ///< bytes that each message has at least
};

/// A client that owns one operation, and drives it as far as it can.
class driver_of_one {
public:
    driver_of_one(sim::world& world, io::endpoint at, witness& all, manners how, unsigned name)
        : world_(world), at_(at), all_(all), how_(how), name_(std::to_string(name)) {}

    task<> drive() {
        co_await create();
        if (id_ == 0) co_return;
        for (unsigned i = 0; i < how_.messages && !hopeless_; ++i) co_await move(i);
        co_await look();
    }

private:
    task<> connect() {
        client_.reset();
        std::optional<io::tcp_stream> stream = co_await connect_in_time(at_);
        if (stream) client_.emplace(std::move(*stream));
        expect(client_.has_value() || how_.may_break, "the server cannot be reached");
    }

    /// Sends a request. Status 0: nobody knows what has become of it.
    task<answer> ask(std::string text) {
        answer got;
        if (!client_) co_await connect();
        if (!client_) co_return got;
        const bool leave = how_.leaves && world_.choices().choose(3, sim::choice::fault) == 2;
        const auto patience =
            leave ? 50us * world_.choices().choose(24, sim::choice::timing) : 10min;
        bool left = false;
        try {
            got = co_await with_timeout(patience, client_->ask(std::move(text)));
        } catch (const timeout_error&) {
            left = true;
            expect(leave, "no answer within ten minutes");
        } catch (const std::system_error& error) {
            left = true;
            expect(how_.may_break, error.what());
        }
        if (left) got = answer{};
        if (got.status == 0 || !got.keep_alive) client_.reset();
        expect(got.status != 0 || left || how_.may_break, "the server hung up");
        const bool failed = got.status == 500 || got.status == 507 || says_journal_failed(got);
        expect(!failed || how_.errors, "the server failed: " + got.body);
        if (failed) all_.count_error();
        co_return got;
    }

    task<> create() {
        const std::string request =
            http_text("POST", "/operations", "{\"name\":\"of " + name_ + "\"}");
        for (int tries = 0; id_ == 0 && tries < 20; ++tries) {
            const answer got = co_await ask(request);
            if (got.status == 201) {
                id_ = number_after(got.body, "{\"id\":");
                all_.hear(line(got), 0);
            }
        }
    }

    task<> move(unsigned i) {
        static constexpr std::array<std::string_view, 4> events = {"start", "progress", "pause",
                                                                   "resume"};
        std::string note = name_ + "." + std::to_string(i);
        note.append(how_.note_size, 'n');
        std::string body = "{\"event\":\"";
        body.append(events[i < 1 ? 0 : 1 + (i - 1) % 3]).append("\",\"note\":\"");
        body.append(note).append("\"}");
        const std::string request =
            http_text("POST", "/operations/" + std::to_string(id_) + "/messages", body);
        for (int tries = 0; tries < 20 && !hopeless_; ++tries) {
            const std::uint64_t before = all_.known(id_);
            ++sent_;
            const answer got = co_await ask(request);
            if (says_journal_failed(got)) hopeless_ = true; // nothing changes any more
            if (got.ok()) {
                all_.hear(line(got), before);
                expect(number_after(got.body, "\"messages\":") <= sent_, "a message too many");
                co_return;
            }
            // It may have happened all the same: what we do not know, we ask.
            const std::uint64_t there = co_await look();
            if (there >= i + 1) co_return;
        }
    }

    /// Messages that the server says it has.
    task<std::uint64_t> look() {
        for (int tries = 0; tries < 20; ++tries) {
            const std::uint64_t before = all_.known(id_);
            const answer got =
                co_await ask(http_text("GET", "/operations/" + std::to_string(id_)));
            expect(!says_journal_failed(got), "a failed journal keeps out readers");
            if (!got.ok()) continue;
            all_.hear(line(got), before);
            co_return number_after(got.body, "\"messages\":");
        }
        co_return 0;
    }

    static bool says_journal_failed(const answer& got) {
        return got.status == 503 && got.body.find("the journal has failed") != got.body.npos;
    }
    static std::string_view line(const answer& got) {
        return std::string_view(got.body).substr(0, got.body.find('\n'));
    }

    sim::world& world_;
    io::endpoint at_;
    witness& all_;
    manners how_;
    std::string name_;
    std::uint64_t id_ = 0;
    std::uint64_t sent_ = 0; // messages, also those of which nobody knows whether they arrived
    bool hopeless_ = false;
    std::optional<tracker_client> client_;
};

inline task<> one_client(sim::world& world, io::endpoint at, witness& all, manners how,
                         unsigned name) {
    driver_of_one client(world, at, all, how, name);
    co_await client.drive();
}

inline task<> crowd(sim::world& world, io::endpoint at, witness& all, manners how,
                    unsigned first, unsigned count) {
    auto body = [&](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < count; ++i) {
            scope
                .spawn(one_client(world, at, all, how, first + i),
                       {.name = "client", .where = placement::any()})
                .detach();
        }
        co_return;
    };
    co_await with_scope(body);
}

class unreachable : public std::runtime_error {
public:
    unreachable() : std::runtime_error("the server cannot be reached") {}
};

/// What GET /operations says, heard by the witness. Errors: unreachable.
inline task<std::string> list(io::endpoint at, witness& all) {
    answer got;
    for (int tries = 0; tries < 20 && !got.ok(); ++tries) {
        std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
        if (!stream) throw unreachable();
        tracker_client client(std::move(*stream));
        const auto before = all.knowledge();
        try {
            got = co_await with_timeout(10min, client.ask(http_text("GET", "/operations")));
        } catch (const std::system_error&) {
            continue; // a fault of the network
        } catch (const timeout_error&) {
            throw unreachable(); // nobody accepts
        }
        if (got.ok()) all.hear_list(got.body, before);
    }
    expect(got.ok(), "the operations cannot be listed: " + got.body);
    co_return got.body;
}

/// What is in the journal, as a server would read it.
inline task<std::string> journal_says() {
    io::folder opened = co_await io::folder::open(std::string(kept_in));
    const journal::survey found =
        co_await journal::look_through(opened, opened, journal::how_much::what_is_needed);
    if (found.broken) throw journal::damaged_journal(*found.broken);
    tracker::book operations;
    co_await tracker::read_history(operations, found.good, std::string(kept_in));
    co_return tracker::to_json(operations.all()) + '\n';
}

/// With nobody at work, the journal says what the server says. A snapshot may be under way, and
/// what is older be removed meanwhile.
inline task<> journal_agrees(std::string listed) {
    std::string said;
    for (int tries = 0; tries < 20 && said.empty(); ++tries) {
        try {
            said = co_await journal_says();
        } catch (const std::system_error&) {
        }
        if (said.empty()) co_await sleep_for(50ms);
    }
    expect(said == listed, "the journal and the server disagree: " + said + listed);
}

/// A new server tells what anybody has been told. False: it was cancelled before it could.
inline task<bool> is_back(running_tracker& server, witness& all) {
    server.start();
    try {
        const io::endpoint at = co_await server.listening();
        const std::string listed = co_await list(at, all);
        co_await journal_agrees(listed);
    } catch (const task_cancelled&) {
        co_return false;
    } catch (const std::system_error&) {
        co_return false;
    } catch (const unreachable&) {
        co_return false;
    }
    co_await server.kill();
    co_return true;
}

/// The end of a scenario: server, journal and all that anybody was told say the same.
inline task<> ends_in_agreement(running_tracker& server, io::endpoint at, witness& all) {
    const std::string listed = co_await list(at, all);
    co_await journal_agrees(listed);
    co_await server.stop();
}

/// One connection that asks one thing after the other.
class single {
public:
    explicit single(io::endpoint at) : at_(at) {}
    task<answer> ask(std::string text) {
        if (!client_) {
            io::tcp_stream stream = co_await io::tcp_stream::connect(at_);
            client_.emplace(std::move(stream));
        }
        answer got = co_await with_timeout(10min, client_->ask(std::move(text)));
        co_return got;
    }
    task<unsigned> create(witness& all) {
        const answer got = co_await ask(http_text("POST", "/operations", R"({"name":"one"})"));
        if (got.ok()) all.hear(got.body.substr(0, got.body.find('\n')), 0);
        co_return got.status;
    }
    task<unsigned> move(witness& all, std::string event) {
        const std::uint64_t before = all.known(1);
        const answer got = co_await ask(
            http_text("POST", "/operations/1/messages", "{\"event\":\"" + event + "\"}"));
        if (got.ok()) all.hear(got.body.substr(0, got.body.find('\n')), before);
        co_return got.status;
    }

private:
    io::endpoint at_;
    std::optional<tracker_client> client_;
};

} // namespace toadstone::tests

#endif
