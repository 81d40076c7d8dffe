// Inside a section under exploration: how it ends, and what those find who come next, in every
// order (section B of the scenarios, S14 to S25).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using sync::on_cancel;
using lock = mutex<int>;

struct lines {
    unsigned lock = 0;
    unsigned await = 0;
};

task<> operates(lock& m, event& op, lines& at) {
    at.lock = line_here() + 1;
    auto held = co_await m.lock();
    *held = half;
    at.await = line_here() + 1;
    co_await op.wait();
    *held = whole;
}

task<> s14(sim::world& world, sightings& seen) {
    lock m;
    lines at;
    event op;
    op.in_kernel = true;
    visitors others;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(operates(m, op, at), on(0, "victim"));
        others.come(scope, m);
        co_await some_turns(world, 3);
        victim.cancel(cancel_reason::timeout);
        co_await some_turns(world, 2);
        expect(!op.waited_for() || !m.is_poisoned(), "frames went before the operation ended");
        expect(!op.waited_for() || !victim.done(), "frames went before the operation ended");
        op.set();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled() && end.reason() == cancel_reason::timeout,
               "a cancelled section ended otherwise");
    };
    co_await with_scope(body);
    const bool inside = at.await != 0;
    expect_end(m, inside, inside ? half : before);
    if (inside) {
        const poison_cause cause = m.cause();
        expect_cancelled(cause, cancel_reason::timeout, "victim");
        expect(cause.locked_at().line() == at.lock, "the cause has another line of lock()");
        expect(cause.interrupted_at().line() == at.await, "the cause has another co_await");
    }
    seen.note(inside ? "inside" : "before the section");
    others.check(m, seen);
}

enum class ending { escapes, caught_inside, caught_outside, returns_early, says_so };

task<int> section_body(lock& m, ending how) {
    auto held = co_await m.lock();
    *held = half;
    co_await yield_now();
    if (how == ending::caught_inside) {
        try {
            throw boom();
        } catch (const boom&) {
            *held = whole;
        }
        co_await yield_now();
        co_return 0;
    }
    if (how == ending::returns_early) {
        *held = whole;
        co_return -1; // an error as a value
    }
    if (how == ending::says_so) {
        held.poison("the index is wrong");
        co_return 0;
    }
    throw boom();
}

task<> section(lock& m, ending how) {
    if (how != ending::caught_outside) {
        co_await section_body(m, how);
        co_return;
    }
    try {
        co_await section_body(m, how);
    } catch (...) {
        // Swallowed: nothing of it is known out here.
    }
    co_await yield_now();
}

task<> ends_by(sightings& seen, ending how) {
    lock m;
    visitors others;
    bool failed = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto holder = scope.spawn(as_outcome(section(m, how)), on(0, "holder"));
        others.come(scope, m);
        auto end = co_await holder;
        failed = end.has_exception();
        expect(!end.is_cancelled(), "nobody was cancelled");
    };
    co_await with_scope(body);
    const bool clean = how == ending::caught_inside || how == ending::returns_early;
    expect(failed == (how == ending::escapes), "an exception went another way");
    expect_end(m, !clean, clean ? whole : half);
    if (how == ending::says_so) {
        expect(m.cause().kind() == poison_kind::declared, "the cause is of another kind");
        expect(m.cause().why() == "the index is wrong", "the cause has another reason");
    } else if (!clean) {
        expect_boom(m.cause(), "holder");
    }
    others.check(m, seen);
}
task<> s15(sim::world&, sightings& seen) {
    return ends_by(seen, ending::escapes);
}
task<> s16(sim::world&, sightings& seen) {
    return ends_by(seen, ending::caught_inside);
}
task<> s17(sim::world&, sightings& seen) {
    return ends_by(seen, ending::caught_outside);
}
task<> s18_early(sim::world&, sightings& seen) {
    return ends_by(seen, ending::returns_early);
}
task<> s18_says(sim::world&, sightings& seen) {
    return ends_by(seen, ending::says_so);
}

task<> unlocks_early(lock& m, event& never, int how) {
    auto held = co_await m.lock();
    *held = half;
    co_await shield(yield_now());
    *held = whole;
    if (how == 0) {
        held.unlock();
        co_await never.wait();
    } else {
        auto mine = std::move(held); // dies in a teardown below, empty by then
        mine.unlock();
        co_await never.wait();
    }
}

