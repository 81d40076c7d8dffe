// Requests, races and the field's promises under exploration (sections D and E of the
// scenarios, what is not about input and output).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;
using sync::on_cancel;
using sync::on_exception;
using lock = mutex<int>;

/// Told when a frame of the victim is destroyed, or its body goes on.
struct life {
    bool gone = false;
    bool went_on = false;
};

task<> is_cancelled_inside(lock& m, event& inside, event& never, life& end) {
    const scope_exit tells([&end] { end.gone = true; });
    auto held = co_await m.lock();
    *held = half;
    inside.set();
    co_await never.wait();
    end.went_on = true;
}

/// Cancels while it holds a lock of its own, and looks what happened by the time it returned.
task<> cancels_with_lock(lock& own, join_handle<void>& whom, event& inside, life& end) {
    co_await inside.wait();
    auto held = co_await own.lock();
    *held = half;
    const bool gone = end.gone;
    whom.cancel(cancel_reason::timeout);
    expect(end.gone == gone && !end.went_on, "cancel() has resumed or destroyed somebody");
    *held = whole;
}

task<> waits_for_it(lock& own) {
    auto held = co_await own.lock(); // the victim's death must not need this lock
    co_await yield_now();
}

task<> s69(sim::world& world, sightings& seen) {
    lock m;
    lock own;
    event inside;
    event never;
    life end;
    visit other;
    join_handle<void> victim;
    const int where = static_cast<int>(pick(world, 2));
    const auto body = [&](task_scope& scope) -> task<> {
        victim = scope.spawn(is_cancelled_inside(m, inside, never, end), on(0, "victim"));
        auto first =
            scope.spawn(cancels_with_lock(own, victim, inside, end), on(where, "canceller"));
        auto second =
            scope.spawn(cancels_with_lock(own, victim, inside, end), on(2, "canceller"));
        scope.spawn(waits_for_it(own), on(1, "waiter")).detach();
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        auto gone = co_await victim.outcome();
        expect(gone.is_cancelled() && end.gone, "a request was lost");
        seen.note(where == 0 ? "from its worker" : "from another worker");
        co_await first;
        co_await second;
    };
    co_await with_scope(body);
    expect_end(m, true, half);
    expect_cancelled(m.cause(), cancel_reason::timeout, "victim");
    expect_end(own, false, whole);
    expect_told(m, other);
}

task<> cancels_itself(lock& m, join_handle<void>& self, bool inside, bool& passed,
                      bool& reached) {
    {
        auto held = co_await m.lock();
        *held = half;
        self.cancel(cancel_reason::shutdown);
        self.cancel(cancel_reason::timeout);
        passed = true; // not in the middle of nowhere
        if (inside) co_await yield_now();
        *held = whole;
    }
    co_await yield_now();
    reached = true;
}

task<> s71_itself(sim::world& world, sightings& seen) {
    lock m;
    visit other;
    bool passed = false;
    bool reached = false;
    const bool inside = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        join_handle<void> self;
        self = scope.spawn(cancels_itself(m, self, inside, passed, reached), on(1, "victim"));
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        auto end = co_await self.outcome();
        expect(end.is_cancelled(), "the next cancellation point did not take the request");
        expect(end.reason() == cancel_reason::shutdown, "the first reason does not count");
        self.cancel(); // it has ended: nothing happens
        co_await yield_now();
        expect(self.done(), "a task that has ended has begun again");
    };
    co_await with_scope(body);
    expect(passed && !reached, "a task stopped elsewhere than at a cancellation point");
    expect_end(m, inside, inside ? half : whole);
    expect_told(m, other);
    seen.note(inside ? "inside" : "outside");
}

task<> cancels_for(join_handle<void>& whom, cancel_reason reason, bool& called) {
    co_await yield_now();
    whom.cancel(reason);
    called = true;
}

