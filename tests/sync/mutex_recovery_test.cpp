// After the poisoning: looking at the data, repairing it, failing to, and waiting for others.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

/// What one attempt to repair did.
struct attempt {
    bool started = false;
    unsigned attempts_before = 0;
    bool needed = false;
};

/// Repairs as soon as the gate opens.
task<> repair(mutex<int>& m, gate& until, attempt& noted) {
    auto right = co_await m.recover();
    noted.started = true;
    noted.needed = right.needed();
    if (right.cause()) noted.attempts_before = right.cause().attempts();
    co_await until.pass();
    *right = 0;
    auto held = right.complete();
}

/// A mutex that was poisoned by an exception, and workers.
struct poisoned_mutex {
    poisoned_mutex() { w.run(break_by_exception(m)); }
    mutex<int> m{-1};
    stepped w;
};

task<std::optional<int>> patient_value(mutex<int>& m) {
    auto held = co_await m.lock(sync::wait_recovery);
    co_return *held;
}

} // namespace

TEST_CASE("S50: of two that recover, one gets the right and the other waits; lock() fails "
          "meanwhile") {
    poisoned_mutex p;
    gate first_done;
    gate second_done;
    attempt first;
    attempt second;
    auto one = p.w.spawn(repair(p.m, first_done, first));
    auto two = p.w.spawn(repair(p.m, second_done, second));
    p.w.settle();
    CHECK(first.started);
    CHECK_FALSE(second.started);
    CHECK(p.w.run(why_not(p.m)).find("mutex poisoned: ") == 0);
    CHECK_THROWS_AS(p.m.try_lock(), poison_error);
    first_done.open();
    p.w.settle();
    CHECK(second.started);
    CHECK(first.needed);
    CHECK_FALSE(second.needed); // it was repaired before
    second_done.open();
    p.w.settle();
    CHECK(p.m.get_mut() == 0);
}

TEST_CASE("S50: lock(wait_recovery) waits out the poisoning") {
    poisoned_mutex p;
    gate done;
    attempt first;
    auto waiter = p.w.spawn(patient_value(p.m));
    p.w.settle();
    CHECK_FALSE(waiter.done());
    auto repairer = p.w.spawn(repair(p.m, done, first)); // is not held up by the patient one
    p.w.settle();
    CHECK(first.started);
    CHECK_FALSE(waiter.done());
    done.open();
    p.w.settle();
    CHECK(p.w.end_of(waiter).value() == 0);
}

TEST_CASE(
    "S50: a patient waiter that was queued before the poisoning stays in the queue through "
    "it") {
    mutex<int> m;
    gate until;
    gate done;
    attempt first;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    auto patient = w.spawn(patient_value(m));
    auto plain = w.spawn(why_not(m));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(plain.done());
    CHECK_FALSE(patient.done());
    done.open();
    w.run(repair(m, done, first));
    w.settle();
    CHECK(patient.done());
}

TEST_CASE("S51: a completed recovery clears the poison while it still holds the lock, and then "
          "the queue is served in order") {
    poisoned_mutex p;
    gate done;
    gate keep;
    order entered;
    bool clear_while_held = false;
    auto body = [](mutex<int>& lock, gate& before, gate& after, bool& clear) -> task<> {
        auto right = co_await lock.recover();
        co_await before.pass();
        auto held = right.complete();
        clear = !lock.is_poisoned() && !lock.try_lock();
        co_await after.pass();
    };
    auto repairer = p.w.spawn(body(p.m, done, keep, clear_while_held));
    p.w.settle();
    done.open();
    p.w.settle();
    CHECK(clear_while_held);
    CHECK_FALSE(p.m.cause());
    auto one = p.w.spawn(pass(p.m, entered, 1));
    auto two = p.w.spawn(pass(p.m, entered, 2));
    p.w.settle();
    CHECK(entered.empty());
    keep.open();
    p.w.settle();
    CHECK(entered == order{1, 2});
}

