// The family inside boundaries: limits and races around recoveries, transactions, permits,
// conditions and readers. What they had been given goes back, and nothing is poisoned.
#include <toadstone/sync.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

task<> mend_at(int& data, gate& until, int& mended) {
    co_await until.pass();
    data = 7;
    ++mended;
}

/// Whether it had got the lock before the limit.
task<bool> recovers_in_time(mutex<int>& m, gate& until, int& mended) {
    auto repair = [&](int& data, const poison_cause&) { return mend_at(data, until, mended); };
    try {
        auto held = co_await with_timeout(10ms, m.lock_or_recover(repair));
        co_return held.held();
    } catch (const timeout_error&) {
        co_return false;
    }
}

} // namespace

TEST_CASE(
    "S300: a time limit around lock_or_recover(): up while it waits, it leaves; up during "
    "the repair, that ends, and the lock goes on clean") {
    mutex<int> m(-1);
    gate until;
    gate held_until;
    int mended = 0;
    stepped w;
    auto holder = w.spawn(hold(m, held_until));
    w.settle();
    auto waits = w.spawn(recovers_in_time(m, until, mended));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(w.end_of(waits).value());
    held_until.open();
    w.settle();

    w.run(break_by_exception(m));
    auto repairs = w.spawn(recovers_in_time(m, until, mended));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(repairs.done()); // shielded
    until.open();
    w.settle();
    CHECK_FALSE(w.end_of(repairs).value());
    CHECK(mended == 1);
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE(
    "S300: a race that lock_or_recover() loses is over when its repair is, and leaves the "
    "lock free and healthy") {
    mutex<int> m(-1);
    gate until;
    gate other;
    int mended = 0;
    stepped w;
    w.run(break_by_exception(m));
    auto race = w.spawn([](mutex<int>& of, gate& at, gate& wins, int& count) -> task<bool> {
        auto repair = [&](int& data, const poison_cause&) { return mend_at(data, at, count); };
        auto branch = [](gate& g) -> task<> { co_await g.pass(); };
        const auto first = co_await when_any(of.lock_or_recover(repair), branch(wins));
        co_return first.index == 1;
    }(m, until, other, mended));
    w.settle();
    other.open();
    w.settle();
    CHECK_FALSE(race.done()); // losers are joined
    until.open();
    w.settle();
    CHECK(w.end_of(race).value());
    CHECK(mended == 1);
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S301: transactions in a race: the loser's has not happened, and its lock is free") {
    mutex<int> a(1);
    mutex<int> b(2);
    gate until;
    stepped w;
    auto holder = w.spawn(hold(b, until));
    w.settle();
    auto race = [](mutex<int>& one, mutex<int>& two) -> task<int> {
        auto first = co_await when_any(one.transaction(), two.transaction());
        *first.value = 9;
        first.value.commit();
        co_return static_cast<int>(first.index);
    };
    CHECK(w.run(race(a, b)) == 0);
    CHECK(a.get_mut() == 9);
    until.open();
    w.settle();
    CHECK(is_free(w, b));
    CHECK(b.get_mut() == 2);
    auto both = [](mutex<int>& one, mutex<int>& two) -> task<int> { // both at once
        auto first = co_await when_any(one.transaction(), two.transaction());
        co_return static_cast<int>(first.index);
    };
    w.run(both(a, b));
    CHECK(is_free(w, a));
    CHECK(is_free(w, b));
    CHECK_FALSE(a.is_poisoned());
    CHECK_FALSE(b.is_poisoned());
}

TEST_CASE("S301: a section that rolls back, in a result that nobody fetches, changes nothing") {
    using rolling = mutex<int, sync::on_cancel::rollback, sync::on_exception::rollback>;
    rolling m(1);
    gate until;
    stepped w;
    auto changes = [](rolling& of) -> task<rolling::guard> {
        auto held = co_await of.lock();
        *held = 9;
        co_return held;
    };
    auto fails = [](gate& at) -> task<> {
        co_await at.pass();
        throw std::runtime_error("boom");
    };
    auto joins = w.spawn([](rolling& of, gate& at, auto first, auto second) -> task<> {
        co_await when_all(first(of), second(at));
    }(m, until, changes, fails));
    w.settle();
    until.open();
    w.settle();
    auto end = w.end_of(joins);
    CHECK_THROWS_AS(end.value(), std::runtime_error);
    CHECK(m.get_mut() == 1);
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S302: permits in races, limits and results that nobody fetches come back") {
    sync::semaphore s(1);
    gate until;
    stepped w;
    auto race = [](sync::semaphore& of) -> task<> {
        auto first = co_await when_any(of.acquire(), of.acquire(2));
        CHECK(first.index == 0);
        CHECK(of.available() == 0);
    };
    w.run(race(s));
    CHECK(s.available() == 1);
    auto limited = [](sync::semaphore& of) -> task<bool> {
        try {
            auto permit = co_await with_timeout(5ms, of.acquire(2));
        } catch (const timeout_error&) {
            co_return false;
        }
        co_return true;
    };
    CHECK_FALSE(w.run(limited(s)));
    auto fails = [](gate& at) -> task<> {
        co_await at.pass();
        throw std::runtime_error("boom");
    };
    auto joins = w.spawn([](sync::semaphore& of, gate& at, auto second) -> task<> {
        co_await when_all(of.acquire(), second(at));
    }(s, until, fails));
    w.settle();
    CHECK(s.available() == 0);
    until.open();
    w.settle();
    CHECK(joins.done());
    CHECK(s.available() == 1);
    CHECK(s.try_acquire().has_value());
}

TEST_CASE("S303: a condition that loses a race gives the section back with its lock; its "
          "notification goes to the next") {
    mutex<int> m(0);
    sync::condition_variable cv;
    gate wins;
    stepped w;
    auto racer =
        w.spawn([](mutex<int>& of, sync::condition_variable& at, gate& other) -> task<bool> {
            auto held = co_await of.lock();
            auto branch = [](gate& g) -> task<> { co_await g.pass(); };
            const auto first = co_await when_any(at.wait(held), branch(other));
            *held += 1;
            co_return first.index == 1 && held.held();
        }(m, cv, wins));
    w.settle();
    auto second = w.spawn([](mutex<int>& of, sync::condition_variable& at) -> task<> {
        auto held = co_await of.lock();
        co_await at.wait(held);
        *held += 10;
    }(m, cv));
    w.settle();
    wins.open();
    cv.notify_one(); // the racer is notified and loses, in whichever order
    w.settle();
    CHECK(racer.done());
    if (!second.done()) { // the racer had won by the notification
        cv.notify_one();
        w.settle();
        CHECK(w.end_of(racer).value() == false);
    } else {
        CHECK(w.end_of(racer).value());
    }
    CHECK(second.done());
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.get_mut() == 11);
}