task<> s71_twice(sim::world&, sightings& seen) {
    lock m;
    event inside;
    event never;
    life end;
    join_handle<void> victim;
    bool first = false;
    bool second = false;
    const auto body = [&](task_scope& scope) -> task<> {
        victim = scope.spawn(is_cancelled_inside(m, inside, never, end), on(0, "victim"));
        auto one =
            scope.spawn(cancels_for(victim, cancel_reason::timeout, first), on(1, "canceller"));
        auto two = scope.spawn(cancels_for(victim, cancel_reason::shutdown, second),
                               on(2, "canceller"));
        auto gone = co_await victim.outcome();
        expect(gone.is_cancelled(), "a request was lost");
        const auto reason = gone.reason();
        expect(reason == cancel_reason::timeout ? first : second, "a reason from nobody");
        if (first != second) {
            expect((reason == cancel_reason::timeout) == first, "the first does not count");
        }
        seen.note(reason == cancel_reason::timeout ? "the one" : "the other");
        if (m.is_poisoned()) expect(m.cause().reason() == reason, "the cause has another");
        co_await one; // before the handle that they use is gone
        co_await two;
    };
    co_await with_scope(body);
    expect(m.is_poisoned() == inside.is_set(), "a section was left and does not say so");
}

/// Two locks, one race: whoever of the branches loses keeps nothing and waits for nothing.
task<> races_for_both(lock& a, lock& b, sightings& seen) {
    auto first = co_await when_any(a.lock(), b.lock());
    const std::size_t won = first.index;
    auto held = std::move(first.value);
    expect(held.held(), "the winner's guard is empty");
    *held = half;
    co_await yield_now(); // the loser is driven to its end: the other lock can be had
    seen.note(won == 0 ? "the first" : "the second");
    auto other = co_await (won == 0 ? b : a).try_lock_for(1h);
    expect(other.has_value(), "the loser of a race still stands in a queue");
    *held = whole;
}

task<> passes_both(lock& a, lock& b) {
    co_await yield_now();
    {
        auto held = co_await a.lock();
        co_await yield_now();
    }
    auto held = co_await b.lock();
    co_await yield_now();
}