task<> assigns_over(lock& a, lock& b, event& never) {
    auto first = co_await a.lock();
    *first = half;
    co_await shield(yield_now());
    *first = whole;
    auto second = co_await shield(b.lock());
    first = std::move(second); // a is released by the rule, and in normal control flow
    *first = half;
    co_await never.wait();
}

task<> s19(sim::world& world, sightings& seen) {
    lock a;
    lock b;
    event never;
    visitors others;
    const int how = static_cast<int>(pick(world, 3));
    const auto body = [&](task_scope& scope) -> task<> {
        auto work = how == 2 ? assigns_over(a, b, never) : unlocks_early(a, never, how);
        auto victim = scope.spawn(std::move(work), on(0, "victim"));
        others.come(scope, a);
        co_await some_turns(world, 3);
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled(), "a task went on after its cancellation");
    };
    co_await with_scope(body);
    const int value = a.get_mut(sync::ignore_poison);
    expect(value != half, "a section that was shielded was left half-way");
    expect_end(a, false, value);
    const bool in_b = b.get_mut(sync::ignore_poison) == half;
    expect_end(b, in_b, in_b ? half : before);
    seen.note(value == before ? "cancelled before" : "cancelled after unlock()");
    if (in_b) seen.note("the guard that was assigned over has poisoned its own");
    others.check(a, seen);
}

task<> delivered(lock& m, event& op, bool stays_inside, bool& reached) {
    {
        auto held = co_await m.lock();
        *held = half;
        co_await op.wait(); // its result is delivered
        *held = whole;
        if (stays_inside) co_await yield_now();
    }
    co_await yield_now();
    reached = true;
}

task<> s20(sim::world& world, sightings& seen) {
    lock m;
    event op;
    op.in_kernel = true;
    op.delivers = true;
    visitors others;
    bool reached = false;
    bool waited = false;
    const bool stays_inside = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(delivered(m, op, stays_inside, reached), on(0, "victim"));
        others.come(scope, m);
        co_await some_turns(world, 3);
        waited = op.waited_for();
        victim.cancel();
        co_await some_turns(world, 2);
        op.set();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled(), "the next cancellation point did not take the request");
    };
    co_await with_scope(body);
    expect(!reached, "a cancellation point let a cancelled task pass");
    expect_end(m, waited && stays_inside, waited ? whole : before);
    if (waited) seen.note(stays_inside ? "taken inside" : "taken outside");
    others.check(m, seen);
}

task<> s21(sim::world& world, sightings& seen) {
    lock m;
    lines at;
    event op;
    op.in_kernel = true;
    op.delivers = true;
    op.error = EIO;
    visitors others;
    const auto body = [&](task_scope& scope) -> task<> {
        // Not the scope's: it would rethrow the failure. Not in as_outcome(): the inside of a
        // boundary hears of a request a turn later.
        auto victim = spawn(operates(m, op, at), on(0, "victim"));
        others.come(scope, m);
        co_await some_turns(world, 3);
        const bool cancels = pick(world, 2) == 0;
        const bool waited = op.waited_for();
        if (cancels) victim.cancel();
        co_await some_turns(world, 1);
        op.set();
        auto end = co_await victim.outcome();
        if (!cancels || waited) {
            // The failure counts; the request, if there was one, is not raised as well before
            // the task has ended.
            expect(m.is_poisoned(), "a failed section has not poisoned");
            expect(m.cause().kind() == poison_kind::exception, "the cause is of another kind");
            expect(m.cause().cancel_pending() == cancels, "the cause misses the request");
            bool is_eio = false;
            try {
                std::rethrow_exception(m.cause().exception());
            } catch (const std::system_error& error) {
                is_eio = error.code().value() == EIO;
            }
            expect(is_eio, "the cause has another exception");
            seen.note(cancels ? "with a request" : "without");
        } else {
            expect(end.is_cancelled(), "a request was lost");
        }
    };
    co_await with_scope(body);
    expect_end(m, at.await != 0, at.await != 0 ? half : before);
    others.check(m, seen);
}

task<> half_to_whole(lock& m) {
    auto held = co_await m.lock();
    *held = half;
    co_await yield_now();
    co_await yield_now();
    *held = whole;
}

