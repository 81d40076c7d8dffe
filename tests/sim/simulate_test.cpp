// Runs of a scenario: what fails one, how it is reproduced, and that equal decisions are equal
// runs.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace toadstone;
using namespace std::chrono_literals;

namespace {

task<> holds(sync::mutex<int>& m, placement) {
    auto held = co_await m.lock();
    const int before = *held;
    co_await yield_now();
    *held = before + 1;
}

task<> two_workers(sim::world&) {
    sync::mutex<int> m;
    const auto body = [&m](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < 4; ++i) {
            const auto where = placement::worker(i);
            scope.spawn(holds(m, where), {.name = "worker", .where = where}).detach();
        }
        co_return;
    };
    co_await with_scope(body);
    auto held = co_await m.lock();
    if (*held != 4) throw std::runtime_error("an increment is lost");
}

// Not safe: two workers add up without a lock, with a suspension in between.
task<> adds(int& sum) {
    const int before = sum;
    co_await yield_now();
    sum = before + 1;
}
task<> loses_updates(sim::world&) {
    int sum = 0;
    const auto body = [&sum](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < 2; ++i) {
            scope.spawn(adds(sum), {.where = placement::worker(i)}).detach();
        }
        co_return;
    };
    co_await with_scope(body);
    if (sum != 2) throw std::runtime_error("an update is lost");
}

} // namespace

TEST_CASE("simulate: an hour of sleep takes no time, and an hour of the world's") {
    const auto body = [](sim::world& world) -> task<> {
        const auto begun = world.now();
        co_await sleep_for(1h);
        if (world.now() - begun < 1h) throw std::runtime_error("too early");
    };
    const auto begun = std::chrono::steady_clock::now();
    const auto end = sim::simulate(body);
    INFO(end.failure);
    CHECK(end);
    CHECK(end.elapsed >= 1h);
    CHECK(std::chrono::steady_clock::now() - begun < 1h);
}

TEST_CASE("simulate: what the scenario throws fails the run and is told") {
    const auto end = sim::simulate([](sim::world&) -> task<> {
        co_await yield_now();
        throw std::runtime_error("the balance is wrong");
    });
    CHECK_FALSE(end);
    CHECK_THAT(end.failure, Catch::Contains("the balance is wrong"));
}

TEST_CASE("simulate: a deadlock ends the run and names who waits where") {
    const auto end = sim::simulate([](sim::world&) -> task<> {
        sync::mutex<int> m;
        const auto body = [&m](task_scope& scope) -> task<> {
            auto held = co_await m.lock();
            auto waiter = scope.spawn(holds(m, {}), {.name = "stuck"});
            co_await waiter;
        };
        co_await with_scope(body);
    });
    CHECK_FALSE(end);
    CHECK_THAT(end.failure, Catch::Contains("nobody can go on") && Catch::Contains("'stuck'") &&
                                Catch::Contains("simulate_test.cpp:"));
}

TEST_CASE("simulate: a livelock ends the run after the steps it may take") {
    sim::world_options options;
    options.most_steps = 1000;
    const auto dice = sim::replayed_choices("");
    const auto end = sim::simulate(options, *dice, [](sim::world&) -> task<> {
        for (;;) co_await yield_now();
    });
    CHECK_FALSE(end);
    CHECK_THAT(end.failure, Catch::Contains("livelock"));
}

TEST_CASE("simulate: equal decisions are equal runs, other decisions other ones") {
    sim::world_options options;
    options.workers = 3;
    std::uint64_t different = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const auto one = sim::random_choices(seed);
        const auto two = sim::random_choices(seed);
        const auto other = sim::random_choices(seed + 1000);
        const auto first = sim::simulate(options, *one, two_workers);
        const auto second = sim::simulate(options, *two, two_workers);
        INFO(first.failure);
        CHECK(first);
        CHECK(first.hash == second.hash);
        CHECK(first.steps == second.steps);
        different += first.hash != sim::simulate(options, *other, two_workers).hash;
    }
    CHECK(different > 30);
}

TEST_CASE("explore: finds a lost update, shrinks it, and its one line reproduces it") {
    sim::explore_options options;
    options.world.workers = 2;
    const auto found = sim::explore(options, loses_updates);
    REQUIRE_FALSE(found);
    CHECK_THAT(found.to_string(), Catch::Contains("an update is lost") &&
                                      Catch::Contains("TOADSTONE_SIM_REPLAY=bytes="));
    CHECK(found.first_failure.trace.size() < 60);
    const auto again = sim::replayed_choices(found.first_failure.trace);
    CHECK_FALSE(sim::simulate(options.world, *again, loses_updates));
}

TEST_CASE("explore: the exhaustive search comes to its end where nothing is wrong") {
    sim::explore_options options;
    options.world.workers = 2;
    options.random_runs = 20;
    options.pct_runs = 20;
    options.exhaustive_bound = 1;
    const auto found = sim::explore(options, two_workers);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.exhausted);
    CHECK(found.exhaustive_runs > 100);
}

TEST_CASE(
    "cancel_at_every_await: the lock is free or poisoned, whenever its holder is stopped") {
    sim::cancel_options options;
    options.world.workers = 2;
    options.pairs = true;
    const auto checked = sim::cancel_at_every_await(options, [](sim::world&) -> task<> {
        sync::mutex<int> m;
        const auto inside = [&m](task_scope& scope) -> task<> {
            for (unsigned i = 0; i < 3; ++i) {
                const auto where = placement::worker(i);
                scope.spawn(as_outcome(holds(m, where)), {.where = where}).detach();
            }
            co_return;
        };
        co_await with_scope(inside);
        auto found = co_await m.lock_or_poison();
        const int value = *found.guard();
        if (value < 0 || value > 3) throw std::runtime_error("the data is neither old nor new");
    });
    INFO(checked.to_string());
    CHECK(checked);
    CHECK(checked.points.size() >= 6);
    CHECK(checked.runs > 100);
}

TEST_CASE("cancel_at_every_await: one cancellation hits one task, never its neighbour too") {
    const auto checked = sim::cancel_at_every_await({}, [](sim::world&) -> task<> {
        int ended = 0;
        const auto child = [](int& count) -> task<> {
            co_await yield_now();
            co_await yield_now();
            ++count;
        };
        const auto inside = [&](task_scope& scope) -> task<> {
            for (int i = 0; i < 3; ++i) scope.spawn(child(ended)).detach();
            co_return;
        };
        co_await with_scope(inside);
        if (ended < 2) throw std::runtime_error("two were cancelled");
    });
    INFO(checked.to_string());
    CHECK(checked);
}
