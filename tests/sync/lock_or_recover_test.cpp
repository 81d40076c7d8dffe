// lock_or_recover(): the first to come repairs, the others wait for it.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

/// What the repairs of one test did.
struct repairs {
    int begun = 0;
    int ended = 0;
    unsigned attempts_before = 0;
};

/// A repair that waits at a gate and then makes the data 7.
task<> mend(int& data, const poison_cause& why, gate& until, repairs& noted) {
    ++noted.begun;
    noted.attempts_before = why.attempts();
    co_await until.pass();
    data = 7;
    ++noted.ended;
}

task<int> value_after_repair(mutex<int>& m, gate& until, repairs& noted) {
    auto repair = [&](int& data, const poison_cause& why) {
        return mend(data, why, until, noted);
    };
    auto held = co_await m.lock_or_recover(repair);
    co_return *held;
}

/// Fails after the gate.
task<> fail_at(gate& until) {
    co_await until.pass();
    throw std::runtime_error("no repair");
}
task<> fail_to_repair(mutex<int>& m, gate& until) {
    auto repair = [&](int&, const poison_cause&) { return fail_at(until); };
    auto held = co_await m.lock_or_recover(repair);
}

struct poisoned_mutex {
    poisoned_mutex() { w.run(break_by_exception(m)); }
    mutex<int> m{-1, "m"};
    stepped w;
};

} // namespace

TEST_CASE("S240: of a healthy mutex, lock_or_recover() is lock(): no repair, no context") {
    mutex<int> m(3);
    gate never;
    repairs noted;
    stepped w;
    CHECK(w.run(value_after_repair(m, never, noted)) == 3);
    CHECK(noted.begun == 0);
    gate until;
    order entered;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    auto waiter = w.spawn(value_after_repair(m, never, noted));
    auto behind = w.spawn(pass(m, entered, 1));
    w.settle();
    CHECK_FALSE(waiter.done());
    until.open();
    w.settle();
    CHECK(w.end_of(waiter).value() == 3);
    CHECK(behind.done());
    CHECK(noted.begun == 0);
}

TEST_CASE("S241: two at once on poisoned data: one repairs, alone, the other waits and goes on "
          "with healthy data; a plain lock() fails meanwhile") {
    poisoned_mutex p;
    gate until;
    repairs noted;
    auto one = p.w.spawn(value_after_repair(p.m, until, noted));
    auto two = p.w.spawn(value_after_repair(p.m, until, noted));
    p.w.settle();
    CHECK(noted.begun == 1);
    CHECK_FALSE(two.done());
    CHECK(p.w.run(why_not(p.m)).find("mutex 'm' poisoned: ") == 0);
    until.open();
    p.w.settle();
    CHECK(p.w.end_of(one).value() == 7);
    CHECK(p.w.end_of(two).value() == 7);
    CHECK(noted.begun == 1);
    CHECK(noted.ended == 1);
    CHECK_FALSE(p.m.is_poisoned());
}

TEST_CASE("S242: a repair that is a plain function runs under the lock") {
    poisoned_mutex p;
    auto story = [](mutex<int>& m) -> task<int> {
        auto repair = [](int& data, const poison_cause& why) {
            data = why.kind() == poison_kind::exception ? 5 : 0;
        };
        auto held = co_await m.lock_or_recover(repair);
        co_return *held;
    };
    CHECK(p.w.run(story(p.m)) == 5);
    CHECK_FALSE(p.m.is_poisoned());
}

TEST_CASE("S243: a repair that fails: its exception goes to whoever ran it, the causes are "
          "chained, those who waited get a poison_error, and whoever comes later tries again") {
    poisoned_mutex p;
    gate until;
    auto first = p.w.spawn(fail_to_repair(p.m, until));
    p.w.settle();
    gate unused;
    repairs none;
    auto queued = p.w.spawn(value_after_repair(p.m, unused, none));
    p.w.settle();
    until.open();
    p.w.settle();
    auto end = p.w.end_of(first);
    CHECK_THROWS_WITH(end.value(), "no repair");
    auto end_of_queued = p.w.end_of(queued);
    CHECK_THROWS_AS(end_of_queued.value(), poison_error);
    CHECK(none.begun == 0);
    REQUIRE(p.m.is_poisoned());
    CHECK(p.m.cause().attempts() == 1);
    CHECK(p.m.cause().previous().kind() == poison_kind::exception);

    gate open;
    open.open();
    repairs noted;
    CHECK(p.w.run(value_after_repair(p.m, open, noted)) == 7);
    CHECK(noted.attempts_before == 1);
}

