// barrier: rounds that are complete or broken.
#include <toadstone/sync/barrier.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::barrier;
using sync::barrier_broken;

task<> meet(barrier& at, int rounds, order& rounds_done, int& lasts) {
    for (int i = 0; i < rounds; ++i) {
        const bool last = co_await at.arrive_and_wait();
        if (last) ++lasts;
        rounds_done.push_back(i);
    }
}

} // namespace

TEST_CASE("S269: nobody passes before all have arrived; one of each round is the last") {
    barrier at(3);
    order done;
    int lasts = 0;
    stepped w;
    auto one = w.spawn(meet(at, 2, done, lasts));
    auto two = w.spawn(meet(at, 2, done, lasts));
    w.settle();
    CHECK(done.empty());
    CHECK(at.waiting() == 2);
    auto three = w.spawn(meet(at, 2, done, lasts));
    w.settle();
    CHECK(done == order{0, 0, 0, 1, 1, 1});
    CHECK(lasts == 2);
    CHECK(at.waiting() == 0);
    barrier alone(1);
    w.run(meet(alone, 3, done, lasts));
    CHECK(lasts == 5);
}

TEST_CASE(
    "S270: a party that is cancelled while it waits breaks the barrier, with the cause; so "
    "it stays until reset()") {
    barrier at(3);
    order done;
    int lasts = 0;
    stepped w;
    auto one = w.spawn(meet(at, 1, done, lasts));
    auto two = w.spawn(meet(at, 1, done, lasts));
    w.settle();
    one.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(w.end_of(one).is_cancelled());
    auto end = w.end_of(two);
    try {
        end.value();
        FAIL("a broken round was passed");
    } catch (const barrier_broken& broken) {
        CHECK(broken.reason() == cancel_reason::timeout);
        CHECK(broken.task_id() != 0);
        const std::string text = broken.what();
        CHECK(text.find("barrier broken: task ") == 0);
        CHECK(text.find("(timeout)") != std::string::npos);
    }
    CHECK(at.is_broken());
    CHECK_THROWS_AS(w.run(meet(at, 1, done, lasts)), barrier_broken);
    CHECK(done.empty());
    at.reset();
    CHECK_FALSE(at.is_broken());
    auto a = w.spawn(meet(at, 1, done, lasts));
    auto b = w.spawn(meet(at, 1, done, lasts));
    auto c = w.spawn(meet(at, 1, done, lasts));
    w.settle();
    CHECK(done.size() == 3);
}

TEST_CASE("S270: a request that is pending arrives nowhere; one that comes when the round is "
          "complete breaks nothing") {
    barrier at(2);
    order done;
    int lasts = 0;
    stepped w;
    auto pending = w.spawn(meet(at, 1, done, lasts));
    pending.cancel();
    w.settle();
    CHECK(at.waiting() == 0);
    CHECK_FALSE(at.is_broken());
    auto one = w.spawn(meet(at, 1, done, lasts));
    w.settle();
    std::thread([&] { static_cast<void>(at.blocking_arrive_and_wait()); }).join();
    one.cancel(); // its round is complete, and it has not run
    w.settle();
    CHECK_FALSE(w.end_of(one).is_cancelled());
    CHECK(done == order{0});
    CHECK_FALSE(at.is_broken());
}

TEST_CASE(
    "S270: whoever runs out of time breaks it; break_now() and reset() refuse who waits") {
    barrier at(2);
    order done;
    int lasts = 0;
    stepped w;
    auto limited = w.spawn(
        [](barrier& b) -> task<bool> { co_return co_await b.arrive_and_wait_for(5ms); }(at));
    w.settle();
    w.advance(5ms);
    auto end = w.end_of(limited);
    CHECK_THROWS_WITH(end.value(), Catch::Contains("(timeout)"));
    CHECK(at.is_broken());
    at.reset();
    for (const bool breaks : {true, false}) {
        auto waits = w.spawn(meet(at, 1, done, lasts));
        w.settle();
        if (breaks) {
            at.break_now();
        } else {
            at.reset();
        }
        w.settle();
        auto end_of_wait = w.end_of(waits);
        CHECK_THROWS_AS(end_of_wait.value(), barrier_broken);
        CHECK(at.is_broken() == breaks);
        at.reset();
    }
}

TEST_CASE("S269: threads and workers meet, round after round") {
    constexpr int rounds = 500;
    barrier at(3);
    std::thread plain([&] {
        for (int i = 0; i < rounds; ++i) static_cast<void>(at.blocking_arrive_and_wait());
    });
    runtime r({.workers = 2});
    order done[2];
    int lasts[2] = {0, 0};
    auto all = [&]() -> task<> {
        auto one = spawn(meet(at, rounds, done[0], lasts[0]), {.where = placement::worker(0)});
        auto two = spawn(meet(at, rounds, done[1], lasts[1]), {.where = placement::worker(1)});
        co_await one;
        co_await two;
    };
    r.block_on(all());
    plain.join();
    CHECK(done[0].size() == rounds);
    CHECK(done[1].size() == rounds);
}

} // namespace toadstone::tests
