// The ways to wait for tasks, cancelled at every await, once and twice, with failing
// allocations: nobody hangs, nothing is left behind, and everybody is told what has happened.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sim/failing_new.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <functional>
#include <new>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

/// Runs a scope whose children may be left without memory.
template <class Body>
task<> all_of(Body& body) {
    try {
        co_await with_scope(body);
    } catch (const std::bad_alloc&) {
    }
}

void cancelled_everywhere(task<> (*body)(sim::world&), std::size_t awaits) {
    for (const bool pairs : {true, false}) {
        sim::cancel_options options;
        options.world.workers = 2;
        options.reason = cancel_reason::timeout;
        options.pairs = pairs;
        options.seeds = pairs ? 0 : 30;
        options.allocations = true;
        options.world.all_memory_back = true;
        const auto checked = sim::cancel_at_every_await(options, body);
        INFO((pairs ? "in pairs: " : "by seeds: ") << checked.to_string());
        REQUIRE(checked);
        CHECK(checked.points.size() >= awaits);
    }
}

/// Holds a lock, and computes: what it leaves half-done says so.
task<> computes(lock& m, bool& finished) {
    auto got = co_await as_outcome(m.lock());
    if (!got.has_value()) co_return; // the visitor has poisoned it
    auto held = std::move(got).value();
    *held = half;
    this_task::throw_if_cancelled();
    co_await yield_now();
    this_task::throw_if_cancelled();
    *held = whole;
    held.unlock();
    co_await yield_now();
    finished = true;
}
task<> s190(sim::world&) {
    lock m;
    visit other;
    bool finished = false;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(on(0, "computer"), computes, std::ref(m), std::ref(finished));
        scope.spawn(visits(m, other), on(1, "visitor"));
        co_return;
    };
    co_await all_of(body);
    const int value = m.get_mut(sync::ignore_poison);
    expect(value != half || m.is_poisoned(), "half-done data, and the lock does not say so");
    expect(!finished || value == whole, "it has finished, and its data has not");
}

task<> waits_for(const cancellation_token& token, cancel_reason& got) {
    got = co_await token;
}
task<> waits_a_while(const cancellation_token& token, int& late) {
    try {
        co_await with_timeout(1ms, cancellation_token(token));
    } catch (const timeout_error&) {
        ++late;
    }
}
task<> s191(sim::world&) {
    cancellation_source source;
    const cancellation_token token = source.token();
    cancel_reason got[2] = {cancel_reason::requested, cancel_reason::requested};
    int late = 0;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(on(0, "waiter"), waits_for, std::cref(token), std::ref(got[0]));
        scope.spawn(on(1, "waiter"), waits_for, std::cref(token), std::ref(got[1]));
        scope.spawn(on(1, "hasty"), waits_a_while, std::cref(token), std::ref(late));
        co_await sleep_for(2ms);
        source.cancel(cancel_reason::lost_race);
        co_await yield_now();
    };
    co_await all_of(body);
    source.cancel();
    for (const cancel_reason each : got) {
        expect(each == cancel_reason::requested || each == source.token().reason(),
               "a waiter was told another reason");
    }
}

/// Keeps a lock until it is stopped.
task<> holds(lock& m) {
    auto held = co_await m.lock();
    held.mark_consistent();
    co_await sleep_for(24h);
}
task<> attends(lock& m) {
    abort_on_drop handle(spawn(holds(m), on(1, "attended")));
    co_await yield_now();
    static_cast<void>(co_await with_timeout(1ms, handle.outcome()));
}
task<> s192(sim::world&) {
    lock m;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(attends(m), on(0, "attendant"));
        co_return;
    };
    try {
        co_await all_of(body);
    } catch (const timeout_error&) {
    }
    // Not at once: it ends by itself.
    auto held = co_await m.lock();
}

/// Gives values from inside a section.
async_generator<int> from_inside(lock& m) {
    auto got = co_await as_outcome(m.lock());
    if (!got.has_value()) co_return; // somebody has poisoned it
    auto held = std::move(got).value();
    *held = half;
    co_yield 1;
    co_await yield_now();
    co_yield 2;
    *held = whole;
    held.unlock();
    co_yield 3;
}
task<> takes_values(lock& m, int most, int& last) {
    auto values = from_inside(m);
    for (int i = 0; i < most; ++i) {
        auto next = co_await values.next();
        if (!next) break;
        last = *next;
        co_await yield_now();
    }
}
task<> takes_hastily(lock& m, int& last) {
    auto values = from_inside(m);
    try {
        for (;;) {
            auto next = co_await with_timeout(1ms, values.next());
            if (!next) break;
            last = *next;
        }
    } catch (const timeout_error&) {
    }
}
task<> s193(sim::world&) {
    lock m;
    visit other;
    int last[3] = {};
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(takes_values(m, 4, last[0]), on(0, "consumer"));
        scope.spawn(takes_hastily(m, last[1]), on(1, "hasty"));
        scope.spawn(visits(m, other), on(1, "visitor"));
        scope.spawn(takes_values(m, 2, last[2]), on(0, "breaks")); // in the middle
        co_return;
    };
    co_await all_of(body);
    const int value = m.get_mut(sync::ignore_poison);
    expect(value != half || m.is_poisoned(), "half-done data, and the lock does not say so");
    if (last[2] == 2)
        expect(m.is_poisoned(), "a generator was given up, and the lock is healthy");
}

} // namespace

TEST_CASE("S190: throw_if_cancelled, in a section, stopped at every await: poisoned or whole") {
    cancelled_everywhere(s190, 4);
}
TEST_CASE("S191: tasks that await a token, stopped at every await, as it is cancelled") {
    cancelled_everywhere(s191, 3);
}
TEST_CASE(
    "S193: a generator that holds a lock at its co_yields, its consumers stopped at every "
    "await: poisoned or whole") {
    cancelled_everywhere(s193, 8);
}
TEST_CASE("S192: a task whose attendant is stopped at every await ends, and lets go") {
    cancelled_everywhere(s192, 3);
}

} // namespace toadstone::tests