task<> defers(lock& m, unsigned way, event& go, bool& reached) {
    if (way == 0) {
        auto held = co_await m.lock(on_cancel::defer);
        *held = half;
        co_await yield_now();
        co_await go.wait(); // could be withdrawn at once, and must not be
        *held = whole;
    } else {
        co_await shield(half_to_whole(m));
    }
    co_await yield_now();
    reached = true;
}

task<> s22(sim::world& world, sightings& seen) {
    lock m;
    visitors others;
    bool reached = false;
    event go;
    const unsigned way = pick(world, 2);
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(defers(m, way, go, reached), on(0, "victim"));
        others.come(scope, m);
        co_await some_turns(world, 4);
        victim.cancel();
        const bool inside = m.get_mut(sync::ignore_poison) == half;
        co_await some_turns(world, 1);
        go.set();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled() != reached, "its end contradicts how far it came");
        if (inside) {
            expect(end.is_cancelled(), "the request was not taken after the section");
            seen.note(way == 0 ? "inside a deferring section" : "inside a shield");
        }
    };
    co_await with_scope(body);
    const int value = m.get_mut(sync::ignore_poison);
    expect(value != half, "a deferred section was left half-way");
    expect_end(m, false, value);
    others.check(m, seen);
}

/// Holds what defers the parent's cancellation.
task<> ends_deferral(sync::guard<int> held, const bool& parent_gone) {
    *held = half;
    co_await yield_now();
    co_await yield_now();
    expect(!parent_gone, "a deferring guard has not deferred");
    *held = whole;
}

task<> gives_deferral(lock& m, task_scope& scope, event& given, event& never, int to,
                      bool& gone) {
    const scope_exit tells([&gone] { gone = true; });
    auto held = co_await m.lock(on_cancel::defer);
    scope.spawn(ends_deferral(std::move(held), gone), on(to, "child")).detach();
    given.set();
    co_await never.wait();
}

task<> s22_given_away(sim::world& world, sightings& seen) {
    lock m;
    event given;
    event never;
    bool gone = false;
    visit other;
    const int to = static_cast<int>(pick(world, 2));
    const auto body = [&](task_scope& scope) -> task<> {
        auto parent =
            scope.spawn(gives_deferral(m, scope, given, never, to, gone), on(0, "parent"));
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        co_await given.wait();
        co_await some_turns(world, 3);
        seen.note(m.get_mut(sync::ignore_poison) == whole ? "afterwards" : "while deferred");
        parent.cancel();
        auto end = co_await parent.outcome(); // for ever, if nobody hears the guard's end
        expect(end.is_cancelled(), "a request was lost");
    };
    co_await with_scope(body);
    expect_end(m, false, whole);
    expect(other.entered, "a visitor was not served");
}

task<> rolls_back(lock& m, event& never, bool& caught) {
    auto held = co_await m.lock();
    const int old = *held;
    *held = half;
    try {
        co_await never.wait();
    } catch (...) {
        caught = true;
        *held = old;
    }
}

task<> s23(sim::world& world, sightings& seen) {
    lock m;
    event never;
    visitors others;
    bool caught = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(rolls_back(m, never, caught), on(0, "victim"));
        others.come(scope, m);
        co_await some_turns(world, 3);
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled(), "a task went on after its cancellation");
    };
    co_await with_scope(body);
    expect(!caught, "a cancellation was caught as an exception");
    const bool inside = m.get_mut(sync::ignore_poison) == half;
    expect_end(m, inside, inside ? half : before);
    others.check(m, seen);
}

struct actions {
    int exits = 0;
    int successes = 0;
    int failures = 0;
};

task<> acts(lock& m, actions& done, bool throws) {
    auto held = co_await m.lock();
    const scope_exit exits([&done] { ++done.exits; });
    const scope_success succeeds([&done] { ++done.successes; });
    const scope_fail fails([&done] { ++done.failures; });
    *held = half;
    co_await yield_now();
    if (throws) throw boom();
    *held = whole;
}