task<> s72(sim::world&, sightings& seen) {
    lock a;
    lock b;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(passes_both(a, b), on(1, "rival")).detach();
        scope.spawn(passes_both(b, a), on(2, "rival")).detach();
        scope.spawn(races_for_both(a, b, seen), on(0, "racer")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect_end(a, false, a.get_mut(sync::ignore_poison));
    expect_end(b, false, b.get_mut(sync::ignore_poison));
}

task<> fails_inside(lock& m) {
    try {
        auto held = co_await m.lock();
        *held = half;
        co_await yield_now();
        throw boom();
    } catch (const boom&) {
    }
}

task<> heals(lock& m, bool& healed) {
    co_await yield_now();
    auto found = co_await m.lock_or_poison();
    const bool poisoned = !found;
    auto held = found.into_guard();
    expect(poisoned == (*held == half), "the data and what is said of it contradict");
    co_await yield_now();
    expect(m.is_poisoned() == poisoned, "the flag is gone before it was cleared");
    if (!poisoned) co_return;
    *held = whole;
    held.clear_poison();
    healed = true;
}

task<> s73(sim::world&, sightings& seen) {
    lock m;
    visit other;
    bool healed = false;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(fails_inside(m), on(0, "holder")).detach();
        scope.spawn(heals(m, healed), on(1, "healer")).detach();
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect_end(m, !healed, healed ? whole : half);
    expect(other.entered != static_cast<bool>(other.told), "a visitor got no answer");
    if (other.entered && other.value == whole) seen.note("locked after it was healed");
    if (other.told) seen.note(healed ? "told, and healed later" : "told");
}

/// One task's own data: no lock, the same rule.
task<> has_access(toadstone::poison<int>& data, unsigned how, event& inside, event& never) {
    auto access = data.access();
    *access = half;
    inside.set();
    if (how == 0) co_await never.wait();
    co_await yield_now();
    if (how == 1) throw boom();
    if (how == 2) access.mark_consistent();
    co_await yield_now();
    *access = whole;
}

task<> s75(sim::world& world, sightings& seen) {
    toadstone::poison<int> data;
    event inside;
    event never;
    const unsigned how = pick(world, 4);
    const auto body = [&](task_scope& scope) -> task<> {
        auto owner =
            scope.spawn(as_outcome(has_access(data, how, inside, never)), on(1, "owner"));
        co_await some_turns(world, 4);
        owner.cancel();
        auto end = co_await owner.outcome();
        const int value = *data.access_anyway();
        const bool clean = value != half || (how == 2 && end.is_cancelled());
        bool told = false;
        try {
            auto access = data.access();
        } catch (const poison_error& error) {
            told = true;
            expect(error.cause() == data.cause(), "the error tells another cause");
        }
        expect(told == data.is_poisoned(), "access() and is_poisoned() contradict");
        expect(told || clean, "half-done data was handed out as healthy");
        expect(!told || value == half, "an access that was complete has poisoned");
        if (!told) co_return;
        if (data.cause().kind() == poison_kind::cancelled) {
            expect_cancelled(data.cause(), cancel_reason::requested, "owner");
            seen.note("cancelled");
        } else {
            expect_boom(data.cause(), "owner");
            seen.note("failed");
        }
    };
    co_await with_scope(body);
}

constinit mutex<int> static_mutex(0, "static");

task<> queues(line& in, int who) {
    in.arrives(who);
    auto held = co_await static_mutex.lock();
    const line::stay here(in, who);
    const int value = *held;
    co_await yield_now();
    *held = value + 1;
}

task<> overtakes(line& in) {
    for (int i = 0; i < 8; ++i) {
        const bool somebody_waits = in.arrived() > in.entered().size();
        auto held = static_mutex.try_lock();
        expect(!held || !somebody_waits, "try_lock() has overtaken the queue");
        if (held) held->unlock();
        co_await yield_now();
    }
}

task<> gives_up_in_time(sim::world& world, line& in) {
    co_await yield_now();
    const auto begun = world.now();
    in.excuse(1000);
    in.arrives(1000);
    auto held = co_await static_mutex.try_lock_for(1ms);
    if (held) {
        const line::stay here(in, 1000);
        co_return;
    }
    expect(world.now() - begun >= 1ms, "try_lock_for() has given up too early");
    expect(world.now() - begun <= 1ms + 10us, "try_lock_for() has given up too late");
}

task<> sleeps_inside(line& in) {
    in.arrives(0);
    auto held = co_await static_mutex.lock();
    const line::stay here(in, 0);
    co_await sleep_for(2ms);
}

task<> hundred_in_line(sim::world& world, sightings&) {
    line in;
    {
        auto found = co_await static_mutex.lock_or_poison(); // a failed run may have left it so
        found.guard().clear_poison();
        *found.guard() = 0;
    }
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(sleeps_inside(in), on(0, "holder")).detach();
        for (int who = 1; who <= 100; ++who) {
            scope.spawn(queues(in, who), on(who % 3, "waiter")).detach();
        }
        scope.spawn(overtakes(in), on(1, "overtaker")).detach();
        scope.spawn(gives_up_in_time(world, in), on(2, "impatient")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect_end(static_mutex, false, 100);
}

using counter = mutex<int, on_cancel::release, on_exception::release>;

task<> counts(counter& m, unsigned how, int& complete) {
    co_await yield_now();
    auto held = co_await m.lock();
    ++*held;
    ++complete;
    co_await yield_now();
    if (how == 1) throw boom();
    co_await yield_now();
}

task<> s77(sim::world& world, sightings& seen) {
    counter m;
    int complete = 0;
    const auto body = [&](task_scope& scope) -> task<> {
        auto first = scope.spawn(as_outcome(counts(m, 0, complete)), on(0, "cancelled"));
        auto second = scope.spawn(as_outcome(counts(m, 1, complete)), on(1, "failing"));
        scope.spawn(counts(m, 2, complete), on(2, "counter")).detach();
        co_await some_turns(world, 5);
        const bool inside = complete > 0;
        first.cancel();
        auto end = co_await first.outcome();
        auto other = co_await second;
        expect(other.has_exception(), "an exception was lost");
        if (end.is_cancelled() && inside) seen.note("cancelled inside");
    };
    co_await with_scope(body);
    expect_end(m, false, complete);
    expect(complete >= 2, "the others could not go on counting");
}

using operations = std::map<int, std::string>;

task<> advances(mutex<operations>& m, int id, unsigned& line) {
    auto held = co_await m.lock();
    auto node = held->extract(id);
    line = line_here() + 1;
    co_await yield_now();
    line = line_here() + 1;
    co_await yield_now();
    node.mapped() = "done";
    held->insert(std::move(node));
    line = 0;
}

task<> restores(mutex<operations>& m) {
    auto right = co_await m.recover();
    for (int id = 1; id <= 2; ++id) right->emplace(id, "queued");
    co_await yield_now();
    auto held = right.complete();
}

task<> s78(sim::world& world, sightings& seen) {
    mutex<operations> m(operations{{1, "queued"}, {2, "queued"}}, "operations");
    unsigned line = 0;
    unsigned unused = 0;
    bool other_done = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto mover = scope.spawn(advances(m, 2, line), on(0, "mover"));
        auto other = scope.spawn(as_outcome(advances(m, 1, unused)), on(1, "other"));
        co_await some_turns(world, 4);
        mover.cancel(cancel_reason::timeout);
        auto end = co_await mover.outcome();
        auto others = co_await other;
        other_done = others.has_value();
        auto& map = m.get_mut(sync::ignore_poison);
        const bool missing = map.count(2) == 0;
        expect(missing == (end.is_cancelled() && line != 0), "an entry is lost or is there");
        expect(m.is_poisoned() == missing, "an entry is missing and the lock is silent");
        expect(map.count(1) == 1, "an operation has lost another's entry");
        if (!missing) co_return;
        const poison_cause cause = m.cause();
        expect_cancelled(cause, cancel_reason::timeout, "mover");
        expect(cause.interrupted_at().line() == line, "the cause names another line");
        seen.note("missing");
        co_await restores(m);
    };
    co_await with_scope(body);
    const auto& map = m.get_mut();
    expect(map.size() == 2, "an entry is missing in the end");
    expect(other_done == (map.at(1) == "done"), "an operation and its entry contradict");
}

task<> reads_then_changes(lock& m, event& message, event& sync_done, int& stage) {
    auto held = co_await m.lock();
    held.mark_consistent();
    stage = 1;
    co_await message.wait(); // as long as a client likes
    held.mark_inconsistent();
    stage = 2;
    *held = half;
    co_await sync_done.wait();
    *held = whole;
    held.mark_consistent();
    stage = 3;
    co_await yield_now();
}

task<> s82(sim::world& world, sightings& seen) {
    lock m;
    event message;
    event sync_done;
    int stage = 0;
    visitors others;
    const auto body = [&](task_scope& scope) -> task<> {
        auto reader =
            scope.spawn(reads_then_changes(m, message, sync_done, stage), on(0, "reader"));
        others.come(scope, m);
        co_await some_turns(world, 3);
        const unsigned how_far = pick(world, 3);
        if (how_far > 0) message.set();
        co_await some_turns(world, 2);
        if (how_far > 1) sync_done.set();
        co_await some_turns(world, 2);
        reader.cancel();
        auto end = co_await reader.outcome();
        if (end.is_cancelled()) {
            const char* const stages[] = {"before", "reading", "changing", "done"};
            seen.note(stages[stage]);
        }
    };
    co_await with_scope(body);
    expect_end(m, stage == 2, stage == 3 ? whole : stage == 2 ? half : before);
    others.check(m, seen);
}

} // namespace

