// serve() where it is short of something: room in the accept queues, descriptors.
#include "support/simulated.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// A server that says each byte again, as a task of the scenario.
class echo {
public:
    void start(io::listener_options options, io::serve_limits limits = {}) {
        auto handler = [](io::tcp_stream peer) { return serve_one(std::move(peer)); };
        auto listening = [this](const io::endpoint& at) { at_.set(at); };
        serving_.emplace(
            spawn(io::serve(options, handler, limits, stop_.token(), listening, told(*this)),
                  {.name = "server"}));
    }
    [[nodiscard]] task<io::endpoint> listening() const { return at_.known(); }
    task<io::serve_report> stop() {
        stop_.cancel();
        const io::serve_report report = co_await *serving_;
        co_return report;
    }

    /// Times that it said that it cannot accept.
    [[nodiscard]] unsigned troubles() const noexcept { return troubles_; }

private:
    struct told {
        explicit told(echo& of) noexcept : of_(&of) {}
        void operator()(const io::endpoint&, const std::exception_ptr&) const noexcept {}
        void operator()(const io::accept_trouble& why) const {
            const bool right = why.error.value() == EMFILE && why.at.port() != 0;
            of_->troubles_ += right ? 1 : 1'000'000;
        }
        echo* of_;
    };
    static task<> serve_one(io::tcp_stream peer) {
        char byte = 0;
        while (co_await peer.read_some(std::span(&byte, 1)) == 1) {
            co_await peer.write_all(std::string_view(&byte, 1));
        }
    }

    address at_;
    cancellation_source stop_;
    unsigned troubles_ = 0;
    std::optional<join_handle<io::serve_report>> serving_;
};

/// Connects, asks and hangs up. With faults, or too few descriptors, as often as it takes.
task<> client(io::endpoint at, unsigned& served, bool faults) {
    for (int tries = 0; tries < 40; ++tries) {
        try {
            auto stream = co_await io::tcp_stream::connect(at);
            co_await stream.write_all("?");
            char byte = 0;
            if (co_await stream.read_some(std::span(&byte, 1)) == 1) {
                expect(byte == '?', "another answer");
                ++served;
                co_return;
            }
        } catch (const std::system_error&) {
            if (!faults) throw;
        }
        expect(faults, "hung up on");
        co_await sleep_for(100ms);
    }
}

task<unsigned> crowd(io::endpoint at, unsigned count, bool faults = false) {
    unsigned served = 0;
    auto body = [&](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < count; ++i) {
            scope
                .spawn(client(at, served, faults),
                       {.name = "client", .where = placement::any()})
                .detach();
        }
        co_return;
    };
    co_await with_scope(body);
    co_return served;
}

// More at once than the queues hold, and fewer handlers than that.
task<> overflows(int backlog, std::size_t most_connections, bool faults) {
    echo server;
    server.start({.backlog = backlog}, {.max_connections = most_connections});
    const io::endpoint at = co_await server.listening();
    const unsigned served = co_await crowd(at, 16, faults);
    expect(served == 16, "only " + std::to_string(served) + " were served");
    const io::serve_report report = co_await server.stop();
    expect(faults || (report.accepted == 16 && report.refused == 0 && report.failed == 0),
           "accepted " + std::to_string(report.accepted) + ", refused " +
               std::to_string(report.refused));
}

/// Every descriptor that there is.
class hoard {
public:
    task<> take_all() {
        for (;;) {
            try {
                auto one = co_await io::file::open(".");
                open_.push_back(std::move(one));
            } catch (const std::system_error& error) {
                expect(error.code().value() == EMFILE, error.what());
                break;
            }
        }
    }
    void give_one() { open_.pop_back(); }
    void give_all() { open_.clear(); }

private:
    std::vector<io::file> open_;
};

