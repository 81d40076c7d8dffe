// Sections inside combinators under exploration: losers, siblings, nested locks and children
// with a time limit (section B of the scenarios, S26 to S29).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

task<> waits_inside(lock& m, event& until) {
    auto held = co_await m.lock();
    *held = half;
    co_await until.wait();
    *held = whole;
}

task<> races(lock& m, event& until, event& other, sightings& seen) {
    auto first = co_await when_any(waits_inside(m, until), other.wait());
    const int value = m.is_poisoned() ? half : whole;
    if (first.index == 0) {
        seen.note("the section won");
        expect(!m.is_poisoned(), "the winner of a race has poisoned");
        co_return;
    }
    if (value == half) {
        expect(m.cause().reason() == cancel_reason::lost_race, "the cause has another reason");
        seen.note("the loser was inside");
    }
}

task<> s26(sim::world& world, sightings& seen) {
    lock m;
    event until;
    event other;
    visitors others;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(races(m, until, other, seen), on(0, "racer")).detach();
        others.come(scope, m);
        co_await some_turns(world, 2);
        const bool other_first = pick(world, 2) == 0;
        (other_first ? other : until).set();
        co_await some_turns(world, 2);
        (other_first ? until : other).set();
    };
    co_await with_scope(body);
    const int value = m.get_mut(sync::ignore_poison);
    expect_end(m, value == half, value);
    if (value == half) expect_cancelled(m.cause(), cancel_reason::lost_race, "racer");
    others.check(m, seen);
}

task<> fails_at(event& when) {
    co_await when.wait();
    throw boom();
}

task<> gathers(lock& a, lock& b, event& until, event& when, bool& caught) {
    try {
        co_await when_all(waits_inside(a, until), fails_at(when), waits_inside(b, until));
    } catch (const boom&) {
        caught = true;
        // Whoever of the siblings was inside is gone, and has said so.
        const auto settled = [](lock& m) {
            return !m.is_poisoned() || m.cause().reason() == cancel_reason::sibling_failed;
        };
        expect(settled(a) && settled(b), "the cause has another reason");
    }
}

task<> s27(sim::world& world, sightings& seen) {
    lock a;
    lock b;
    event until;
    event when;
    bool caught = false;
    visitors others;
    visit of_b;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(gathers(a, b, until, when, caught), on(0, "parent")).detach();
        others.come(scope, a);
        scope.spawn(visits(b, of_b), on(1, "visitor")).detach();
        co_await some_turns(world, 2);
        const bool fails_first = pick(world, 2) == 0;
        (fails_first ? when : until).set();
        co_await some_turns(world, 2);
        (fails_first ? until : when).set();
    };
    co_await with_scope(body);
    expect(caught, "the first exception did not come out");
    for (lock* each : {&a, &b}) {
        const int value = each->get_mut(sync::ignore_poison);
        expect_end(*each, value == half, value);
        if (value == half) {
            expect_cancelled(each->cause(), cancel_reason::sibling_failed, "parent");
            seen.note("a sibling was inside");
        }
        if (value == whole) seen.note("a sibling was done");
    }
    others.check(a, seen);
    expect_told(b, of_b);
}

/// A lock that was granted to a branch whose sibling never got its own.
task<> takes_both(lock& a, lock& b, bool& entered) {
    auto both = co_await when_all(a.lock(), b.lock());
    entered = true;
}

task<> s27_granted(sim::world& world, sightings& seen) {
    lock a;
    lock b;
    event go;
    bool entered = false;
    visit of_a;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(waits_inside(b, go), on(1, "holder")).detach();
        auto victim = scope.spawn(takes_both(a, b, entered), on(0, "victim"));
        scope.spawn(visits(a, of_a), on(2, "visitor")).detach();
        co_await some_turns(world, 3);
        if (pick(world, 2) == 1) go.set();
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(end.has_value() == entered, "its end and its entry contradict");
        seen.note(entered ? "entered" : "cancelled");
        go.set();
    };
    co_await with_scope(body);
    expect_end(a, false, before);
    expect_end(b, false, whole);
    expect(of_a.entered, "a visitor was not served");
}

