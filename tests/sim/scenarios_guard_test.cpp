// Guards under exploration that end elsewhere than they began: in children, on other workers,
// in destructors; and what a release may do (section B of the scenarios, S30 to S49).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/probe.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using sync::mutex;
using sync::on_cancel;
using lock = mutex<int>;
using int_guard = sync::guard<int>;

/// Runs a function at its end, whatever ended it.
template <class Fn>
class at_end {
public:
    explicit at_end(Fn& fn) : fn_(fn) {}
    at_end(const at_end&) = delete;
    at_end& operator=(const at_end&) = delete;
    ~at_end() { fn_(); }

private:
    Fn& fn_;
};

/// Goes on with a section that somebody else began; the guard is a parameter or a local.
task<> goes_on_in_parameter(int_guard held) {
    *held = half;
    co_await yield_now();
    co_await yield_now();
    *held = whole;
}
task<> goes_on_in_local(int_guard given) {
    const int_guard held = std::move(given);
    *held = half;
    co_await yield_now();
    co_await yield_now();
    *held = whole;
}

struct family {
    lock m;
    event given;
    event never;
    join_handle<void> child;
};

task<> gives_away(family& in, task_scope& scope, bool in_parameter, int to) {
    auto held = co_await in.m.lock();
    in.child = in_parameter
                   ? scope.spawn(goes_on_in_parameter(std::move(held)), on(to, "child"))
                   : scope.spawn(goes_on_in_local(std::move(held)), on(to, "child"));
    in.given.set();
    co_await in.never.wait();
}

task<> s30(sim::world& world, sightings& seen) {
    family in;
    visit other;
    const bool in_parameter = pick(world, 2) == 0;
    const int to = static_cast<int>(pick(world, 2));
    const auto body = [&](task_scope& scope) -> task<> {
        auto parent = scope.spawn(gives_away(in, scope, in_parameter, to), on(0, "parent"));
        co_await in.given.wait();
        scope.spawn(visits(in.m, other), on(2, "visitor")).detach();
        co_await some_turns(world, 3);
        if (pick(world, 2) == 0) {
            in.child.cancel(cancel_reason::timeout);
            co_await some_turns(world, 1);
            parent.cancel();
        } else {
            parent.cancel(); // it holds nothing any more
            auto end = co_await in.child.outcome();
            expect(end.has_value(), "the end of a parent has ended what it gave away");
        }
    };
    co_await with_scope(body);
    const int value = in.m.get_mut(sync::ignore_poison);
    const bool cancelled = value != whole;
    expect_end(in.m, cancelled, value);
    if (cancelled) {
        expect_cancelled(in.m.cause(), cancel_reason::timeout, "child");
        expect(in.m.cause().attempts() == 0, "one child has poisoned twice");
    }
    seen.note(cancelled ? "the child was cancelled" : "the child came to its end");
    expect_told(in.m, other);
    if (other.told) seen.note("a visitor was told");
}

enum class drop { normal, exception, cancellation };

task<> never_starts(lock& m, drop how, event& inside, event& never) {
    auto held = co_await m.lock();
    *held = how == drop::normal ? whole : half;
    inside.set();
    auto not_started = goes_on_in_parameter(std::move(held));
    co_await shield(yield_now());
    if (how == drop::exception) throw boom();
    if (how == drop::cancellation) co_await never.wait();
}

task<> s31(sim::world& world, sightings& seen) {
    lock m;
    event inside;
    event never;
    visit first;
    visit second;
    const auto how = static_cast<drop>(pick(world, 3));
    const auto body = [&](task_scope& scope) -> task<> {
        auto holder =
            scope.spawn(as_outcome(never_starts(m, how, inside, never)), on(0, "holder"));
        scope.spawn(visits(m, first), on(1, "visitor")).detach();
        scope.spawn(visits(m, second), on(2, "visitor")).detach();
        co_await inside.wait();
        if (how == drop::cancellation) holder.cancel();
        auto end = co_await holder.outcome();
        expect(end.is_cancelled() == (how == drop::cancellation), "the holder ended otherwise");
    };
    co_await with_scope(body);
    expect_end(m, how != drop::normal, how == drop::normal ? whole : half);
    if (how == drop::exception) expect_boom(m.cause(), "holder");
    if (how == drop::cancellation) {
        expect_cancelled(m.cause(), cancel_reason::requested, "holder");
    }
    expect_told(m, first);
    expect_told(m, second);
    if (first.told) seen.note("a visitor was told");
}