task<> s24(sim::world& world, sightings& seen) {
    lock m;
    visitors others;
    actions done;
    const bool throws = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(as_outcome(acts(m, done, throws)), on(0, "victim"));
        others.come(scope, m);
        co_await some_turns(world, 3);
        victim.cancel();
        auto end = co_await victim.outcome();
        const bool well = end.has_value() && end.value().has_value();
        const bool entered = done.exits == 1;
        expect(entered || end.is_cancelled(), "an action did not run");
        expect(done.successes == (well ? 1 : 0), "scope_success took a failure for a success");
        expect(done.failures == (entered && !well ? 1 : 0), "scope_fail missed a failure");
        if (well) seen.note("well");
        if (entered && end.is_cancelled()) seen.note("cancelled");
        if (end.has_value() && end.value().has_exception()) seen.note("failed");
    };
    co_await with_scope(body);
    expect_end(m, done.failures == 1, done.exits == 0 ? before : done.failures ? half : whole);
    others.check(m, seen);
}

task<> innermost(event& never) noexcept {
    co_await never.wait();
}
task<> middle(lock& m, event& never) noexcept {
    auto held = co_await m.lock();
    *held = half;
    co_await innermost(never);
}
task<> outermost(lock& m, event& never) noexcept {
    co_await middle(m, never);
}

task<> s25(sim::world& world, sightings& seen) {
    lock m;
    event never;
    visitors others;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(outermost(m, never), on(0, "victim"));
        others.come(scope, m);
        co_await some_turns(world, 3);
        const bool inside = never.waited_for();
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled(), "a task went on after its cancellation");
        if (inside) seen.note("through noexcept frames");
    };
    co_await with_scope(body);
    const bool inside = m.get_mut(sync::ignore_poison) == half;
    expect_end(m, inside, inside ? half : before);
    others.check(m, seen);
}

} // namespace

TEST_CASE("S14: a cancellation inside ends the operation first, then poisons with the whole "
          "cause (explored)") {
    explored(schedules(3), s14,
             {"inside", "before the section", "a visitor was told", "a visitor was first"});
}
TEST_CASE("S15: an exception that leaves the section poisons (explored)") {
    explored(schedules(4), s15, {"a visitor was told", "a visitor was first"});
}
TEST_CASE("S16: an exception that is caught inside does not poison (explored)") {
    explored(schedules(4), s16, {"a visitor came later", "a visitor was first"});
}
TEST_CASE("S17: an exception that is swallowed outside the guard's scope poisons (explored)") {
    explored(schedules(4), s17, {"a visitor was told", "a visitor was first"});
}
TEST_CASE("S18: an early return does not poison (explored)") {
    explored(schedules(4), s18_early, {"a visitor came later", "a visitor was first"});
}
TEST_CASE("S18: a guard that declares the data broken poisons (explored)") {
    explored(schedules(4), s18_says, {"a visitor was told", "a visitor was first"});
}
TEST_CASE("S19: what was unlocked, moved from or assigned over is judged by its own rule "
          "(explored)") {
    explored(schedules(3), s19,
             {"cancelled before", "cancelled after unlock()",
              "the guard that was assigned over has poisoned its own"});
}
TEST_CASE("S20: a result that came in spite of a request is delivered, and the next await "
          "takes the request (explored)") {
    explored(schedules(3), s20, {"taken inside", "taken outside", "a visitor was told"});
}
TEST_CASE("S21: a failure while a request is pending counts as the failure (explored)") {
    explored(schedules(3), s21, {"with a request", "without", "a visitor was told"});
}
TEST_CASE("S22: a shielded or deferring section comes to its end, and the request is taken "
          "right after (explored)") {
    explored(schedules(3), s22, {"inside a deferring section", "inside a shield"});
}
TEST_CASE("S22: a request that a given-away guard defers is taken when that guard ends "
          "(explored)") {
    explored(schedules(4), s22_given_away, {"while deferred", "afterwards"});
}
TEST_CASE("S23: catch (...) in the section does not see a cancellation (explored)") {
    explored(schedules(3), s23, {"a visitor was told", "a visitor was first"});
}
TEST_CASE("S24: scope_success and scope_fail take a cancellation for a failure (explored)") {
    explored(schedules(3), s24, {"well", "cancelled", "failed"});
}
TEST_CASE("S25: a cancellation passes noexcept frames (explored)") {
    explored(schedules(3), s25, {"through noexcept frames", "a visitor was told"});
}
} // namespace toadstone::tests
