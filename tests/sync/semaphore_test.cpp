// semaphore: permits that come back, whatever becomes of their holders.
#include <toadstone/sync/semaphore.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::semaphore;

task<> take(semaphore& s, std::size_t count, order& entered, int who, gate& until) {
    auto held = co_await s.acquire(count);
    entered.push_back(who);
    co_await until.pass();
}

task<> take_and_go(semaphore& s, std::size_t count, order& entered, int who) {
    auto held = co_await s.acquire(count);
    entered.push_back(who);
}

} // namespace

TEST_CASE("S260: a permit comes back however its holder ends, and nothing is poisoned") {
    semaphore s(2, "s");
    gate never;
    gate until;
    order entered;
    stepped w;
    auto one = w.spawn(take(s, 1, entered, 1, never));
    auto fails = w.spawn([](semaphore& of, gate& at) -> task<> {
        auto held = co_await of.acquire();
        co_await at.pass();
        throw std::runtime_error("boom");
    }(s, until));
    w.settle();
    CHECK(s.available() == 0);
    CHECK_FALSE(s.try_acquire().has_value());
    one.cancel();
    w.settle();
    CHECK(s.available() == 1);
    until.open();
    w.settle();
    CHECK(fails.done());
    CHECK(s.available() == 2);
    CHECK(s.try_acquire(2).has_value());
    CHECK(s.available() == 2);
}

TEST_CASE("S261: first come, first served: who wants few does not pass who wants many") {
    semaphore s(3);
    gate first;
    gate later;
    stepped w;
    order entered;
    auto one = w.spawn(take(s, 2, entered, 1, first));
    auto many = w.spawn(take(s, 3, entered, 2, later));
    auto few = w.spawn(take_and_go(s, 1, entered, 3));
    w.settle();
    CHECK(entered == order{1});
    CHECK_FALSE(s.try_acquire(1).has_value()); // one is free, but there is a queue
    first.open();
    w.settle();
    CHECK(entered == order{1, 2});
    later.open();
    w.settle();
    CHECK(entered == order{1, 2, 3});
    CHECK(s.available() == 3);
}

TEST_CASE("S261: one that wants many and is cancelled lets those behind him pass") {
    semaphore s(1);
    gate never;
    order entered;
    stepped w;
    auto many = w.spawn(take(s, 5, entered, 1, never));
    auto one = w.spawn(take_and_go(s, 1, entered, 2));
    auto two = w.spawn(take_and_go(s, 1, entered, 3));
    w.settle();
    CHECK(entered.empty());
    many.cancel();
    w.settle();
    CHECK(entered == order{2, 3});
    CHECK(s.available() == 1);
}

TEST_CASE("S261: permits that were granted to a cancelled waiter go to the next") {
    semaphore s(0);
    order entered;
    stepped w;
    auto first = w.spawn(take_and_go(s, 1, entered, 1));
    auto second = w.spawn(take_and_go(s, 1, entered, 2));
    w.settle();
    s.add_permits(1); // granted to the first, which has not run
    first.cancel();
    w.settle();
    CHECK(w.end_of(first).is_cancelled());
    CHECK(entered == order{2});
    CHECK(s.available() == 1);
}

TEST_CASE("S261: a request that is pending takes no permit") {
    semaphore s(1);
    order entered;
    stepped w;
    auto one = w.spawn(take_and_go(s, 1, entered, 1));
    one.cancel();
    w.settle();
    CHECK(entered.empty());
    CHECK(s.available() == 1);
}

TEST_CASE(
    "S262: a semaphore that is closed with waiters: all of them fail, at once, and so does "
    "who comes later; what is held comes back") {
    semaphore s(1, "pool");
    gate until;
    order entered;
    stepped w;
    auto holder = w.spawn(take(s, 1, entered, 1, until));
    w.settle();
    auto waits = w.spawn(take_and_go(s, 1, entered, 2));
    auto waits_too = w.spawn(take_and_go(s, 2, entered, 3));
    w.settle();
    s.close();
    w.settle();
    auto end = w.end_of(waits);
    CHECK_THROWS_WITH(end.value(), "semaphore 'pool' is closed");
    auto end_too = w.end_of(waits_too);
    CHECK_THROWS_AS(end_too.value(), sync::closed_error);
    CHECK_FALSE(holder.done());
    CHECK_THROWS_AS(s.try_acquire(), sync::closed_error);
    CHECK_THROWS_AS(w.run(take_and_go(s, 1, entered, 4)), sync::closed_error);
    CHECK(s.is_closed());
    until.open();
    w.settle();
    CHECK(s.available() == 1);
}

