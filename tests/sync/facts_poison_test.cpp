// docs/facts.md, the lines about poisoning, recovery and cancellation: a section for each,
// which has its number.
#include <toadstone/sync.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;
using sync::on_cancel;
using sync::on_exception;

/// Changes the data in two steps, with a wait between them.
template <class Mutex>
task<> change(Mutex& m, gate& between) {
    auto held = co_await m.lock();
    *held = 1;
    co_await between.pass();
    *held = 2;
}
template <class Mutex>
task<> leave_by_exception(Mutex& m) {
    auto held = co_await m.lock();
    *held = 1;
    throw std::runtime_error("boom");
}

/// A lock, and tasks that are cut in the middle of it.
struct cut {
    mutex<int> m{0, "m"};
    gate between;
    order entered;
    stepped w;

    template <class T>
    void cancelled(task<T> body, cancel_reason reason = cancel_reason::requested) {
        auto handle = w.spawn(std::move(body), {.name = "cut"});
        w.settle();
        handle.cancel(reason);
        w.settle();
        CHECK(w.end_of(handle).is_cancelled());
    }
    void poison_it() { w.run(break_by_exception(m)); }
};

} // namespace

TEST_CASE("S612: facts: what poisons") {
    cut c;
    auto& [m, between, entered, w] = c;

    SECTION("fact 27: an exception that leaves the section poisons") {
        CHECK_THROWS_AS(w.run(leave_by_exception(m)), std::runtime_error);
        CHECK(m.is_poisoned());
    }
    SECTION("fact 28: one that is caught inside the section does not") {
        auto catches = [](mutex<int>& in) -> task<> {
            auto held = co_await in.lock();
            try {
                throw std::runtime_error("boom");
            } catch (const std::runtime_error&) {
                *held = 2;
            }
        };
        w.run(catches(m));
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 29: return and break do not") {
        auto returns = [](mutex<int>& in) -> task<> {
            for (;;) {
                auto held = co_await in.lock();
                if (++*held == 1) continue;
                if (*held == 2) break;
            }
            auto held = co_await in.lock();
            co_return;
        };
        w.run(returns(m));
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 30: nor does what comes after unlock()") {
        auto unlocks = [](mutex<int>& in) -> task<> {
            auto held = co_await in.lock();
            held.unlock();
            throw std::runtime_error("boom");
        };
        CHECK_THROWS_AS(w.run(unlocks(m)), std::runtime_error);
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 31: a cancellation at a co_await in the section poisons") {
        c.cancelled(change(m, between));
        CHECK(m.is_poisoned());
        CHECK(m.get_mut(sync::ignore_poison) == 1); // half done
    }
    SECTION("fact 32: a cancellation while it waits for the lock does not") {
        auto first = w.spawn(hold(m, between));
        w.settle();
        c.cancelled(pass(m, entered, 2));
        between.open();
        w.settle();
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 33: nor does a child that is stopped, if its caller goes on") {
        auto waits = [](mutex<int>& in, gate& never) -> task<> {
            auto held = co_await in.lock();
            auto end = co_await try_with_timeout(1ms, never.pass());
            *held = end.is_cancelled() ? 2 : 1;
        };
        w.run(waits(m, between));
        CHECK_FALSE(m.is_poisoned());
        CHECK(m.get_mut() == 2);
    }
    SECTION("fact 34: a guard that was given to another task is judged by that one's end") {
        auto fails = [](mutex<int>::guard) -> task<> {
            co_await yield_now();
            throw std::runtime_error("boom");
        };
        auto gives = [&](mutex<int>& in) -> task<> {
            auto held = co_await in.lock();
            auto other = spawn(fails, std::move(held));
            const outcome<> end = co_await other.outcome();
        };
        w.run(gives(m));
        CHECK(m.is_poisoned());
    }
    SECTION("fact 35: a guard that says poison() poisons, with its reason") {
        auto declares = [](mutex<int>& in) -> task<> {
            auto held = co_await in.lock();
            held.poison("the sum is wrong");
        };
        w.run(declares(m));
        CHECK(m.cause().kind() == poison_kind::declared);
        CHECK(m.cause().why() == "the sum is wrong");
    }
    SECTION("fact 36: a poison_error made by hand poisons nothing by itself") {
        auto throws = []() -> task<> {
            co_await yield_now();
            throw poison_error(poison_cause());
        };
        CHECK_THROWS_AS(w.run(throws()), poison_error);
        CHECK(std::string(poison_error(poison_cause()).what()) == "poisoned");
        c.poison_it();
        const poison_error told(m.cause());
        auto heals = [](mutex<int>& in) -> task<> {
            auto repair = co_await in.recover();
            auto held = repair.complete();
        };
        w.run(heals(m));
        CHECK_THROWS_AS(throw poison_error(told), poison_error);
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 37: poison<T> detects the same without a lock") {
        poison<int> data(0, "data");
        auto half = [](poison<int>& of, gate& at) -> task<> {
            auto access = of.access();
            co_await at.pass();
        };
        c.cancelled(half(data, between));
        CHECK(data.is_poisoned());
        CHECK_THROWS_AS(data.access(), poison_error);
    }
}