/// Takes the lock on one worker and ends it, in one of four ways, on another.
task<> takes(lock& m, std::optional<int_guard>& to, event& taken) {
    auto held = co_await m.lock();
    *held = half;
    co_await shield(yield_now());
    to.emplace(std::move(held));
    taken.set();
}

task<> ends_it(std::optional<int_guard>& from, event& taken, unsigned how) {
    co_await taken.wait();
    const int_guard held = std::move(*from);
    from.reset();
    co_await yield_now();
    if (how == 1) throw boom();
    *held = whole;
}

task<> s32(sim::world& world, sightings& seen) {
    lock m;
    event taken;
    std::optional<int_guard> between;
    visit other;
    const unsigned how = pick(world, 3);
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(takes(m, between, taken), on(0, "taker")).detach();
        auto ender = scope.spawn(as_outcome(ends_it(between, taken, how)), on(1, "ender"));
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        co_await taken.wait();
        co_await some_turns(world, 2);
        if (how == 2) ender.cancel();
        auto end = co_await ender.outcome();
        if (between) { // it was cancelled before it had begun
            **between = whole;
            between.reset();
        }
    };
    co_await with_scope(body);
    const int value = m.get_mut(sync::ignore_poison);
    if (how == 0) expect_end(m, false, whole);
    if (how == 1) {
        expect_end(m, true, half);
        expect_boom(m.cause(), "ender");
    }
    if (how == 2 && m.is_poisoned()) {
        expect(value == half, "a section was complete and the lock is poisoned");
        expect_cancelled(m.cause(), cancel_reason::requested, "ender");
        seen.note("cancelled on another worker");
    }
    expect_told(m, other);
}

/// Moves a guard out of a scope that unwinds.
class rescuer {
public:
    rescuer(int_guard& from, std::optional<int_guard>& to) : from_(from), to_(to) {}
    rescuer(const rescuer&) = delete;
    rescuer& operator=(const rescuer&) = delete;
    ~rescuer() { to_.emplace(std::move(from_)); }

private:
    int_guard& from_;
    std::optional<int_guard>& to_;
};

task<> is_rescued(lock& m, std::optional<int_guard>& to, event& inside, bool throws) {
    auto held = co_await m.lock();
    const rescuer saves(held, to);
    *held = half;
    inside.set();
    co_await yield_now();
    if (throws) throw boom();
    co_await yield_now();
    *held = whole;
}

task<> s33(sim::world& world, sightings& seen) {
    lock m;
    std::optional<int_guard> saved;
    event inside;
    visit other;
    const bool throws = pick(world, 2) == 1;
    const bool later_throws = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim =
            scope.spawn(as_outcome(is_rescued(m, saved, inside, throws)), on(1, "victim"));
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        co_await inside.wait();
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(saved && saved->held(), "a guard that was rescued has released");
        expect(!m.is_poisoned(), "a guard that was rescued has poisoned");
        seen.note(end.is_cancelled() ? "out of a teardown" : "out of an exception");
        **saved = half;
        co_await yield_now();
        expect(!other.entered || other.value == before, "a rescued lock was handed over");
        try {
            const int_guard mine = std::move(*saved);
            saved.reset();
            if (later_throws) throw boom();
            *mine = whole;
        } catch (const boom&) {
        }
    };
    co_await with_scope(body);
    expect_end(m, later_throws, later_throws ? half : whole);
    expect_told(m, other);
}

/// Visits another lock from a destructor, unless somebody has it; it may fail in there.
task<> visits_at_end(lock& own, lock& other, bool fails, bool throws, bool& failed) {
    auto visit = [&other, fails, &failed] {
        try {
            auto held = other.try_lock();
            if (!held) return;
            **held = half;
            if (fails) throw boom();
            **held = whole;
        } catch (const boom&) {
            failed = true;
        } catch (const poison_error&) {
        }
    };
    const at_end<decltype(visit)> last(visit);
    auto held = co_await own.lock();
    *held = half;
    co_await yield_now();
    if (throws) throw boom();
    co_await yield_now();
    *held = whole;
}