TEST_CASE("S263: a time limit: nothing when the time was up first, a permit at the same moment "
          "wins, and those behind pass") {
    semaphore s(0);
    order entered;
    stepped w;
    auto timed = [](semaphore& of, std::size_t count) -> task<bool> {
        auto got = co_await of.try_acquire_for(10ms, count);
        co_return got.has_value();
    };
    auto late = w.spawn(timed(s, 2));
    auto behind = w.spawn(take_and_go(s, 1, entered, 1));
    w.settle();
    s.add_permits(1);
    w.settle();
    CHECK(entered.empty());
    w.advance(10ms);
    CHECK_FALSE(w.end_of(late).value());
    CHECK(entered == order{1});
    auto in_time = w.spawn(timed(s, 2));
    w.settle();
    w.kernel().time += 10ms;
    s.add_permits(1); // it has two now, and the timer is due
    w.settle();
    CHECK(w.end_of(in_time).value());
    CHECK(s.available() == 2);
}

TEST_CASE("S264: permits are split, merged, forgotten and released early") {
    semaphore s(5);
    {
        auto all = s.blocking_acquire(5);
        auto two = all.split(2);
        CHECK(all.count() == 3);
        CHECK(two.count() == 2);
        CHECK_THROWS_AS(all.split(4), std::invalid_argument);
        two.release();
        CHECK(s.available() == 2);
        auto again = s.blocking_acquire(2);
        all.merge(std::move(again));
        CHECK(all.count() == 5);
        CHECK(again.count() == 0);
        auto lost = all.split(1);
        lost.forget();
        semaphore other(1);
        auto foreign = other.blocking_acquire();
        CHECK_THROWS_AS(all.merge(std::move(foreign)), std::invalid_argument);
        auto moved = std::move(all);
        CHECK(all.count() == 0);
        semaphore::permit& same = moved;
        moved = std::move(same);
        CHECK(moved.count() == 4);
    }
    CHECK(s.available() == 4);
    CHECK_THROWS_AS(s.add_permits(~std::size_t{0}), std::invalid_argument);
    CHECK(s.try_acquire(0).has_value());
}

TEST_CASE("S265: workers and plain threads share it, and nobody is lost") {
    constexpr int rounds = 300;
    semaphore s(2);
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    const auto enter = [&] {
        const int now = inside.fetch_add(1) + 1;
        int seen = most.load();
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < rounds; ++round) {
                auto held = s.blocking_acquire();
                enter();
                inside.fetch_sub(1);
            }
        });
    }
    runtime r({.workers = 2});
    auto worker = [&]() -> task<> {
        for (int round = 0; round < rounds; ++round) {
            auto held = co_await s.acquire();
            enter();
            co_await yield_now();
            inside.fetch_sub(1);
        }
    };
    auto all = [&]() -> task<> {
        auto one = spawn(worker(), {.where = placement::worker(0)});
        auto two = spawn(worker(), {.where = placement::worker(1)});
        co_await one;
        co_await two;
    };
    r.block_on(all());
    for (auto& each : threads) each.join();
    CHECK(most.load() <= 2);
    CHECK(s.available() == 2);
}

TEST_CASE("S265: a worker does not block for a permit") {
    semaphore s(0);
    stepped w;
    auto blocks = [](semaphore& of) -> task<> {
        auto held = of.blocking_acquire();
        co_return;
    };
    CHECK_THROWS_AS(w.run(blocks(s)), std::logic_error);
    semaphore empty(0);
    std::thread late([&] { auto held = empty.blocking_acquire(); });
    std::thread closer([&] { empty.add_permits(1); });
    late.join();
    closer.join();
}

} // namespace toadstone::tests