// Clients that have their descriptors, and a server that has none for them, for `how_long`.
task<> runs_out(sim::world& world, std::chrono::seconds how_long) {
    hoard all;
    echo server;
    server.start({});
    const io::endpoint at = co_await server.listening();
    co_await all.take_all();
    std::vector<io::tcp_stream> clients;
    for (int i = 0; i < 4; ++i) {
        all.give_one(); // and nobody else can take it
        auto made = co_await io::tcp_stream::connect(at);
        co_await made.write_all("?");
        clients.push_back(std::move(made));
    }
    co_await sleep_for(how_long);
    expect(world.descriptors() == 16, "somebody has left");
    all.give_all();
    const auto begun = world.now();
    for (auto& each : clients) {
        char byte = 0;
        const std::size_t count = co_await each.read_some(std::span(&byte, 1));
        expect(count == 1 && byte == '?', "somebody was lost");
    }
    const auto most = static_cast<unsigned>(how_long / 10s) + 1;
    expect(server.troubles() >= most / 2 && server.troubles() <= most,
           "it said " + std::to_string(server.troubles()) + " times that it cannot accept");
    expect(world.now() - begun < 3s, "it took long to notice that there are descriptors again");
    clients.clear();
    const io::serve_report report = co_await server.stop();
    expect(report.accepted == 4 && report.refused == 0 && report.failed == 0,
           "accepted " + std::to_string(report.accepted));
}

// Each connection takes two, and so the server soon has none left.
task<> lives_at_the_limit(sim::world&) {
    echo server;
    server.start({});
    const io::endpoint at = co_await server.listening();
    const unsigned served = co_await crowd(at, 8, true);
    expect(served == 8, "only " + std::to_string(served) + " were served");
    const io::serve_report report = co_await server.stop();
    expect(report.accepted == 8 && report.refused == 0 && report.failed == 0,
           "accepted " + std::to_string(report.accepted));
}

} // namespace

TEST_CASE("serve: without descriptors it waits, and then serves whoever has come") {
    auto options = seeds(150, 30);
    options.world.max_descriptors = 16;
    options.world.most_steps = 20'000;
    const auto body = [](sim::world& world) { return runs_out(world, 10s); };
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("serve: an hour without descriptors costs an attempt or so a second") {
    for (const bool hostile : {false, true}) {
        const sim::world_options options{
            .workers = 2, .hostile = hostile, .max_descriptors = 16};
        const auto dice = hostile ? sim::random_choices(1) : sim::replayed_choices("");
        const auto body = [](sim::world& world) { return runs_out(world, 3600s); };
        const auto end = sim::simulate(options, *dice, body);
        INFO(end.failure);
        CHECK(end);
        CHECK(end.steps > 2 * 3600);
        CHECK(end.steps < 12 * 2 * 3600); // two workers, some steps for each attempt
    }
}

TEST_CASE("serve: with too few descriptors for all at once everybody is served") {
    auto options = seeds(150, 30);
    options.world.max_descriptors = 13; // two listeners, eight clients
    options.world.most_steps = 50'000;
    const auto found = sim::explore(options, lives_at_the_limit);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("serve: whoever does not fit into the accept queues is served later") {
    for (const int backlog : {1, 2}) {
        for (const std::size_t handlers : {1U, 2U, 100U}) {
            const auto body = [=](sim::world&) { return overflows(backlog, handlers, false); };
            for (const unsigned workers : {1U, 2U, 3U}) {
                auto options = seeds(40, 10);
                options.world.workers = workers;
                options.world.most_steps = 100'000;
                const auto found = sim::explore(options, body);
                INFO("backlog " << backlog << ", " << workers << " workers");
                INFO(found.to_string());
                CHECK(found);
            }
            const auto end = sim::simulate(body);
            INFO(end.failure);
            CHECK(end);
        }
    }
}

TEST_CASE("serve: full accept queues and faults of the network keep nobody out for ever") {
    auto options = seeds(100, 20);
    options.world.network_faults = true;
    options.world.calm_after = 2s;
    const auto body = [](sim::world&) { return overflows(1, 2, true); };
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("serve: a full accept queue beside an empty one stops nobody's clock") {
    sim::world_options options{.workers = 3, .hostile = false, .most_steps = 20'000};
    const auto dice = sim::replayed_choices("");
    const auto end = sim::simulate(options, *dice, [](sim::world&) -> task<> {
        const io::listen_options shared{.backlog = 1, .reuse_port = true};
        auto one = io::tcp_listener::bind(io::endpoint::loopback(0), shared);
        auto other = io::tcp_listener::bind(one.local_endpoint(), shared);
        auto first = co_await io::tcp_stream::connect(one.local_endpoint());
        const auto second =
            co_await try_with_timeout(1h, io::tcp_stream::connect(one.local_endpoint()));
        expect(second.is_cancelled(), "the other listener got it");
    });
    INFO(end.failure);
    CHECK(end);
}