TEST_CASE(
    "S52: a repair that throws leaves it poisoned, with the cause chained to the old one, "
    "and the next in line may try") {
    poisoned_mutex p;
    const poison_cause original = p.m.cause();
    gate done;
    attempt second;
    auto failing = [](mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        co_await yield_now();
        throw std::runtime_error("the journal is gone");
    };
    auto one = p.w.spawn(failing(p.m));
    auto two = p.w.spawn(repair(p.m, done, second));
    p.w.settle();
    CHECK(p.w.end_of(one).has_exception());
    REQUIRE(second.started);
    CHECK(second.needed);
    CHECK(second.attempts_before == 1);
    const poison_cause now = p.m.cause();
    CHECK(now.kind() == poison_kind::exception);
    CHECK(now.previous() == original);
    CHECK(now.first() == original);
    CHECK(now.to_string().find("the journal is gone") != std::string::npos);
    CHECK(now.to_string().find("; 1 failed repair(s); before that: " + original.to_string()) !=
          std::string::npos);
    done.open();
    p.w.settle();
    CHECK_FALSE(p.m.is_poisoned());
}

TEST_CASE("S52: a repair that is cancelled leaves it poisoned, and each failure counts") {
    poisoned_mutex p;
    const poison_cause original = p.m.cause();
    for (unsigned round = 1; round <= 3; ++round) {
        gate never;
        attempt noted;
        auto repairer = p.w.spawn(repair(p.m, never, noted));
        p.w.settle();
        CHECK(noted.attempts_before == round - 1);
        repairer.cancel(cancel_reason::timeout);
        p.w.settle();
        REQUIRE(p.m.is_poisoned());
        CHECK(p.m.cause().kind() == poison_kind::cancelled);
        CHECK(p.m.cause().reason() == cancel_reason::timeout);
        CHECK(p.m.cause().attempts() == round);
        CHECK(p.m.cause().first() == original);
    }
}

TEST_CASE("S52: after many failed repairs the story is still short, and still begins with the "
          "first cause") {
    poisoned_mutex p;
    const poison_cause original = p.m.cause();
    auto gives_up = [](mutex<int>& lock) -> task<> { auto right = co_await lock.recover(); };
    for (int i = 0; i < 100; ++i) p.w.run(gives_up(p.m));
    CHECK(p.m.cause().attempts() == 100);
    CHECK(p.m.cause().first() == original);
    CHECK(p.m.cause().to_string().size() < 4000);
}

TEST_CASE("S53: a recovery that dies before complete() leaves it poisoned and says so") {
    poisoned_mutex p;
    const poison_cause original = p.m.cause();
    auto forgets = [](mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        *right = 0;
    };
    p.w.run(forgets(p.m));
    REQUIRE(p.m.is_poisoned());
    CHECK(p.m.cause().kind() == poison_kind::declared);
    CHECK(p.m.cause().why() == "the repair was not completed");
    CHECK(p.m.cause().previous() == original);
    CHECK(p.m.cause().attempts() == 1);
}

TEST_CASE("S53: a recovery of a healthy mutex is a section like any other") {
    mutex<int> m;
    gate never;
    stepped w;
    auto looks = [](mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        if (!right.needed()) *right = 1;
    };
    w.run(looks(m));
    CHECK(m.get_mut() == 1); // and not poisoned
    attempt noted;
    auto repairer = w.spawn(repair(m, never, noted));
    w.settle();
    repairer.cancel();
    w.settle();
    CHECK(m.is_poisoned());
    CHECK(m.cause().attempts() == 0);
}

TEST_CASE("recovery: it can be moved, and assigning over one gives the old one up") {
    mutex<int> a;
    mutex<int> b;
    stepped w;
    w.run(break_by_exception(a));
    w.run(break_by_exception(b));
    auto body = [](mutex<int>& first, mutex<int>& second) -> task<> {
        auto right = co_await first.recover();
        auto other = co_await second.recover();
        right = std::move(other); // the first is given up
        auto moved = std::move(right);
        auto held = moved.complete();
        *held = 4;
    };
    w.run(body(a, b));
    CHECK(a.is_poisoned());
    CHECK(a.cause().attempts() == 1);
    CHECK(b.get_mut() == 4);
}