TEST_CASE(
    "S243: when a repair fails, a queued recover() or lock_or_poison() becomes the owner, "
    "and the queued lock_or_recover() before it does not") {
    poisoned_mutex p;
    gate until;
    auto first = p.w.spawn(fail_to_repair(p.m, until));
    p.w.settle();
    gate unused;
    repairs none;
    auto before = p.w.spawn(value_after_repair(p.m, unused, none));
    auto recovers = p.w.spawn([](mutex<int>& m) -> task<int> {
        auto right = co_await m.recover();
        *right = 1;
        auto held = right.complete();
        co_return *held;
    }(p.m));
    p.w.settle();
    until.open();
    p.w.settle();
    CHECK(p.w.end_of(recovers).value() == 1);
    auto end = p.w.end_of(before);
    CHECK_THROWS_AS(end.value(), poison_error);
    CHECK_FALSE(p.m.is_poisoned());
}

TEST_CASE("S244: a recover() that fails leaves the repair to the first queued "
          "lock_or_recover()") {
    poisoned_mutex p;
    gate until;
    auto gives_up = p.w.spawn([](mutex<int>& m, gate& at) -> task<> {
        auto right = co_await m.recover();
        co_await at.pass();
    }(p.m, until));
    p.w.settle();
    gate open;
    open.open();
    repairs noted;
    auto queued = p.w.spawn(value_after_repair(p.m, open, noted));
    auto second = p.w.spawn(value_after_repair(p.m, open, noted));
    p.w.settle();
    CHECK(noted.begun == 0);
    until.open();
    p.w.settle();
    CHECK(p.w.end_of(queued).value() == 7);
    CHECK(p.w.end_of(second).value() == 7);
    CHECK(noted.begun == 1);
    CHECK(noted.attempts_before == 1);
}

TEST_CASE("S245: a request during the repair: the repair ends, the lock goes on clean, and the "
          "task stops before its section") {
    poisoned_mutex p;
    gate until;
    repairs noted;
    bool entered = false;
    auto repairer = p.w.spawn([](mutex<int>& m, gate& at, repairs& to, bool& in) -> task<> {
        auto repair = [&](int& data, const poison_cause& why) {
            return mend(data, why, at, to);
        };
        auto held = co_await m.lock_or_recover(repair);
        in = true;
    }(p.m, until, noted, entered));
    auto waiter = p.w.spawn(value_after_repair(p.m, until, noted));
    p.w.settle();
    repairer.cancel();
    p.w.settle();
    CHECK_FALSE(repairer.done());
    until.open();
    p.w.settle();
    CHECK(p.w.end_of(repairer).is_cancelled());
    CHECK_FALSE(entered);
    CHECK(noted.ended == 1);
    CHECK_FALSE(p.m.is_poisoned());
    CHECK(p.w.end_of(waiter).value() == 7);
    CHECK(noted.begun == 1);
}

TEST_CASE(
    "S245: a request before the repair began: the data stays poisoned, nothing was tried, "
    "and the next in line repairs") {
    poisoned_mutex p;
    gate until;
    auto looks = p.w.spawn([](mutex<int>& m, gate& at) -> task<> {
        auto got = co_await m.lock_or_poison();
        co_await at.pass();
    }(p.m, until));
    p.w.settle();
    gate open;
    open.open();
    repairs first;
    repairs second;
    auto one = p.w.spawn(value_after_repair(p.m, open, first));
    auto two = p.w.spawn(value_after_repair(p.m, open, second));
    p.w.settle();
    one.cancel();
    until.open();
    p.w.settle();
    CHECK(p.w.end_of(one).is_cancelled());
    CHECK(first.begun == 0);
    CHECK(p.w.end_of(two).value() == 7);
    CHECK(second.attempts_before == 0);
}