TEST_CASE("S612: facts: what is told of poison") {
    cut c;
    auto& [m, between, entered, w] = c;

    SECTION("fact 38: the next lock() throws poison_error, and holds nothing") {
        c.poison_it();
        CHECK_THROWS_AS(w.run(pass(m, entered, 1)), poison_error);
        CHECK_FALSE(m.is_locked());
        CHECK(entered.empty());
    }
    SECTION("fact 39: all who wait fail at once, without owning it in turn") {
        auto first = w.spawn(change(m, between));
        w.settle();
        auto second = w.spawn(pass(m, entered, 2));
        auto third = w.spawn(pass(m, entered, 3));
        w.settle();
        first.cancel();
        w.settle();
        CHECK(w.end_of(second).has_exception());
        CHECK(w.end_of(third).has_exception());
        CHECK(entered.empty());
    }
    SECTION("fact 40: it stays, for try_lock() and blocking_lock(), too") {
        c.poison_it();
        for (int i = 0; i < 2; ++i) CHECK_THROWS_AS(w.run(pass(m, entered, 1)), poison_error);
        CHECK_THROWS_AS(m.try_lock(), poison_error);
        CHECK_THROWS_AS(m.blocking_lock(), poison_error);
    }
    SECTION("fact 41: the error tells who left, why, and where") {
        c.cancelled(change(m, between), cancel_reason::timeout);
        const std::string why = w.run(why_not(m));
        const auto at = [](std::source_location where) {
            return "facts_poison_test.cpp:" + std::to_string(where.line());
        };
        const poison_cause cause = m.cause();
        CHECK(why == "mutex 'm' poisoned: task " + std::to_string(cause.task_id()) +
                         " 'cut' was cancelled (timeout) at " + at(cause.interrupted_at()) +
                         " holding the lock taken at " + at(cause.locked_at()));
        CHECK(cause.interrupted_at().line() == cause.locked_at().line() + 2);
    }
    SECTION("fact 42: the cause has the kind of the end, and the exception or the reason") {
        CHECK_THROWS_AS(w.run(leave_by_exception(m)), std::runtime_error);
        CHECK(m.cause().kind() == poison_kind::exception);
        CHECK_THROWS_AS(std::rethrow_exception(m.cause().exception()), std::runtime_error);
        mutex<int> other;
        c.cancelled(change(other, between), cancel_reason::shutdown);
        CHECK(other.cause().kind() == poison_kind::cancelled);
        CHECK(other.cause().reason() == cancel_reason::shutdown);
    }
    SECTION("fact 43: a poison_error that leaves another section poisons that, too, linked") {
        c.poison_it();
        mutex<int> outer(0, "outer");
        auto both = [](mutex<int>& one, mutex<int>& other) -> task<> {
            auto held = co_await one.lock();
            auto second = co_await other.lock();
        };
        CHECK_THROWS_AS(w.run(both(outer, m)), poison_error);
        CHECK(outer.is_poisoned());
        CHECK(outer.cause().linked() == m.cause());
        CHECK(outer.cause().first() == m.cause());
    }
    SECTION("fact 44: on_poison() is told of each poisoning, before the lock is free") {
        int told = 0;
        bool locked = false;
        on_poison([&](const poison_cause&) {
            ++told;
            locked = m.is_locked();
        });
        c.poison_it();
        CHECK_THROWS_AS(w.run(pass(m, entered, 1)), poison_error); // is not another one
        on_poison(nullptr);
        CHECK(told == 1);
        CHECK(locked);
    }
}