TEST_CASE("S69: cancel() with locks held, from any worker, flags and posts, no more "
          "(explored)") {
    explored(schedules(3), s69, {"from its worker", "from another worker"});
}
TEST_CASE("S71: a task that cancels itself goes on to the next cancellation point "
          "(explored)") {
    explored(schedules(every), s71_itself, {"inside", "outside"});
}
TEST_CASE("S71: of two requests the first reason counts (explored)") {
    explored(schedules(4), s71_twice, {"the one", "the other"});
}
TEST_CASE("S72: a loser that stands in a lock's queue is out of it before when_any returns "
          "(explored)") {
    explored(schedules(4), s72, {"the first", "the second"});
}
TEST_CASE("S73: as with std::sync::Mutex: the flag stays until clear_poison() on a held guard "
          "(explored)") {
    explored(schedules(4), s73, {"locked after it was healed", "told, and healed later"});
}
TEST_CASE("S75: an interrupted access to a task's own data poisons (explored)") {
    explored(schedules(3), s75, {"cancelled", "failed"});
}
TEST_CASE("S76: a hundred waiters of a static mutex are served in order, and nobody overtakes "
          "(explored)") {
    auto options = schedules(1);
    options.exhaustive_bound = 0; // a thousand places for one departure
    explored(options, hundred_in_line);
}
TEST_CASE("S77: with the policy release a counter stays usable (explored)") {
    explored(schedules(3), s77, {"cancelled inside"});
}
TEST_CASE("S78: an operation lost between its removal and its return is told with the line, "
          "and restored (explored)") {
    explored(schedules(4), s78, {"missing"});
}
TEST_CASE("S82: between mark_consistent() and mark_inconsistent() an interruption is harmless "
          "(explored)") {
    explored(schedules(3), s82, {"before", "reading", "changing", "done"});
}

} // namespace toadstone::tests
