// spawn_blocking() in a simulated world: every order of a cancellation and of a function's
// begin and end, with guards around it, and a function that outlasts a time limit.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <string>
#include <system_error>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

/// What one caller has come to.
struct caller {
    bool called = false;
    bool delivered = false;
    bool gone = false; ///< its frame
};

task<> calls(caller& c, lock& m, int value) {
    const scope_exit tells([&c] { c.gone = true; });
    auto held = co_await m.lock();
    *held = half;
    const int result = co_await spawn_blocking([&c, &held, value] {
        expect(!c.called && !c.gone, "a function is called once, while its frame is there");
        c.called = true;
        expect(*held == half, "somebody else was let in");
        return value;
    });
    c.delivered = true;
    expect(result == value, "another function's result");
    *held = whole;
    co_await yield_now();
}

/// All callers of one world: two wait for their turn, as there are two threads.
constexpr int most = 3;
struct callers {
    lock locks[most];
    caller of[most];
};

void expect_fate(callers& all, int i, bool cancelled, bool may_be) {
    const caller& c = all.of[i];
    expect(c.gone, "a frame is left");
    expect(c.called == c.delivered, "a result was lost");
    expect(may_be || !cancelled, "somebody else was cancelled");
    expect(cancelled || c.delivered, "it has ended without its result");
    const int value = all.locks[i].get_mut(sync::ignore_poison);
    expect(!c.delivered || value == whole, "it did not go on to its next await");
    // Torn down in the section, behind the function or before it; or not at all.
    if (!all.locks[i].is_poisoned()) expect(value != half, "half-done data, and no poison");
    if (!cancelled) expect_end(all.locks[i], false, whole);
}

task<> cancels(join_handle<void>& whom) {
    co_await yield_now();
    whom.cancel(cancel_reason::timeout);
}

task<> one_is_cancelled(sim::world& world, sightings& seen) {
    callers all;
    const int victim = static_cast<int>(pick(world, most));
    const auto body = [&](task_scope& scope) -> task<> {
        std::vector<join_handle<void>> handles;
        for (int i = 0; i < most; ++i) {
            handles.push_back(
                scope.spawn(calls(all.of[i], all.locks[i], i + 1), on(0, "caller")));
        }
        auto by =
            scope.spawn(cancels(handles[static_cast<std::size_t>(victim)]), on(1, "canceller"));
        co_await by;
        for (int i = 0; i < most; ++i) {
            auto end = co_await handles[static_cast<std::size_t>(i)].outcome();
            expect_fate(all, i, end.is_cancelled(), i == victim);
            if (i == victim) seen.note(all.of[i].delivered ? "too late" : "in time");
        }
    };
    co_await with_scope(body);
}

/// A function that lasts, under a limit: it did not begin, or its result counts.
task<> limited(caller& c, sightings& seen) {
    const scope_exit tells([&c] { c.gone = true; });
    const auto begun = this_task::now();
    bool late = false;
    try {
        co_await with_timeout(500ms, spawn_blocking([&c] {
                                  expect(!c.gone, "the frame of a function is gone");
                                  c.called = true;
                              }));
        c.delivered = true;
    } catch (const timeout_error&) {
        late = true;
    }
    expect(c.called == c.delivered && late != c.delivered, "a limit cut a function");
    const auto took = this_task::now() - begun;
    if (late) seen.note("did not begin in time");
    if (c.delivered) seen.note(took > 500ms ? "was waited for" : "in time");
}

task<> with_limits(sim::world&, sightings& seen) {
    caller c[5];
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 5; ++i) scope.spawn(limited(c[i], seen), on(i, "limited")).detach();
        co_return;
    };
    co_await with_scope(body);
}

/// The awaits of one caller, a lock that it holds, and a visitor.
task<> cut_anywhere(sim::world&) {
    callers all;
    visit other;
    bool cancelled = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto handle = scope.spawn(calls(all.of[0], all.locks[0], 5), on(1, "caller"));
        scope.spawn(visits(all.locks[0], other), on(0, "visitor")).detach();
        auto end = co_await handle.outcome();
        expect(!end.has_exception(), "it failed");
        cancelled = end.is_cancelled();
    };
    co_await with_scope(body);
    expect_fate(all, 0, cancelled, true);
}

/// In a simulation, too, a function that asks for its task's lock is told.
task<> asks_for_own(sim::world&, sightings& seen) {
    lock m;
    auto held = co_await m.lock();
    try {
        co_await spawn_blocking([&m] { static_cast<void>(m.blocking_lock()); });
    } catch (const sync::would_deadlock&) {
        seen.note("told");
    }
}

/// The function sees the world's clock.
task<> sees_time(sim::world& world, sightings&) {
    co_await sleep_for(1h);
    const auto inside = co_await spawn_blocking([] { return this_task::now(); });
    expect(inside > world.now() - 10s && inside <= world.now(), "another clock");
}

} // namespace

TEST_CASE(
    "S219: of three functions on two threads one's task is cancelled, at any time: it never "
    "began, or was waited for and delivered (explored)") {
    explored(schedules(2, 2), one_is_cancelled, {"in time", "too late"});
}
TEST_CASE(
    "S219: a time limit ends the wait for a thread, and waits for a function that has begun "
    "(explored)") {
    auto options = schedules(1, 2);
    options.exhaustive_bound = 0;
    options.world.hostile = true;
    explored(options, with_limits, {"did not begin in time", "was waited for", "in time"});
}
TEST_CASE("S219: a task with a function and a guard is cancelled at every await") {
    sim::cancel_options options;
    options.world.workers = 2;
    options.victims = "caller";
    options.pairs = true;
    options.seeds = 20;
    const auto found = sim::cancel_at_every_await(options, cut_anywhere);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() >= 3);
}
TEST_CASE("S219: a function that asks for its own task's lock is told in a simulation, too") {
    explored(schedules(every, 2), asks_for_own, {"told"});
}
TEST_CASE("S219: a function in a simulation sees the world's clock") {
    explored(schedules(2, 2), sees_time);
}

} // namespace toadstone::tests
