// Queries that are given up, many at a time, and at the end of a runtime.
#include <toadstone/io/resolver.hpp>

#include <toadstone/runtime.hpp>

#include <support/counted_awaits.hpp>
#include <support/dns_server.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using answers = std::vector<dns_answer>;
using family = io::endpoint::family;
using found = std::vector<io::endpoint>;

io::resolver_options only(std::vector<io::endpoint> servers) {
    io::resolver_options options;
    options.servers = std::move(servers);
    options.search.emplace();
    options.hosts = "";
    options.resolv_conf = "/nowhere/resolv.conf";
    return options;
}

answers truth(const dns_question& asked) {
    if (asked.type == dns_type::aaaa) return {dns_answer().address("2001:db8::5")};
    return {dns_answer().address("192.0.2.5")};
}
answers silence(const dns_question&) {
    return {};
}

} // namespace

TEST_CASE("resolver: S488: cancelled at each await, by UDP and TCP, it leaves nothing behind") {
    dns_server server([](const dns_question& asked) {
        if (asked.name == "first.test") return answers{dns_answer().code(3)};
        if (!asked.by_tcp) return answers{dns_answer().truncated()};
        return truth(asked);
    });
    auto options = only({server.at()});
    options.search = {"test", "second.test"}; // one question behind the other
    stepped world;
    const auto waits = [&server] { server.turn(); };
    const std::size_t before = open_descriptors();
    {
        counted_awaits awaits(world);
        unsigned ends = 0;
        bool stopped = true;
        for (unsigned n = 1; stopped; ++n) {
            REQUIRE(n < 1000);
            const io::resolver names(options);
            auto end = awaits.run(names.resolve("first", "https", family::none), n, waits);
            stopped = end.is_cancelled();
            ends += stopped;
            if (!stopped) CHECK(end.value().size() == 2);
            while (server.turn()) {
            }
            CHECK(open_descriptors() == before);
            CHECK(world.worker().in_flight() == 0);
            // The channel that was given up is as good as any other.
            CHECK(awaits.run(names.resolve("first", 80), 0, waits).value().size() == 2);
            while (server.turn()) {
            }
            CHECK(open_descriptors() == before);
        }
        CHECK(ends >= 4);
    }
}

TEST_CASE("resolver: S488: cancelled before it begins it asks nobody, known or not") {
    dns_server server(truth);
    stepped world;
    const io::resolver names(only({server.at()}));
    for (const char* const name : {"127.0.0.1", "localhost", "a.test", "no name"}) {
        auto stopped = world.spawn(names.resolve(name, 80));
        stopped.cancel();
        world.settle();
        CHECK(world.end_of(stopped).is_cancelled());
    }
    server.turn();
    CHECK(server.asked() == 0);
}

TEST_CASE("resolver: S488: one that is given up disturbs no other; a limit is one, too") {
    dns_server server(truth);
    stepped world;
    const io::resolver names(only({server.at()}));
    const std::size_t before = open_descriptors();
    auto stays = world.spawn(names.resolve("a.test", 80));
    auto leaves = world.spawn(names.resolve("a.test", 80));
    auto limited = world.spawn(with_timeout(5ms, names.resolve("a.test", 80)));
    world.settle();
    leaves.cancel();
    world.advance(5ms);
    CHECK(world.end_of(leaves).is_cancelled());
    CHECK_THROWS_AS(world.end_of(limited).value(), timeout_error);
    CHECK(open_descriptors() == before + 1);
    CHECK_FALSE(stays.done());
    server.turn();
    world.settle();
    server.turn();
    world.settle();
    CHECK(world.end_of(stays).value().size() == 2);
    CHECK(open_descriptors() == before);
}