TEST_CASE("S612: facts: sections that poison less, or more") {
    cut c;
    auto& [m, between, entered, w] = c;

    SECTION("fact 45: after mark_consistent() leaving does no harm, until it is taken back") {
        auto marks = [](mutex<int>& in, gate& at, bool takes_back) -> task<> {
            auto held = co_await in.lock();
            held.mark_consistent();
            if (takes_back) held.mark_inconsistent();
            co_await at.pass();
        };
        c.cancelled(marks(m, between, false));
        CHECK_FALSE(m.is_poisoned());
        c.cancelled(marks(m, between, true));
        CHECK(m.is_poisoned());
    }
    SECTION("fact 46: the policy release never poisons") {
        mutex<int, on_cancel::release, on_exception::release> counted;
        c.cancelled(change(counted, between));
        CHECK_THROWS_AS(w.run(leave_by_exception(counted)), std::runtime_error);
        CHECK_FALSE(counted.is_poisoned());
        CHECK(counted.get_mut() == 1); // as it was left
    }
    SECTION("fact 47: the policy defer lets the section end before the task does") {
        mutex<int, on_cancel::defer> deferring;
        auto section = [](auto& in, gate& at, bool& beyond) -> task<> {
            auto held = co_await in.lock();
            co_await at.pass();
            *held = 2;
            held.unlock();
            co_await checkpoint();
            beyond = true;
        };
        bool beyond = false;
        auto handle = w.spawn(section(deferring, between, beyond));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK_FALSE(handle.done());
        between.open();
        CHECK(w.end_of(handle).is_cancelled());
        CHECK_FALSE(beyond);
        CHECK(deferring.get_mut() == 2);
    }
    SECTION(
        "fact 48: the policy if_touched poisons if the data was reached for; view() is not") {
        mutex<int, on_cancel::if_touched, on_exception::if_touched> looked;
        auto looks = [](auto& in, gate& at, bool touches) -> task<> {
            auto held = co_await in.lock();
            if (held.view() == 0 && touches) *held = 1;
            co_await at.pass();
        };
        c.cancelled(looks(looked, between, false));
        CHECK_FALSE(looked.is_poisoned());
        c.cancelled(looks(looked, between, true));
        CHECK(looked.is_poisoned());
    }
    SECTION("fact 49: the policy rollback leaves the data as it was before the section") {
        mutex<int, on_cancel::rollback, on_exception::rollback> copied;
        c.cancelled(change(copied, between));
        CHECK(copied.get_mut() == 0);
        between.open();
        w.run(change(copied, between));
        CHECK(copied.get_mut() == 2);
    }
    SECTION("fact 50: a transaction that is not committed has not happened") {
        auto changes = [](mutex<int>& in, bool commits) -> task<> {
            auto books = co_await in.transaction();
            *books = 2;
            if (!commits) throw std::runtime_error("boom");
            books.commit();
        };
        CHECK_THROWS_AS(w.run(changes(m, false)), std::runtime_error);
        CHECK(m.get_mut() == 0);
        w.run(changes(m, true));
        CHECK(m.get_mut() == 2);
    }
    SECTION("fact 51: with_lock() poisons unless its function returned, whatever the policy") {
        mutex<int, on_cancel::release, on_exception::release> strict;
        auto fails = [](int&) { throw std::runtime_error("boom"); };
        auto fine = [](int& data) { data = 2; };
        auto runs = [&](bool well) -> task<> {
            if (well) {
                co_await strict.with_lock(fine);
            } else {
                co_await strict.with_lock(fails);
            }
        };
        w.run(runs(true));
        CHECK_FALSE(strict.is_poisoned());
        CHECK_THROWS_AS(w.run(runs(false)), std::runtime_error);
        CHECK(strict.is_poisoned());
    }
}

