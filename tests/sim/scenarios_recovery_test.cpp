// Recovery under exploration: who may repair, what a failed repair leaves, and how far poison
// spreads (section C of the scenarios).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using lock = mutex<int>;

task<> breaks(lock& m) {
    try {
        auto held = co_await m.lock();
        *held = half;
        throw boom();
    } catch (const boom&) {
    }
}

/// One attempt to repair, and how it is to end.
enum class repair_end { completes, throws, forgets, waits_for_ever };

struct attempt {
    bool began = false;
    bool needed = false;
    bool completed = false;
    unsigned attempts_before = 0;
};

/// Who has the right to repair now.
struct exclusive {
    int inside = 0;
};
class has_right {
public:
    explicit has_right(exclusive& in) : in_(in) {
        expect(++in_.inside == 1, "two have the right to repair at the same time");
    }
    has_right(const has_right&) = delete;
    has_right& operator=(const has_right&) = delete;
    ~has_right() { --in_.inside; }

private:
    exclusive& in_;
};

task<> repairs(lock& m, exclusive& in, attempt& noted, repair_end how) {
    co_await yield_now();
    auto right = co_await m.recover();
    const has_right here(in);
    noted.began = true;
    noted.needed = right.needed();
    if (noted.needed) noted.attempts_before = right.cause().attempts();
    expect(noted.needed == (*right == half), "the data and its cause contradict each other");
    co_await yield_now();
    if (how == repair_end::throws) throw boom();
    if (how == repair_end::forgets) co_return;
    if (how == repair_end::waits_for_ever) {
        event never;
        co_await never.wait();
    }
    *right = whole;
    auto held = right.complete();
    noted.completed = true;
    expect(!m.is_poisoned(), "a completed repair has not cleared the poison");
    co_await yield_now();
    expect(*held == whole, "somebody has been in the section of a completed repair");
}

task<> waits_patiently(lock& m, exclusive& in, visit& found) {
    co_await yield_now();
    auto held = co_await m.lock(sync::wait_recovery);
    const has_right here(in);
    found.entered = true;
    found.value = *held;
    expect(*held != half, "a patient waiter has got half-done data");
    co_await yield_now();
}

task<> s50(sim::world&, sightings& seen) {
    lock m;
    exclusive in;
    std::array<attempt, 2> tries;
    visit plain;
    visit patient;
    co_await breaks(m);
    const poison_cause first = m.cause();
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(repairs(m, in, tries[0], repair_end::completes), on(0, "one")).detach();
        scope.spawn(repairs(m, in, tries[1], repair_end::completes), on(1, "two")).detach();
        scope.spawn(visits(m, plain), on(2, "plain")).detach();
        scope.spawn(waits_patiently(m, in, patient), on(1, "patient")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect(tries[0].began && tries[1].began, "somebody who wanted to repair was not let");
    expect(tries[0].needed != tries[1].needed, "the repair was needed once");
    expect(patient.entered, "a patient waiter was not served");
    if (plain.told) expect(plain.told == first, "a plain lock() was told another cause");
    seen.note(plain.told ? "lock() failed meanwhile" : "lock() came after the repair");
    seen.note(tries[0].needed ? "the one repaired" : "the other repaired");
    expect_end(m, false, whole);
}

/// Patient waiters that are cancelled while the lock is poisoned: nobody is waited for then.
task<> s50_patient(sim::world& world, sightings& seen) {
    std::optional<lock> m(std::in_place);
    exclusive in;
    std::array<visit, 2> patient;
    attempt repair;
    co_await breaks(*m);
    const bool all_leave = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto one = scope.spawn(waits_patiently(*m, in, patient[0]), on(1, "patient"));
        auto two = scope.spawn(waits_patiently(*m, in, patient[1]), on(2, "patient"));
        co_await some_turns(world, 2);
        one.cancel();
        auto end = co_await one.outcome();
        expect(end.is_cancelled(), "a patient waiter got a poisoned lock");
        if (all_leave) {
            two.cancel();
            end = co_await two.outcome();
            expect(end.is_cancelled(), "a patient waiter got a poisoned lock");
            m.reset(); // aborts if the lock believes that somebody waits
            seen.note("all left");
            co_return;
        }
        co_await repairs(*m, in, repair, repair_end::completes);
        co_await two;
        seen.note("one was served");
    };
    co_await with_scope(body);
    expect(!patient[0].entered, "a patient waiter got a poisoned lock");
    expect(patient[1].entered != all_leave, "the other patient waiter was not served");
}

task<> enters_in_line(lock& m, line& queue, int who) {
    queue.arrives(who);
    auto held = co_await m.lock(sync::wait_recovery);
    const line::stay here(queue, who);
    expect(*held == whole, "somebody was served before the repair was complete");
    co_await yield_now();
}

task<> completes_in_line(lock& m, line& queue) {
    auto right = co_await m.recover();
    co_await queue.everybody.wait();
    *right = whole;
    co_await yield_now();
    auto held = right.complete();
    expect(queue.entered().empty(), "the queue was served before the lock was released");
    co_await yield_now();
    expect(queue.entered().empty(), "the queue was served before the lock was released");
}

