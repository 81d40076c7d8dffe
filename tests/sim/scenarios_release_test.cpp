// What a release may do, under exploration: hand over, but run nobody, suspend nowhere, and let
// nobody see half-done data without the poison (section B of the scenarios, S37 to S49).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/probe.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using sync::on_cancel;
using lock = mutex<int>;

/// Hands a lock over in a teardown or an unwinding, and looks whether the next owner ran in it.
task<> hands_over(lock& m, line& queue, event& inside, event& go, bool throws) {
    auto nobody_yet = [&queue] {
        expect(!queue.has_entered(1), "the next owner ran inside somebody's unwinding");
    };
    bool ran_inside = false;
    auto look = [&] { ran_inside = queue.has_entered(1); };
    try {
        queue.arrives(0);
        const at_end<decltype(look)> last(look);
        auto held = co_await m.lock(on_cancel::release);
        held.mark_consistent();
        const line::stay here(queue, 0);
        inside.set();
        co_await go.wait();
        if (throws) throw boom();
    } catch (const boom&) {
        expect(!ran_inside, "the next owner ran inside somebody's unwinding");
    }
    nobody_yet();
}

task<> looks_at_level(lock& m, line& queue, bool& poisons) {
    queue.arrives(1);
    try {
        auto held = co_await m.lock();
        const line::stay here(queue, 1);
        expect(std::uncaught_exceptions() == 0, "resumed while an exception is in flight");
        expect(detail::level() == 0, "resumed above level 0");
        throw boom();
    } catch (const boom&) {
        poisons = true;
    }
}

task<> s37(sim::world& world, sightings& seen) {
    lock m;
    line queue(2);
    event inside;
    event go;
    bool poisons = false;
    const bool throws = pick(world, 2) == 1;
    const int worker = static_cast<int>(pick(world, 2));
    const auto body = [&](task_scope& scope) -> task<> {
        auto holder = scope.spawn(hands_over(m, queue, inside, go, throws), on(0, "holder"));
        co_await inside.wait();
        scope.spawn(looks_at_level(m, queue, poisons), on(worker, "next")).detach();
        if (pick(world, 2) == 0) co_await queue.everybody.wait();
        if (throws) {
            go.set();
        } else {
            holder.cancel();
        }
        auto end = co_await holder.outcome();
        if (end.is_cancelled()) seen.note("in a teardown");
        if (end.has_value()) seen.note("in an unwinding");
    };
    co_await with_scope(body);
    expect(poisons, "the next owner was not served");
    expect(m.is_poisoned(), "a later exception was not seen");
}

task<> locks_with_parameter(lock& m, [[maybe_unused]] traced parameter) {
    auto held = co_await m.lock();
    *held = half;
}

task<> s40(sim::world& world, sightings& seen) {
    lock m;
    event_log log;
    visit other;
    const unsigned how = pick(world, 3);
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        co_await some_turns(world, 1);
        if (how == 0) {
            auto dropped = locks_with_parameter(m, traced(log, "parameter"));
        } else {
            auto victim = scope.spawn(locks_with_parameter(m, traced(log, "parameter")),
                                      on(how == 1 ? 0 : 1, "victim"));
            victim.cancel();
            auto end = co_await victim.outcome();
            expect(end.is_cancelled(), "it has started although it was cancelled before");
        }
    };
    co_await with_scope(body);
    expect(log == event_log{how == 0 ? "parameter" : "parameter!"},
           "a parameter was not destroyed exactly once");
    expect_end(m, false, before);
    expect(other.entered, "a visitor was not served");
    seen.note(how == 0 ? "never spawned" : "never run");
}

/// The strict form, as a coroutine, as a plain function, and blocking.
template <class Mutex>
task<> locks_strictly(Mutex& m, unsigned form, bool throws) {
    const auto waits = [throws](int& value) -> task<> {
        value = half;
        co_await yield_now();
        if (throws) throw boom();
        co_await yield_now();
        value = whole;
    };
    const auto plain = [throws](int& value) {
        value = half;
        if (throws) throw boom();
        value = whole;
    };
    if (form == 0) co_await m.with_lock(waits);
    if (form == 1) co_await m.with_lock(plain);
    if (form == 2) {
        bool would_block = false;
        try {
            m.blocking_with_lock(plain); // a worker may, if it need not wait
        } catch (const std::logic_error&) {
            would_block = true;
        }
        if (would_block) co_await m.with_lock(plain);
    }
}

template <class Mutex>
task<> s42(sim::world& world, sightings& seen) {
    Mutex m;
    visit first;
    visit second;
    const unsigned form = pick(world, 3);
    const bool throws = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto holder = scope.spawn(as_outcome(locks_strictly(m, form, throws)), on(0, "strict"));
        scope.spawn(visits(m, first), on(1, "visitor")).detach();
        scope.spawn(visits(m, second), on(2, "visitor")).detach();
        co_await some_turns(world, 3);
        holder.cancel();
        auto end = co_await holder.outcome();
        const int value = m.get_mut(sync::ignore_poison);
        if (end.is_cancelled()) expect(value != whole, "a function returned and is not heard");
        if (value == half) seen.note(end.is_cancelled() ? "cancelled" : "failed");
        if (value == whole) seen.note("returned");
    };
    co_await with_scope(body);
    const int value = m.get_mut(sync::ignore_poison);
    expect_end(m, value == half, value);
    expect_told(m, first);
    expect_told(m, second);
}