TEST_CASE("S612: facts: recovery") {
    cut c;
    auto& [m, between, entered, w] = c;
    c.poison_it();
    auto repairs = [&](mutex<int>& in, int value) -> task<> {
        auto right = co_await in.recover();
        entered.push_back(value);
        co_await between.pass();
        *right = value;
        auto held = right.complete();
    };

    SECTION("fact 52: recover() gives one task at a time the right to repair") {
        auto first = w.spawn(repairs(m, 1));
        w.settle();
        auto second = w.spawn(repairs(m, 2));
        w.settle();
        CHECK(entered == order{1});
    }
    SECTION("fact 53: lock() fails while the repair goes on") {
        auto first = w.spawn(repairs(m, 1));
        w.settle();
        CHECK_THROWS_AS(w.run(pass(m, entered, 2)), poison_error);
        between.open();
        w.settle();
        w.run(pass(m, entered, 2));
        CHECK(entered == order{1, 2});
    }
    SECTION("fact 54: complete() ends the poison while the lock is still held") {
        auto completes = [](mutex<int>& in, bool& held_then) -> task<> {
            auto right = co_await in.recover();
            auto held = right.complete();
            held_then = in.is_locked() && !in.is_poisoned();
        };
        bool held_then = false;
        w.run(completes(m, held_then));
        CHECK(held_then);
    }
    SECTION("fact 55: a repair that is not completed leaves it poisoned, and is counted") {
        const poison_cause before = m.cause();
        auto gives_up = [](mutex<int>& in) -> task<> { auto right = co_await in.recover(); };
        w.run(gives_up(m));
        CHECK(m.is_poisoned());
        CHECK(m.cause().attempts() == 1);
        CHECK(m.cause().previous() == before);
    }
    SECTION("fact 56: of those in lock_or_recover() the first repairs, the others go on") {
        int repaired = 0;
        auto mend = [&](int& data, const poison_cause&) {
            ++repaired;
            data = 7;
        };
        auto locks = [&](mutex<int>& in) -> task<int> {
            auto held = co_await in.lock_or_recover(mend);
            co_return *held;
        };
        auto first = w.spawn(locks(m));
        auto second = w.spawn(locks(m));
        CHECK(w.end_of(first).value() == 7);
        CHECK(w.end_of(second).value() == 7);
        CHECK(repaired == 1);
    }
    SECTION("fact 57: lock(wait_recovery) waits for somebody else's repair") {
        auto waits = [](mutex<int>& in) -> task<int> {
            auto held = co_await in.lock(sync::wait_recovery);
            co_return *held;
        };
        auto patient = w.spawn(waits(m));
        w.settle();
        CHECK_FALSE(patient.done());
        between.open();
        w.run(repairs(m, 7));
        CHECK(w.end_of(patient).value() == 7);
    }
    SECTION(
        "fact 58: lock_or_poison() gives the data as it is; clear_poison() ends the poison") {
        auto looks = [](mutex<int>& in, bool clears) -> task<bool> {
            auto either = co_await in.lock_or_poison();
            if (clears) either.guard().clear_poison();
            co_return static_cast<bool>(either);
        };
        CHECK_FALSE(w.run(looks(m, false)));
        CHECK(m.is_poisoned());
        CHECK_FALSE(w.run(looks(m, true)));
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 59: of a healthy mutex recover() says that nothing is needed") {
        mutex<int> healthy;
        auto asks = [](mutex<int>& in) -> task<bool> {
            auto right = co_await in.recover();
            co_return right.needed();
        };
        CHECK_FALSE(w.run(asks(healthy)));
        CHECK(w.run(asks(m)));
    }
}

TEST_CASE("S612: facts: cancellation") {
    gate at;
    event_log log;
    stepped w;

    SECTION("fact 60: cancel() asks; it resumes and destroys nothing by itself") {
        auto waits = [](gate& there, event_log& ends) -> task<> {
            const traced one(ends, "gone");
            co_await there.pass();
        };
        auto handle = w.spawn(waits(at, log));
        w.settle();
        handle.cancel();
        CHECK(log.empty());
        w.settle();
        CHECK(log == event_log{"gone!"});
    }
    SECTION("fact 61: it takes effect at a co_await, and not before one") {
        auto asks_itself = [](join_handle<>& self, event_log& seen) -> task<> {
            self.cancel();
            seen.push_back("goes on");
            co_await checkpoint();
            seen.push_back("never");
        };
        join_handle<> self;
        self = w.spawn(asks_itself(self, log));
        w.settle();
        CHECK(log == event_log{"goes on"});
        CHECK(w.end_of(self).is_cancelled());
    }
    SECTION("fact 62: the frames are destroyed, innermost first, and no handler runs") {
        auto inner = [](gate& there, event_log& ends) -> task<> {
            const traced one(ends, "inner");
            co_await there.pass();
        };
        auto outer = [&](gate& there, event_log& ends) -> task<> {
            const traced one(ends, "outer");
            try {
                co_await inner(there, ends);
            } catch (...) {
                ends.push_back("caught");
                throw;
            }
        };
        auto handle = w.spawn(outer(at, log));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(log == event_log{"inner!", "outer!"});
    }
    SECTION("fact 63: who joins is told the reason") {
        auto waits = [](gate& there) -> task<> { co_await there.pass(); };
        auto handle = w.spawn(waits(at));
        w.settle();
        handle.cancel(cancel_reason::timeout);
        CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
    }
    SECTION("fact 64: what has finished all the same is delivered; then the task ends") {
        auto waits = [](gate& there, event_log& seen) -> task<> {
            co_await there.pass();
            seen.push_back("passed");
            co_await checkpoint();
            seen.push_back("never");
        };
        auto handle = w.spawn(waits(at, log));
        w.settle();
        at.open();
        handle.cancel();
        CHECK(w.end_of(handle).is_cancelled());
        CHECK(log == event_log{"passed"});
    }
    SECTION("fact 65: shield() runs to its end, and the task stops behind it") {
        auto inside = [](gate& there, event_log& seen) -> task<> {
            co_await there.pass();
            seen.push_back("done");
        };
        auto shielded = [&](gate& there, event_log& seen) -> task<> {
            co_await shield(inside(there, seen));
            co_await checkpoint();
            seen.push_back("never");
        };
        auto handle = w.spawn(shielded(at, log));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK_FALSE(handle.done());
        at.open();
        CHECK(w.end_of(handle).is_cancelled());
        CHECK(log == event_log{"done"});
    }
}

} // namespace toadstone::tests