TEST_CASE("S304: readers in a race and in a result that nobody fetches go") {
    sync::shared_mutex<int> m(1);
    gate until;
    stepped w;
    auto race = [](sync::shared_mutex<int>& of) -> task<> {
        auto first = co_await when_any(of.read(), of.read());
        CHECK(*first.value == 1);
    };
    w.run(race(m));
    CHECK(m.readers() == 0);
    auto joins = w.spawn([](sync::shared_mutex<int>& of, gate& at) -> task<> {
        auto fails = [](gate& g) -> task<> {
            co_await g.pass();
            throw std::runtime_error("boom");
        };
        co_await when_all(of.read(), of.read(), fails(at));
    }(m, until));
    w.settle();
    CHECK(m.readers() == 2);
    until.open();
    w.settle();
    CHECK(joins.done());
    CHECK(m.readers() == 0);
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_write().has_value());
}

TEST_CASE("S305: several failures together, a poison_error among them, poison a section that "
          "they leave, linked to its cause") {
    mutex<int> inner(0, "inner");
    mutex<int> outer(0, "outer");
    stepped w;
    w.run(break_by_exception(inner));
    for (const bool supervised : {true, false}) {
        auto section = [](mutex<int>& first, mutex<int>& second, bool scoped) -> task<> {
            auto held = co_await second.lock();
            auto meets_poison = [](mutex<int>& of) -> task<> { auto got = co_await of.lock(); };
            auto fails = []() -> task<> {
                co_await yield_now();
                throw std::runtime_error("boom");
            };
            if (scoped) {
                auto body = [&](task_scope& scope) -> task<> {
                    scope.spawn(fails()).detach();
                    scope.spawn(meets_poison(first)).detach();
                    co_return;
                };
                co_await with_supervisor(body);
            } else {
                co_await when_any_success(fails(), meets_poison(first));
            }
        };
        auto one = w.spawn(section(inner, outer, supervised));
        w.settle();
        auto end = w.end_of(one);
        CHECK_THROWS_AS(end.value(), aggregate_error);
        REQUIRE(outer.is_poisoned());
        CHECK(outer.cause().linked() == inner.cause());
        CHECK(outer.cause().first() == inner.cause());
        auto heals = [](mutex<int>& of) -> task<> {
            auto repair = [](int&, const poison_cause&) {};
            auto held = co_await of.lock_or_recover(repair);
        };
        w.run(heals(outer));
    }
}

} // namespace toadstone::tests