TEST_CASE("S54: an exception in a nested lock during the recovery poisons that lock by its own "
          "rule and leaves the recovery alone") {
    poisoned_mutex p;
    mutex<int> nested;
    auto body = [](mutex<int>& lock, mutex<int>& inner) -> task<> {
        auto right = co_await lock.recover();
        try {
            auto held = co_await inner.lock();
            throw std::runtime_error("nested");
        } catch (const std::runtime_error&) {
        }
        *right = 0;
        auto held = right.complete();
    };
    p.w.run(body(p.m, nested));
    CHECK(nested.is_poisoned());
    CHECK_FALSE(nested.cause().previous());
    CHECK_FALSE(p.m.is_poisoned());
}

TEST_CASE("S54: the same in another task while the recovery goes on") {
    poisoned_mutex p;
    mutex<int> nested;
    gate done;
    attempt noted;
    auto repairer = p.w.spawn(repair(p.m, done, noted));
    p.w.settle();
    p.w.run(break_by_exception(nested));
    CHECK(nested.is_poisoned());
    done.open();
    p.w.settle();
    CHECK_FALSE(p.m.is_poisoned());
}

TEST_CASE("S55: access all the same reads the data, and the poison stays") {
    poisoned_mutex p;
    const poison_cause original = p.m.cause();
    auto body = [](mutex<int>& lock) -> task<int> {
        auto looked = co_await lock.lock_or_poison();
        auto held = looked.ignore();
        co_return *held;
    };
    CHECK(p.w.run(body(p.m)) == -1);
    CHECK(p.m.is_poisoned());
    CHECK(p.m.cause() == original);
}

TEST_CASE("lock_result: healthy or not, it holds the lock and gives the guard and the cause") {
    mutex<int> m(3);
    stepped w;
    auto body = [](mutex<int>& lock, bool poisoned) -> task<> {
        auto looked = co_await lock.lock_or_poison();
        CHECK(static_cast<bool>(looked) == !poisoned);
        CHECK(static_cast<bool>(looked.cause()) == poisoned);
        CHECK(*looked.guard() == 3);
        CHECK(looked.guard().held());
        CHECK(looked.guard().is_poisoned() == poisoned);
        auto held = looked.into_guard();
        CHECK(held.held());
        CHECK_FALSE(looked.guard().held());
    };
    w.run(body(m, false));
    CHECK_FALSE(m.is_poisoned());
    w.run(break_by_exception(m));
    w.run(body(m, true));
    CHECK(m.is_poisoned());
}

TEST_CASE(
    "lock_result: an interruption of someone who looks at poisoned data is chained to the "
    "cause that he saw") {
    poisoned_mutex p;
    const poison_cause original = p.m.cause();
    gate never;
    auto body = [](mutex<int>& lock, gate& at) -> task<> {
        auto looked = co_await lock.lock_or_poison();
        co_await at.pass();
    };
    auto looker = p.w.spawn(body(p.m, never));
    p.w.settle();
    looker.cancel();
    p.w.settle();
    CHECK(p.m.cause().kind() == poison_kind::cancelled);
    CHECK(p.m.cause().previous() == original);
}

TEST_CASE(
    "S73: as with std::sync::Mutex: an exception poisons, into_guard() reads the data, the "
    "flag stays, and clear_poison() on a held guard heals") {
    mutex<std::string> m("before");
    stepped w;
    auto breaks = [](mutex<std::string>& lock) -> task<> {
        auto held = co_await lock.lock();
        *held = "half";
        throw std::runtime_error("boom");
    };
    auto reads = [](mutex<std::string>& lock, bool heals) -> task<std::string> {
        auto looked = co_await lock.lock_or_poison();
        auto held = looked.into_guard();
        if (heals) held.clear_poison();
        co_return *held;
    };
    CHECK_THROWS_WITH(w.run(breaks(m)), "boom");
    CHECK(w.run(why_not(m)).find("boom") != std::string::npos);
    CHECK(w.run(reads(m, false)) == "half");
    CHECK_FALSE(w.run(why_not(m)).empty());
    CHECK(w.run(reads(m, true)) == "half");
    CHECK(w.run(why_not(m)).empty());
    CHECK(m.get_mut() == "half");
}

