// The ways to wait for tasks, cancelled at every await, once and twice, with failing
// allocations: nobody hangs, nothing is left behind, and everybody is told what has happened.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/cancelled.hpp"
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

/// A task of a set, in a section.
task<int> works_in(lock& m) {
    auto got = co_await as_outcome(m.lock());
    if (!got.has_value()) co_return 0; // somebody has poisoned it
    auto held = std::move(got).value();
    *held = half;
    co_await yield_now();
    *held = whole;
    co_return 1;
}
/// Each member of the set ends, and is joined once, or goes with the set.
task<> owns_set(lock& m, int& joined, bool& finished) {
    join_set<int> set(2);
    for (int i = 0; i < 3; ++i) {
        co_await set.spawn_when_free(on(i % 2, "member"), works_in, std::ref(m));
    }
    while (auto end = co_await set.join_next()) ++joined;
    finished = true;
}
task<> s199(sim::world&) {
    lock m;
    int joined = 0;
    bool finished = false;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(owns_set(m, joined, finished), on(0, "owner"));
        co_return;
    };
    co_await all_of(body);
    expect(!finished || joined == 3, "a task of the set has not been joined");
    // Members that went with the set end by themselves.
    auto last = co_await as_outcome(m.lock_or_poison());
    expect(last.has_value(), "the lock is gone");
    const int value = *last.value().guard();
    expect(value != half || m.is_poisoned(), "half-done data, and the lock does not say so");
}
/// Two who wait for a place, and one who joins, beside each other.
task<> adds(join_set<int>& set, lock& m, int& added) {
    co_await set.spawn_when_free(on(1, "member"), works_in, std::ref(m));
    ++added;
}
task<> joins(join_set<int>& set, int& joined) {
    while (auto end = co_await set.join_next()) ++joined;
}
task<> s198(sim::world&) {
    lock m;
    int added = 0;
    int joined = 0;
    {
        join_set<int> set(1);
        auto body = [&](task_scope& scope) -> task<> {
            scope.spawn(adds(set, m, added), on(0, "adder"));
            scope.spawn(adds(set, m, added), on(1, "adder"));
            scope.spawn(adds(set, m, added), on(0, "adder"));
            scope.spawn(joins(set, joined), on(0, "joiner"));
            co_return;
        };
        co_await all_of(body);
        co_await joins(set, joined); // what is left
        expect(set.size() == 0, "a task is still there although all have been joined");
    }
    expect(joined == added, "tasks were lost, or joined twice");
}
task<> s201(sim::world&) {
    lock m;
    int joined = 0;
    auto keeps = [&](join_set<int>& set) -> task<> {
        set.spawn(on(1, "member"), works_in, std::ref(m));
        set.spawn(on(0, "member"), works_in, std::ref(m));
        const auto first = co_await set.join_next();
        if (first) ++joined;
    };
    auto owner = [&]() -> task<> { co_await with_join_set<int>(keeps); };
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(on(0, "owner"), std::ref(owner));
        co_return;
    };
    co_await all_of(body);
    // Nobody is left, whatever became of the owner.
    const int value = m.get_mut(sync::ignore_poison);
    expect(value != half || m.is_poisoned(), "half-done data, and the lock does not say so");
    if (!m.is_poisoned()) expect(m.try_lock().has_value(), "a member of the set is left");
}

task<int> computes_once(int& runs) {
    ++runs;
    co_await yield_now();
    co_await yield_now();
    co_return 7;
}
task<> reads_shared(shared_task<int> from, int& got) {
    try {
        got = co_await from;
    } catch (const task_cancelled&) {
        got = -1;
    } catch (const std::bad_alloc&) {
    }
}
task<> s202(sim::world&) {
    int runs = 0;
    int got[3] = {};
    auto body = [&](task_scope& scope) -> task<> {
        shared_task<int> shared(spawn(on(1, "shared"), computes_once, std::ref(runs)));
        for (int i = 0; i < 3; ++i) {
            scope.spawn(reads_shared(shared, got[i]), on(i % 2, "reader"));
        }
        co_return;
    };
    co_await all_of(body);
    expect(runs <= 1, "the task has run twice");
    for (const int each : got) {
        expect(each == 0 || each == 7 || each == -1, "a reader was told something else");
    }
    // The task may be left alone.
    co_await sleep_for(1ms);
}

task<int> tries(lock& m, bool fails) {
    auto held = co_await m.lock();
    held.mark_consistent();
    co_await yield_now();
    if (fails) throw boom();
    co_await yield_now();
    co_return 1;
}
task<> races(lock& m, int& won) {
    try {
        const auto first =
            co_await when_any_success(tries(m, true), tries(m, false), tries(m, true));
        won = first.value;
    } catch (const aggregate_error&) {
        won = -1;
    }
}
task<> s203(sim::world&) {
    lock m;
    int won = 0;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(races(m, won), on(0, "racer"));
        scope.spawn(races(m, won), on(1, "racer"));
        co_return;
    };
    co_await all_of(body);
    expect(won >= 0, "a branch that succeeds was not heard");
    expect(m.try_lock().has_value(), "a loser is left");
}

task<> supervised(lock& m, int& failures, int& ended) {
    auto child = [&](bool fails) -> task<> {
        auto held = co_await m.lock();
        held.mark_consistent();
        co_await yield_now();
        if (fails) throw boom();
        ++ended;
    };
    auto children = [&](task_scope& scope) -> task<> {
        scope.spawn(on(0, "child"), std::ref(child), true);
        scope.spawn(on(1, "child"), std::ref(child), false);
        scope.spawn(on(1, "child"), std::ref(child), true);
        co_return;
    };
    try {
        co_await with_supervisor(children);
    } catch (const aggregate_error& error) {
        failures = static_cast<int>(error.failures().size());
    }
}
task<> s204(sim::world&) {
    lock m;
    int failures = 0;
    int ended = 0;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(supervised(m, failures, ended), on(0, "supervisor"));
        co_return;
    };
    try {
        co_await all_of(body);
    } catch (const boom&) {
        // Without memory for both.
    }
    expect(failures <= 3 && ended <= 1, "a child has ended twice");
    expect(m.try_lock().has_value(), "a child is left");
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
TEST_CASE("S198: tasks that wait for places in a set, one that joins: nothing is lost") {
    cancelled_everywhere(s198, 6);
}
TEST_CASE(
    "S199: the owner of a set, and its tasks, stopped at every await: each is joined once, "
    "or ends by itself") {
    cancelled_everywhere(s199, 6);
}
TEST_CASE("S201: with_join_set() stopped at every await: nobody is left when it has ended") {
    cancelled_everywhere(s201, 5);
}
TEST_CASE("S202: readers of a shared task, stopped at every await, and the task itself") {
    cancelled_everywhere(s202, 4);
}
TEST_CASE("S203: races for the first success, stopped at every await: no loser is left") {
    cancelled_everywhere(s203, 6);
}
TEST_CASE("S204: supervised children, stopped at every await: none is left") {
    cancelled_everywhere(s204, 6);
}
TEST_CASE("S192: a task whose attendant is stopped at every await ends, and lets go") {
    cancelled_everywhere(s192, 3);
}

} // namespace toadstone::tests