TEST_CASE("S246: a forced shutdown tears the repair down: still poisoned, chained") {
    mutex<int> m(-1);
    gate never;
    repairs noted;
    {
        stepped w;
        w.run(break_by_exception(m));
        auto repairer = w.spawn(value_after_repair(m, never, noted));
        w.settle();
        CHECK(noted.begun == 1);
    }
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().attempts() == 1);
    CHECK(m.cause().kind() == poison_kind::cancelled);
    CHECK(noted.ended == 0);
}

TEST_CASE(
    "S246: a repair that hangs gets a with_timeout() inside, and its timeout_error goes to "
    "whoever ran it") {
    poisoned_mutex p;
    gate never;
    auto hangs = [](mutex<int>& m, gate& at) -> task<> {
        auto repair = [&](int&, const poison_cause&) -> task<> {
            co_await with_timeout(10ms, at.pass());
        };
        auto held = co_await m.lock_or_recover(repair);
    };
    auto repairer = p.w.spawn(hangs(p.m, never));
    p.w.settle();
    p.w.advance(10ms);
    auto end = p.w.end_of(repairer);
    CHECK_THROWS_AS(end.value(), timeout_error);
    CHECK(p.m.cause().attempts() == 1);
}

TEST_CASE("S247: the guard of lock_or_recover() poisons like any other") {
    poisoned_mutex p;
    gate open;
    open.open();
    auto breaks = [](mutex<int>& m, gate& at, repairs& to) -> task<> {
        auto repair = [&](int& data, const poison_cause& why) {
            return mend(data, why, at, to);
        };
        auto held = co_await m.lock_or_recover(repair);
        *held = -2;
        throw std::logic_error("again");
    };
    repairs noted;
    auto one = p.w.spawn(breaks(p.m, open, noted));
    p.w.settle();
    auto end = p.w.end_of(one);
    CHECK_THROWS_AS(end.value(), std::logic_error);
    CHECK(p.m.is_poisoned());
    CHECK(p.m.cause().attempts() == 0); // a new story
}

TEST_CASE("S247: lock_or_recover() by a task that holds the lock is a would_deadlock") {
    mutex<int> m;
    stepped w;
    auto twice = [](mutex<int>& lock) -> task<bool> {
        auto held = co_await lock.lock();
        bool refused = false;
        try {
            auto repair = [](int&, const poison_cause&) {};
            auto again = co_await lock.lock_or_recover(repair);
        } catch (const sync::would_deadlock&) {
            refused = true;
        }
        co_return refused;
    };
    CHECK(w.run(twice(m)));
}

TEST_CASE("S247: with on_cancel::defer, the deferral begins with the lock and ends with the "
          "guard") {
    mutex<int, sync::on_cancel::defer> m(1);
    gate first;
    gate second;
    stepped w;
    auto holder =
        w.spawn([](mutex<int, sync::on_cancel::defer>& lock, gate& in, gate& out) -> task<> {
            auto repair = [](int&, const poison_cause&) {};
            auto held = co_await lock.lock_or_recover(repair);
            co_await in.pass();
            *held = 2;
            held.unlock();
            co_await out.pass();
        }(m, first, second));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(holder.done());
    first.open();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(m.get_mut() == 2);
}

TEST_CASE("S241: batched: those who want to repair are served in order, and fail together") {
    mutex<int> m(-1, "m", sync::fairness::batched);
    stepped w;
    w.run(break_by_exception(m));
    gate until;
    auto first = w.spawn(fail_to_repair(m, until));
    w.settle();
    gate open;
    open.open();
    repairs none;
    auto queued = w.spawn(value_after_repair(m, open, none));
    w.settle();
    until.open();
    w.settle();
    auto end = w.end_of(queued);
    CHECK_THROWS_AS(end.value(), poison_error);
    repairs noted;
    CHECK(w.run(value_after_repair(m, open, noted)) == 7);
}

} // namespace toadstone::tests