task<> s34(sim::world& world, sightings& seen) {
    lock own;
    lock other;
    bool failed = false;
    visit of_other;
    visit of_own;
    const bool fails = pick(world, 2) == 1;
    const bool throws = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(as_outcome(visits_at_end(own, other, fails, throws, failed)),
                                  on(0, "victim"));
        scope.spawn(visits(other, of_other), on(1, "visitor")).detach();
        scope.spawn(visits(own, of_own), on(2, "visitor")).detach();
        co_await some_turns(world, 3);
        victim.cancel();
        auto end = co_await victim.outcome();
        if (end.is_cancelled()) seen.note("in a teardown");
        if (end.has_value() && end.value().has_exception()) seen.note("in an unwinding");
    };
    co_await with_scope(body);
    const int value = own.get_mut(sync::ignore_poison);
    expect_end(own, value == half, value);
    const int others = other.get_mut(sync::ignore_poison);
    expect_end(other, failed, others);
    expect(failed == (others == half), "the other lock is judged by another's unwinding");
    if (failed) {
        expect(other.cause().kind() == poison_kind::exception, "the cause is of another kind");
        seen.note("failed in the destructor");
    }
    expect_told(other, of_other);
    expect_told(own, of_own);
}

/// While an exception is in flight a destructor takes the lock, and keeps it.
task<> takes_while_unwinding(lock& m, std::optional<int_guard>& to, event& taken) {
    auto take = [&m, &to] { to = m.try_lock(); };
    try {
        const at_end<decltype(take)> last(take);
        throw std::logic_error("somebody else's");
    } catch (const std::logic_error&) {
    }
    taken.set();
    co_return;
}

task<> s35(sim::world& world, sightings& seen) {
    lock m;
    event taken;
    std::optional<int_guard> kept;
    visit other;
    const unsigned how = pick(world, 2);
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(takes_while_unwinding(m, kept, taken), on(0, "taker")).detach();
        co_await taken.wait();
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        expect(kept.has_value(), "a free lock was refused");
        **kept = half;
        auto ender = scope.spawn(as_outcome(ends_it(kept, taken, 1 - how)), on(1, "ender"));
        auto end = co_await ender;
        expect(end.has_exception() == (how == 0), "the section ended otherwise");
    };
    co_await with_scope(body);
    expect_end(m, how == 0, how == 0 ? half : whole);
    if (how == 0) expect_boom(m.cause(), "ender");
    expect_told(m, other);
    seen.note(how == 0 ? "failed" : "well");
}

/// Ends a section of somebody else, in a slice of its own as the runtime opens one whenever it
/// enters user code, while an exception is in flight on this thread.
task<> ends_while_unwinding(std::optional<int_guard>& from, event& taken, bool throws) {
    co_await taken.wait();
    auto end_it = [&from] {
        const detail::slice_scope slice(nullptr);
        **from = whole;
        from.reset();
    };
    if (!throws) {
        const at_end<decltype(end_it)> last(end_it);
        co_await yield_now(); // where it is torn down
        co_return;
    }
    try {
        const at_end<decltype(end_it)> last(end_it);
        throw std::logic_error("somebody else's");
    } catch (const std::logic_error&) {
    }
}

task<> s36(sim::world& world, sightings&) {
    lock m;
    event taken;
    std::optional<int_guard> between;
    visit other;
    const bool throws = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(takes(m, between, taken), on(0, "taker")).detach();
        auto ender = scope.spawn(ends_while_unwinding(between, taken, throws), on(1, "ender"));
        scope.spawn(visits(m, other), on(2, "visitor")).detach();
        co_await taken.wait();
        co_await some_turns(world, 1);
        if (!throws) ender.cancel();
        auto end = co_await ender.outcome();
        if (between) { // it was cancelled before it had begun
            **between = whole;
            between.reset();
        }
    };
    co_await with_scope(body);
    expect_end(m, false, whole);
    expect_told(m, other);
}

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

TEST_CASE("S30: a guard that was moved into a child obeys the child's end, and nothing later "
          "(explored)") {
    explored(schedules(3), s30,
             {"the child was cancelled", "the child came to its end", "a visitor was told"});
}
TEST_CASE("S31: a guard in a task that never starts is judged by how the task is dropped "
          "(explored)") {
    explored(schedules(3), s31, {"a visitor was told"});
}
TEST_CASE("S32: a section that ends on another worker obeys the same rule (explored)") {
    explored(schedules(3), s32, {"cancelled on another worker"});
}
TEST_CASE("S33: a guard that a destructor rescues stays held and goes by its later life "
          "(explored)") {
    explored(schedules(3), s33, {"out of a teardown", "out of an exception"});
}
TEST_CASE("S34: a lock that a destructor takes is judged by its own section (explored)") {
    explored(schedules(3), s34,
             {"in a teardown", "in an unwinding", "failed in the destructor"});
}
TEST_CASE("S35: a lock taken while another exception unwinds poisons when its own section "
          "fails (explored)") {
    explored(schedules(4), s35, {"failed", "well"});
}
TEST_CASE("S36: a section that ends well during somebody's unwinding is clean (explored)") {
    explored(schedules(4), s36);
}
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