namespace {

task<> pay(mutex<int>& outer, mutex<int>& inner) {
    auto held = co_await outer.lock();
    auto more = co_await inner.lock(); // throws poison_error through the outer section
}

} // namespace

TEST_CASE(
    "S56: a poison_error that escapes another held section poisons that one too, linked to "
    "the first cause") {
    mutex<int> ledger(0, "ledger");
    mutex<int> accounts(0, "accounts");
    mutex<int> report(0, "report");
    stepped w;
    w.run(break_by_exception(accounts, "disk full"));
    CHECK_THROWS_AS(w.run(pay(ledger, accounts)), poison_error);
    CHECK_THROWS_AS(w.run(pay(report, ledger)), poison_error); // and on
    REQUIRE(ledger.is_poisoned());
    CHECK(ledger.cause().kind() == poison_kind::exception);
    CHECK(ledger.cause().linked() == accounts.cause());
    REQUIRE(report.is_poisoned());
    CHECK(report.cause().linked() == ledger.cause());
    CHECK(report.cause().first() == accounts.cause());
    CHECK_FALSE(accounts.cause().linked());
    const std::string story = report.cause().to_string();
    CHECK(story.find("mutex 'report' poisoned: ") == 0);
    CHECK(story.find("mutex 'ledger' poisoned: ") != std::string::npos);
    CHECK(story.find("mutex 'accounts' poisoned: ") != std::string::npos);
}

TEST_CASE("S56: a poison_error that is caught inside the outer section does not spread") {
    mutex<int> ledger;
    mutex<int> accounts;
    stepped w;
    w.run(break_by_exception(accounts));
    auto careful = [](mutex<int>& outer, mutex<int>& inner) -> task<> {
        auto held = co_await outer.lock();
        try {
            auto more = co_await inner.lock();
        } catch (const poison_error&) {
            *held = 1;
        }
    };
    w.run(careful(ledger, accounts));
    CHECK(ledger.get_mut() == 1);
}

namespace {

using operations = std::map<int, std::string>;

/// Takes an entry out, works on it, and puts it back.
task<> advance_operation(mutex<operations>& m, int id, gate& work) {
    auto held = co_await m.lock();
    auto node = held->extract(id);
    co_await work.pass();
    node.mapped() = "done";
    held->insert(std::move(node));
}

} // namespace

TEST_CASE(
    "S78: an operation that is lost between its removal and its return is reported with the "
    "line, and the recovery restores it") {
    mutex<operations> m(operations{{1, "queued"}, {2, "queued"}}, "operations");
    gate work;
    stepped w;
    auto mover = w.spawn(advance_operation(m, 2, work));
    w.settle();
    mover.cancel(cancel_reason::timeout);
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.get_mut(sync::ignore_poison).count(2) == 0);
    const auto line = m.cause().interrupted_at().line();
    CHECK(std::string(m.cause().interrupted_at().function_name()).find("advance_operation") !=
          std::string::npos);
    CHECK(m.cause().to_string().find("was cancelled (timeout) at mutex_recovery_test.cpp:" +
                                     std::to_string(line)) != std::string::npos);
    auto restore = [](mutex<operations>& lock) -> task<> {
        auto right = co_await lock.recover();
        right->emplace(2, "queued");
        auto held = right.complete();
    };
    w.run(restore(m));
    work.open();
    w.run(advance_operation(m, 2, work));
    CHECK(m.get_mut() == operations{{1, "queued"}, {2, "done"}});
}

} // namespace toadstone::tests
