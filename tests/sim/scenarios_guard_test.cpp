// Guards under exploration that end elsewhere than they began: in children, on other workers,
// in destructors (section B of the scenarios, S30 to S36).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <optional>
#include <stdexcept>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using lock = mutex<int>;
using int_guard = sync::guard<int>;

/// Goes on with a section that somebody else began; the guard is a parameter or a local.
task<> goes_on_in_parameter(int_guard held, bool throws = false) {
    *held = half;
    co_await yield_now();
    if (throws) throw boom();
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

/// Hands the guard down and catches what the child throws, holding nothing by then.
task<> hands_down(lock& m, bool& caught) {
    auto held = co_await m.lock();
    try {
        co_await goes_on_in_parameter(std::move(held), true);
    } catch (const boom&) {
        caught = true;
    }
}

task<> s30_throws(sim::world&, sightings& seen) {
    lock m;
    bool caught = false;
    visit first;
    visit second;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(hands_down(m, caught), on(0, "parent")).detach();
        scope.spawn(visits(m, first), on(1, "visitor")).detach();
        scope.spawn(visits(m, second), on(2, "visitor")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect(caught, "the child's exception did not come out");
    expect_end(m, true, half);
    expect_boom(m.cause(), "parent");
    expect_told(m, first);
    expect_told(m, second);
    seen.note(first.told ? "told" : "first");
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

} // namespace

TEST_CASE("S30: a guard that was moved into a child obeys the child's end, and nothing later "
          "(explored)") {
    explored(schedules(3), s30,
             {"the child was cancelled", "the child came to its end", "a visitor was told"});
}
TEST_CASE("S30: an exception in a child poisons through the guard in its parameter "
          "(explored)") {
    explored(schedules(4), s30_throws, {"told", "first"});
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
} // namespace toadstone::tests