TEST_CASE("resolver: S488: an answer that is there when it is cancelled may be delivered") {
    dns_server server(truth);
    stepped world;
    const io::resolver names(only({server.at()}));
    const std::size_t before = open_descriptors();
    auto tie = world.spawn(names.resolve("a.test", 80, family::v4));
    world.settle();
    server.turn();
    tie.cancel();
    world.settle();
    CHECK(tie.done());
    static_cast<void>(world.end_of(tie));
    CHECK(open_descriptors() == before);
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("resolver: S489: so many are asked for at a time, and the next takes its turn") {
    dns_server server(truth);
    auto options = only({server.at()});
    options.at_once = 2;
    stepped world;
    const io::resolver names(options);
    const std::size_t before = open_descriptors();
    std::vector<join_handle<found>> all;
    for (int i = 0; i < 6; ++i) {
        all.push_back(world.spawn(names.resolve("a.test", 80, family::v4)));
    }
    world.settle();
    CHECK(open_descriptors() == before + 2);
    all[2].cancel(); // in the line
    all[0].cancel(); // on its way
    world.settle();
    CHECK(all[0].done());
    CHECK(all[2].done());
    CHECK(open_descriptors() == before + 2);
    server.turn();
    CHECK(server.asked() == 3); // the first, the second, and the fourth in the first's place
    for (int i = 0; i < 3; ++i) {
        world.settle();
        server.turn();
    }
    world.settle();
    for (const int i : {1, 3, 4, 5}) CHECK(world.end_of(all[i]).value().size() == 1);
    CHECK(server.asked() == 5);
    CHECK(open_descriptors() == before);
}

TEST_CASE("resolver: S489: 200 names at once, on four workers, some given up at random") {
    const running_dns_server server(truth);
    auto options = only({server->at()});
    options.timeout = 500ms;
    options.tries = 6;
    const std::size_t before = open_descriptors();
    std::atomic<int> answered{0};
    std::atomic<int> wrong{0};
    {
        const io::resolver names(options);
        runtime rt({.workers = 4});
        auto asks = [&](int i) -> task<> {
            const std::string name = "host" + std::to_string(i) + ".test";
            auto query = names.resolve(name, 80);
            if (i % 4 == 0) {
                const auto limit = std::chrono::microseconds(i * 10);
                auto end = co_await try_with_timeout(limit, std::move(query));
                if (end.has_exception()) wrong.fetch_add(1);
                co_return;
            }
            const found all = co_await std::move(query);
            answered.fetch_add(all.size() == 2);
        };
        auto all = [&]() -> task<> {
            std::vector<join_handle<void>> some;
            for (int i = 0; i < 200; ++i) {
                some.push_back(spawn({.where = placement::any()}, asks, i));
            }
            for (auto& each : some) co_await each;
        };
        rt.block_on(all());
    }
    CHECK(answered == 150);
    CHECK(wrong == 0);
    CHECK(open_descriptors() == before);
}

TEST_CASE("resolver: S490: a runtime that ends, by force too, waits for no server") {
    const running_dns_server server(silence);
    const std::size_t before = open_descriptors();
    for (const auto grace : {10s, 0s}) {
        auto options = only({server->at(), server->at()});
        options.timeout = 1h;
        const io::resolver names(options);
        const unsigned had = server->asked();
        runtime rt({.workers = 2});
        for (int i = 0; i < 20; ++i) {
            rt.spawn({.where = placement::any()}, [&names]() -> task<> {
                  static_cast<void>(co_await names.resolve("a.test", 80));
              }).detach();
        }
        while (server->asked() < had + 40) std::this_thread::yield();
        const auto report = rt.shutdown(std::chrono::milliseconds(grace));
        CHECK((grace == 0s || report.clean()));
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("resolver: S490: a query outlives its resolver, and the resolver its runtime") {
    dns_server server(truth);
    stepped world;
    const std::size_t before = open_descriptors();
    {
        auto gone = world.spawn([&] {
            const io::resolver names(only({server.at()}));
            return names.resolve("a.test", 80, family::v4);
        }());
        world.settle();
        server.turn();
        world.settle();
        CHECK(world.end_of(gone).value().size() == 1);
    }
    const io::resolver names(only({server.at()}));
    for (int i = 0; i < 2; ++i) {
        stepped one;
        auto asks = one.spawn(names.resolve("a.test", 80, family::v4));
        one.settle();
        server.turn();
        one.settle();
        CHECK(one.end_of(asks).value().size() == 1);
    }
    CHECK(open_descriptors() == before);
}