task<> s51(sim::world&, sightings&) {
    lock m;
    line queue(3);
    co_await breaks(m);
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(completes_in_line(m, queue), on(0, "repairer")).detach();
        for (int who = 1; who <= 3; ++who) {
            scope.spawn(enters_in_line(m, queue, who), on(who % 3, "waiter")).detach();
        }
        co_return;
    };
    co_await with_scope(body);
    expect(queue.entered().size() == 3, "not everybody in the queue was served");
    expect_end(m, false, whole);
}

task<> s52(sim::world& world, sightings& seen) {
    lock m;
    exclusive in;
    std::array<attempt, 2> tries;
    visit plain;
    co_await breaks(m);
    const poison_cause first = m.cause();
    const bool cancels = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        const auto how = cancels ? repair_end::waits_for_ever : repair_end::throws;
        auto failing = scope.spawn(as_outcome(repairs(m, in, tries[0], how)), on(0, "failing"));
        auto other =
            scope.spawn(repairs(m, in, tries[1], repair_end::completes), on(1, "completing"));
        scope.spawn(visits(m, plain), on(2, "plain")).detach();
        co_await some_turns(world, 6);
        if (cancels) failing.cancel(cancel_reason::timeout);
        auto end = co_await failing.outcome();
        if (!tries[1].began && m.is_poisoned()) {
            const bool failed = m.cause().attempts() == 1;
            expect(failed == tries[0].began, "a failed repair is not in the story");
            expect(m.cause().first() == first, "a failed repair has lost the first cause");
        }
        co_await other;
    };
    co_await with_scope(body);
    expect(tries[1].began && tries[1].completed, "the next in line was not let");
    if (tries[1].needed && tries[0].needed) {
        expect(tries[1].attempts_before == 1, "a failed repair was not counted");
        seen.note(cancels ? "cancelled, then repaired" : "failed, then repaired");
    }
    if (tries[0].began && !tries[0].needed) {
        // Of a healthy lock it was a section like any other, left before it changed anything.
        expect(m.is_poisoned(), "a section that was left half-way does not say so");
        expect(!m.cause().previous(), "a poison that was healed is still in the story");
        seen.note("there was nothing to repair");
        co_return;
    }
    expect_end(m, false, whole);
}

task<> s53(sim::world&, sightings& seen) {
    lock m;
    exclusive in;
    std::array<attempt, 2> tries;
    visit plain;
    co_await breaks(m);
    const poison_cause first = m.cause();
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(repairs(m, in, tries[0], repair_end::forgets), on(0, "one")).detach();
        scope.spawn(repairs(m, in, tries[1], repair_end::forgets), on(1, "two")).detach();
        scope.spawn(visits(m, plain), on(2, "plain")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect_end(m, true, half);
    expect(tries[0].needed && tries[1].needed, "poison was cleared though nobody completed");
    const poison_cause last = m.cause();
    expect(last.kind() == poison_kind::declared, "the cause is of another kind");
    expect(last.why() == "the repair was not completed", "the cause has another reason");
    expect(last.attempts() == 2 && last.first() == first, "the story is not complete");
    expect(static_cast<bool>(plain.told), "a plain lock() got poisoned data");
    seen.note(plain.told == first ? "told the first cause" : "told a later one");
}

task<> repairs_with_nested(lock& m, lock& inner, bool fails, bool& repaired) {
    auto right = co_await m.recover();
    co_await yield_now();
    try {
        auto held = co_await inner.lock();
        *held = half;
        co_await yield_now();
        if (fails) throw boom();
        *held = whole;
    } catch (const boom&) {
    }
    *right = whole;
    auto healthy = right.complete();
    repaired = true;
}

task<> fails_in_nested(lock& inner) {
    co_await yield_now();
    try {
        auto held = co_await inner.lock();
        *held = half;
        co_await yield_now();
        throw boom();
    } catch (const boom&) {
    } catch (const poison_error&) {
    }
}

task<> s54(sim::world& world, sightings& seen) {
    lock m;
    lock inner;
    bool repaired = false;
    visit of_m;
    co_await breaks(m);
    const bool by_third = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto work = repairs_with_nested(m, inner, !by_third, repaired);
        auto repairer = scope.spawn(as_outcome(std::move(work)), on(0, "repairer"));
        if (by_third) scope.spawn(fails_in_nested(inner), on(1, "third")).detach();
        scope.spawn(visits(m, of_m), on(2, "visitor")).detach();
        auto end = co_await repairer;
        // The third may have been first: then its poison ends the repair.
        expect(end.has_value() == repaired, "the repair ended otherwise");
    };
    co_await with_scope(body);
    expect(inner.is_poisoned(), "the nested lock does not go by its own rule");
    expect(!inner.cause().previous(), "the nested lock tells of another's poison");
    expect_end(m, !repaired, repaired ? whole : half);
    if (!repaired) {
        expect(m.cause().attempts() == 1, "a failed repair was not counted");
        expect(m.cause().linked() == inner.cause(), "the contagion is not visible");
        seen.note("the third was first");
    } else {
        seen.note(by_third ? "the third failed beside it" : "failed inside it");
    }
}