/// Every kind of owner in turn; whoever enters half-done data must have been told.
task<> owns(lock& m, unsigned kind, unsigned how) {
    co_await yield_now();
    try {
        if (kind == 0) {
            auto held = co_await m.lock();
            expect(*held != half, "half-done data was handed over as healthy");
            *held = half;
            co_await yield_now();
            if (how == 1) throw boom();
            *held = whole;
        } else if (kind == 1) {
            auto found = co_await m.lock_or_poison();
            expect(static_cast<bool>(found) == (*found.guard() != half),
                   "the data and what is said of it contradict");
            co_await yield_now();
        } else {
            auto held = co_await m.try_lock_for(std::chrono::hours(1));
            expect(held.has_value(), "an hour was not enough");
            expect(**held != half, "half-done data was handed over as healthy");
            co_await yield_now();
        }
    } catch (const boom&) {
    } catch (const poison_error& error) {
        expect(static_cast<bool>(error.cause()), "a poison without a cause");
    }
}

task<> s48(sim::world& world, sightings& seen) {
    lock m;
    const unsigned how = pick(world, 3);
    const auto body = [&](task_scope& scope) -> task<> {
        auto first = scope.spawn(owns(m, 0, how), on(0, "owner"));
        scope.spawn(owns(m, 1, 0), on(1, "looker")).detach();
        scope.spawn(owns(m, 2, 0), on(2, "timed")).detach();
        scope.spawn(owns(m, 0, pick(world, 2)), on(1, "owner")).detach();
        scope.spawn(owns(m, 1, 0), on(2, "looker")).detach();
        co_await some_turns(world, 2);
        if (how == 2) first.cancel();
        auto end = co_await first.outcome();
        if (end.is_cancelled()) seen.note("cancelled");
    };
    co_await with_scope(body);
    const int value = m.get_mut(sync::ignore_poison);
    expect_end(m, value == half, value);
    seen.note(value == half ? "poisoned" : "healthy");
}

/// Counts the slices of everybody, so that a suspension is seen by those who should have none.
task<> counts(unsigned& slices) {
    for (int i = 0; i < 4; ++i) {
        ++slices;
        co_await yield_now();
    }
}

task<> only_releases(lock& m, event& inside, event& asked, const unsigned& slices, unsigned how,
                     bool& went_on) {
    auto held = co_await m.lock();
    *held = half;
    inside.set();
    co_await shield(asked.wait()); // the request is pending from here on
    const unsigned slices_before = slices;
    *held = whole;
    if (how == 0) held.unlock();
    if (how == 1) {
        auto mine = std::move(held);
    }
    if (how == 2) held.poison("on purpose");
    if (how == 3) auto part = held.map([](int& value) -> int& { return value; });
    went_on = slices == slices_before;
    if (how == 2) held.clear_poison();
    if (held) held.unlock();
    co_await yield_now();
    went_on = false; // not reached
}

task<> s49(sim::world& world, sightings& seen) {
    lock m;
    event inside;
    event asked;
    unsigned slices = 0;
    bool went_on = false;
    visit other;
    const unsigned how = pick(world, 4);
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim =
            scope.spawn(only_releases(m, inside, asked, slices, how, went_on), on(0, "victim"));
        scope.spawn(counts(slices), on(0, "counter")).detach();
        scope.spawn(counts(slices), on(1, "counter")).detach();
        co_await inside.wait();
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        co_await some_turns(world, 2);
        victim.cancel();
        asked.set();
        auto end = co_await victim.outcome();
        expect(end.is_cancelled(), "the next cancellation point did not take the request");
    };
    co_await with_scope(body);
    expect(went_on, "a release has suspended, or was a cancellation point");
    expect_end(m, false, whole);
    seen.note(other.entered ? "the next one entered" : "the next one was told");
}

} // namespace

TEST_CASE("S37: a release during unwinding posts the next owner, and does not run it "
          "(explored)") {
    explored(schedules(4), s37, {"in a teardown", "in an unwinding"});
}
TEST_CASE("S40: a task that never started locks nothing and destroys its parameters once "
          "(explored)") {
    explored(schedules(4), s40, {"never spawned", "never run"});
}
TEST_CASE("S42: with_lock poisons unless its function returned, whatever the policy says "
          "(explored)") {
    using spared = mutex<int, on_cancel::release, sync::on_exception::release>;
    explored(schedules(3), s42<lock>, {"cancelled", "failed", "returned"});
    explored(schedules(3), s42<spared>, {"cancelled", "failed", "returned"});
}
TEST_CASE("S48: no next owner sees half-done data without the poison (explored)") {
    explored(schedules(3), s48, {"cancelled", "poisoned", "healthy"});
}
TEST_CASE("S49: unlock and its like never suspend, and no request is taken there (explored)") {
    explored(schedules(3), s49, {"the next one entered", "the next one was told"});
}

} // namespace toadstone::tests
