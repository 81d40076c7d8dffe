// Signals: none is lost, every set gets its own, and what was there before comes back.
#include <toadstone/io/signal_set.hpp>

#include <toadstone/runtime.hpp>

#include <support/capture.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <csignal>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

std::atomic<int> own_calls{0};
extern "C" void own_handler(int) {
    own_calls.fetch_add(1);
}

} // namespace

TEST_CASE("signal_set: a signal wakes who waits for it") {
    stepped world;
    io::signal_set set({SIGUSR1, SIGUSR2});
    auto waiter = world.spawn(set.wait());
    world.settle();
    CHECK_FALSE(waiter.done());
    std::raise(SIGUSR2);
    world.settle();
    REQUIRE(waiter.done());
    auto join = [](join_handle<int> from) -> task<int> {
        const int signal = co_await from;
        co_return signal;
    };
    CHECK(world.run(join(std::move(waiter))) == SIGUSR2);
}

TEST_CASE("signal_set: signals between two waits are kept, one of each kind") {
    stepped world;
    io::signal_set set({SIGUSR1, SIGUSR2});
    std::raise(SIGUSR2);
    std::raise(SIGUSR1);
    std::raise(SIGUSR1);
    CHECK(world.run(set.wait()) == SIGUSR1);
    CHECK(world.run(set.wait()) == SIGUSR2);
    auto waiter = world.spawn(set.wait());
    world.settle();
    CHECK_FALSE(waiter.done());
    waiter.cancel();
    world.settle();
}

TEST_CASE("signal_set: a real worker thread is woken by a signal to the process") {
    runtime rt({.workers = 2});
    auto body = []() -> task<int> {
        io::signal_set set({SIGTERM});
        ::kill(::getpid(), SIGTERM);
        const int signal = co_await set.wait();
        co_return signal;
    };
    CHECK(rt.block_on(body()) == SIGTERM);
}

TEST_CASE("signal_set: every set that names a signal gets it") {
    stepped world;
    io::signal_set one({SIGUSR1});
    io::signal_set two({SIGUSR1, SIGUSR2});
    std::raise(SIGUSR1);
    CHECK(world.run(one.wait()) == SIGUSR1);
    CHECK(world.run(two.wait()) == SIGUSR1);
}

TEST_CASE("signal_set: a cancelled wait loses no signal") {
    stepped world;
    io::signal_set set({SIGUSR1});
    for (int round = 0; round < 200; ++round) {
        auto waiter = world.spawn(set.wait());
        world.settle();
        if (round % 2) std::raise(SIGUSR1);
        waiter.cancel();
        if (round % 3 == 0) world.step();
        if (round % 2 == 0) std::raise(SIGUSR1);
        world.settle();
        REQUIRE(waiter.done());
        auto end = [](join_handle<int> from) -> task<bool> {
            auto how = co_await from.outcome();
            co_return how.has_value();
        };
        // Delivered to the cancelled wait, or still there for the next one.
        if (!world.run(end(std::move(waiter)))) CHECK(world.run(set.wait()) == SIGUSR1);
        auto none = world.spawn(set.wait());
        world.settle();
        CHECK_FALSE(none.done());
        none.cancel();
        world.settle();
    }
}

TEST_CASE("signal_set: the action from before comes back with the last set") {
    struct sigaction mine{};
    mine.sa_handler = own_handler;
    struct sigaction saved{};
    ::sigaction(SIGUSR1, &mine, &saved);
    own_calls = 0;
    {
        std::optional<io::signal_set> one(std::in_place, std::initializer_list<int>{SIGUSR1});
        const io::signal_set two({SIGUSR1});
        std::raise(SIGUSR1);
        CHECK(own_calls == 0);
        one.reset();
        std::raise(SIGUSR1);
        CHECK(own_calls == 0);
    }
    std::raise(SIGUSR1);
    CHECK(own_calls == 1);
    ::sigaction(SIGUSR1, &saved, nullptr);
}

TEST_CASE("signal_set: interrupted system calls are restarted") {
    const io::signal_set set({SIGUSR1});
    struct sigaction now{};
    ::sigaction(SIGUSR1, nullptr, &now);
    CHECK((now.sa_flags & SA_RESTART) != 0);
}

TEST_CASE("signal_set: what cannot be caught is refused, and nothing is left behind") {
    const auto before = open_descriptors();
    struct sigaction was{};
    ::sigaction(SIGUSR1, nullptr, &was);
    CHECK_THROWS_AS(io::signal_set({SIGUSR1, SIGKILL}), std::invalid_argument);
    CHECK_THROWS_AS(io::signal_set({0}), std::invalid_argument);
    CHECK_THROWS_AS(io::signal_set({65}), std::invalid_argument);
    struct sigaction is{};
    ::sigaction(SIGUSR1, nullptr, &is);
    CHECK(is.sa_handler == was.sa_handler);
    CHECK(open_descriptors() == before);
}

TEST_CASE("signal_set: 64 sets may exist, the next is refused, and their places are reused") {
    const auto before = open_descriptors();
    for (int round = 0; round < 2; ++round) {
        std::vector<io::signal_set> sets;
        for (int i = 0; i < 64; ++i) sets.emplace_back(std::initializer_list<int>{SIGUSR1});
        CHECK_THROWS_AS(io::signal_set({SIGUSR1}), std::invalid_argument);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("signal_set: sets come and go in a storm of signals") {
    // The outer set keeps the default action, which ends the process, away.
    stepped world;
    io::signal_set outer({SIGUSR1});
    std::atomic<bool> stop{false};
    std::thread storm([&] {
        while (!stop) ::kill(::getpid(), SIGUSR1);
    });
    for (int i = 0; i < 2000; ++i) {
        io::signal_set brief({SIGUSR1});
        if (i % 100 == 0) CHECK(world.run(brief.wait()) == SIGUSR1);
    }
    stop = true;
    storm.join();
    CHECK(world.run(outer.wait()) == SIGUSR1);
}

TEST_CASE("signal_set: it may move between waits, and leaves no descriptor") {
    const auto before = open_descriptors();
    stepped world;
    const auto with_world = open_descriptors();
    {
        io::signal_set first({SIGUSR1});
        io::signal_set second(std::move(first));
        std::raise(SIGUSR1);
        CHECK(world.run(second.wait()) == SIGUSR1);
    }
    CHECK(open_descriptors() == with_world);
    CHECK(with_world > before);
}

TEST_CASE("contract: a second task that waits on a set gets an error, the first the signal") {
    stepped world;
    io::signal_set set({SIGUSR1});
    auto first = world.spawn(set.wait());
    world.settle();
    std::string text = "it is none";
    try {
        static_cast<void>(world.run(set.wait()));
    } catch (const std::logic_error& error) {
        text = error.what();
    }
    CHECK(text == "wait for a signal: another task waits on this signal_set, and one at a time "
                  "may");
    std::raise(SIGUSR1);
    CHECK(world.end_of(first).value() == SIGUSR1);
    const io::signal_set other(std::move(set));
    CHECK_THROWS_AS(world.run(set.wait()), std::logic_error);
}

TEST_CASE("contract: a set destroyed under its waiter ends the process, by its own name") {
    const auto end = in_child([] {
        stepped world;
        std::optional<io::signal_set> set(std::in_place, std::initializer_list<int>{SIGUSR1});
        auto waiter = world.spawn(set->wait());
        world.settle();
        set.reset();
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK_THAT(end.err, Catch::Contains("a signal_set outlives the wait() on it"));
}