task<> looks_anyway(lock& m, const poison_cause& first, sightings& seen) {
    co_await yield_now();
    auto found = co_await m.lock_or_poison();
    const bool healthy = static_cast<bool>(found);
    auto held = found.ignore();
    expect(*held == (healthy ? whole : half), "the data and what is said of it contradict");
    co_await yield_now();
    expect(m.is_poisoned() == !healthy, "a look has changed the state of the lock");
    if (!healthy) expect(m.cause() == first, "a look has changed the cause");
    seen.note(healthy ? "looked after the repair" : "looked before");
}

task<> s55(sim::world&, sightings& seen) {
    lock m;
    exclusive in;
    attempt repair;
    co_await breaks(m);
    const poison_cause first = m.cause();
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(looks_anyway(m, first, seen), on(0, "looker")).detach();
        scope.spawn(repairs(m, in, repair, repair_end::completes), on(1, "repairer")).detach();
        scope.spawn(looks_anyway(m, first, seen), on(2, "looker")).detach();
        co_return;
    };
    co_await with_scope(body);
    expect_end(m, false, whole);
}

task<> pays(lock& outer, lock& inner, bool careful, bool& paid) {
    auto held = co_await outer.lock();
    *held = half;
    co_await yield_now();
    try {
        auto more = co_await inner.lock();
        co_await yield_now();
        *more = whole;
        paid = true;
    } catch (const poison_error&) {
        if (!careful) throw;
    }
    *held = whole;
}

task<> s56(sim::world& world, sightings& seen) {
    lock report;
    lock ledger;
    lock accounts;
    bool paid = false;
    bool reported = false;
    const bool careful = pick(world, 2) == 1;
    const auto body = [&](task_scope& scope) -> task<> {
        auto first = scope.spawn(breaks(accounts), on(1, "culprit"));
        auto second =
            scope.spawn(as_outcome(pays(ledger, accounts, careful, paid)), on(0, "payer"));
        auto third =
            scope.spawn(as_outcome(pays(report, ledger, false, reported)), on(2, "reporter"));
        auto payer = co_await second;
        auto reporter = co_await third;
        co_await first;
        expect(payer.has_value() == (paid || careful), "the payer ended otherwise");
        expect(reporter.has_value() == reported, "the reporter ended otherwise");
    };
    co_await with_scope(body);
    expect(accounts.is_poisoned(), "the first lock is not poisoned");
    expect(!accounts.cause().linked(), "the first cause has one before it");
    const bool spread = !paid && !careful;
    expect(ledger.is_poisoned() == spread, "poison spreads where an error passes, only there");
    if (spread) {
        expect(ledger.cause().kind() == poison_kind::exception, "the cause is of another kind");
        expect(ledger.cause().linked() == accounts.cause(), "the contagion is not visible");
        seen.note("spread once");
    }
    expect(report.is_poisoned() == !reported, "poison spreads where an error passes");
    if (!reported) {
        expect(report.cause().linked() == ledger.cause(), "the contagion is not visible");
        expect(report.cause().first() == accounts.cause(), "the root cause is lost");
        seen.note("spread twice");
    }
    if (paid) seen.note("did not spread");
    if (careful && !paid) seen.note("caught inside");
}

} // namespace

TEST_CASE("S50: one at a time may repair; lock() fails meanwhile, or waits if it is patient "
          "(explored)") {
    explored(schedules(3), s50,
             {"lock() failed meanwhile", "lock() came after the repair", "the one repaired",
              "the other repaired"});
}
TEST_CASE("S50: patient waiters that are cancelled leave a poisoned lock at once "
          "(explored)") {
    explored(schedules(4), s50_patient, {"all left", "one was served"});
}
TEST_CASE("S51: a completed repair clears the poison under the lock, then the queue is served "
          "in order (explored)") {
    explored(schedules(4), s51);
}
TEST_CASE("S52: a repair that fails or is cancelled leaves the poison, chained and counted, to "
          "the next (explored)") {
    explored(
        schedules(3), s52,
        {"cancelled, then repaired", "failed, then repaired", "there was nothing to repair"});
}
TEST_CASE("S53: a recovery that dies before complete() leaves the poison (explored)") {
    explored(schedules(4), s53, {"told the first cause", "told a later one"});
}
TEST_CASE("S54: what fails in a nested lock leaves the recovery alone (explored)") {
    explored(schedules(4), s54,
             {"the third was first", "the third failed beside it", "failed inside it"});
}
TEST_CASE("S55: access all the same reads the data and keeps the poison (explored)") {
    explored(schedules(4), s55, {"looked after the repair", "looked before"});
}
TEST_CASE("S56: a poison_error that leaves another section poisons it, linked to the first "
          "cause (explored)") {
    explored(schedules(4), s56,
             {"spread once", "spread twice", "did not spread", "caught inside"});
}

} // namespace toadstone::tests