task<> nests(lock& a, lock& b, int& stage) {
    auto outer = co_await a.lock();
    *outer = half;
    stage = 1;
    auto inner = co_await b.lock();
    *inner = half;
    stage = 2;
    co_await yield_now();
    *inner = whole;
    inner.unlock();
    stage = 3;
    co_await yield_now();
    *outer = whole;
    outer.unlock();
    stage = 4;
    co_await yield_now();
}

task<> s28(sim::world& world, sightings& seen) {
    lock a;
    lock b;
    int stage = 0;
    visitors others;
    visit of_b;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(nests(a, b, stage), on(0, "victim"));
        others.come(scope, a);
        scope.spawn(visits(b, of_b), on(1, "visitor")).detach();
        co_await some_turns(world, 4);
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled() || stage == 4, "a task went on after its cancellation");
    };
    co_await with_scope(body);
    expect_end(a, stage >= 1 && stage <= 3, stage == 0 ? before : stage == 4 ? whole : half);
    expect_end(b, stage == 2, stage < 2 ? before : stage == 2 ? half : whole);
    const char* const stages[] = {"outside", "in the outer", "in both", "out of the inner",
                                  "out of both"};
    seen.note(stages[stage]);
    others.check(a, seen);
    expect_told(b, of_b);
}

task<> times_out(lock& m, lock& childs, event& until, bool throwing, bool& timed_out) {
    auto held = co_await m.lock();
    *held = half;
    if (throwing) {
        try {
            co_await with_timeout(1ms, waits_inside(childs, until));
        } catch (const timeout_error&) {
            timed_out = true;
        }
    } else {
        auto end = co_await try_with_timeout(1ms, waits_inside(childs, until));
        timed_out = end.is_cancelled();
    }
    *held = whole;
}

task<> opens_after(event& until, std::chrono::nanoseconds when) {
    co_await sleep_for(when);
    until.set();
}

task<> s29(sim::world& world, sightings& seen) {
    lock m;
    lock childs;
    event until;
    visitors others;
    visit of_childs;
    bool timed_out = false;
    const bool throwing = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(times_out(m, childs, until, throwing, timed_out), on(0, "parent")).detach();
        others.come(scope, m);
        scope.spawn(visits(childs, of_childs), on(1, "visitor")).detach();
        const auto when = 1ms - 1us * pick(world, 2);
        scope.spawn(opens_after(until, when), on(2, "opener")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect_end(m, false, whole);
    const int value = childs.get_mut(sync::ignore_poison);
    expect_end(childs, value == half, value);
    expect(timed_out == (value != whole), "the child's end and its data contradict");
    if (value == half) {
        expect_cancelled(childs.cause(), cancel_reason::timeout, "parent");
    }
    seen.note(timed_out ? "the time was up" : "in time");
    others.check(m, seen);
    expect_told(childs, of_childs);
}

} // namespace

TEST_CASE("S26: a loser that holds a guard has poisoned before when_any resumes its caller "
          "(explored)") {
    explored(schedules(3), s26, {"the section won", "the loser was inside"});
}
TEST_CASE("S27: the siblings of a child that throws poison what they hold (explored)") {
    explored(schedules(3), s27, {"a sibling was inside", "a sibling was done"});
}
TEST_CASE("S27: a lock that a cancelled when_all had been granted goes on, clean (explored)") {
    explored(schedules(4), s27_granted, {"entered", "cancelled"});
}
TEST_CASE("S28: of nested sections those poison that are open (explored)") {
    explored(schedules(3), s28,
             {"outside", "in the outer", "in both", "out of the inner", "out of both"});
}
TEST_CASE("S29: a child's own time limit does not poison the parent's lock (explored)") {
    explored(schedules(3), s29, {"the time was up", "in time"});
}

} // namespace toadstone::tests
