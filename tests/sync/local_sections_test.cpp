// What a local_mutex has besides lock(): waiting for a repair and repairing, transactions, time
// limits, functions under the lock, parts of the data, sections that are open for a while.
#include <toadstone/sync/local_mutex.hpp>

#include "support/dies.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::local_mutex;
using sync::on_cancel;

struct pair_of {
    int left = 0;
    int right = 0;
    [[nodiscard]] bool whole() const { return left == right; }
};

task<> waits_for_repair(local_mutex<int>& m, order& entered, int who) {
    auto held = co_await m.lock(sync::wait_recovery);
    CHECK_FALSE(held.is_poisoned());
    entered.push_back(who);
}
/// Repairs, if the gate lets it, or gives the repair up.
task<> repairs(local_mutex<int>& m, gate& middle, bool completes) {
    auto right = co_await m.recover();
    co_await middle.pass();
    if (completes) right.complete().unlock();
}

/// What lock_or_recover() came to: the data, or -1 for poison, -2 for what the repair threw.
template <class Fn>
task<> recovers(local_mutex<int>& m, Fn& repair, order& got) {
    try {
        auto held = co_await m.lock_or_recover(repair);
        got.push_back(*held);
    } catch (const poison_error&) {
        got.push_back(-1);
    } catch (const std::runtime_error&) {
        got.push_back(-2);
    }
}

} // namespace

TEST_CASE(
    "S387: lock(wait_recovery) waits out a poisoning, behind nobody who repairs; a repair "
    "that is given up is waited out, too") {
    local_mutex<int> m(0, "m");
    gate first;
    gate second;
    order entered;
    stepped w;
    w.run(break_by_exception(m));
    auto one = w.spawn(waits_for_repair(m, entered, 1));
    w.settle();
    auto two = w.spawn(waits_for_repair(m, entered, 2));
    w.settle();
    CHECK(m.waiters() == 2);
    CHECK_FALSE(m.is_locked());
    CHECK_THAT(w.run(why_not(m)), Catch::Contains("poisoned"));
    auto gives_up = w.spawn(repairs(m, first, false));
    w.settle();
    CHECK(m.is_locked());
    auto completes = w.spawn(repairs(m, second, true)); // behind those who wait for it
    w.settle();
    first.open();
    w.settle();
    CHECK(gives_up.done());
    CHECK(entered.empty());
    second.open();
    w.settle();
    CHECK(w.end_of(completes).has_value());
    CHECK(entered == order{1, 2});
    CHECK(is_free(w, m));
}

TEST_CASE(
    "S387: who waits for a repair is not ended by a poisoning, and leaves at once when it "
    "is cancelled, from whatever place") {
    const int leaves = GENERATE(0, 1, 2, 3);
    local_mutex<int> m;
    gate until;
    gate open;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    std::vector<join_handle<void>> waiters;
    for (int i = 0; i < 3; ++i) {
        waiters.push_back(w.spawn(waits_for_repair(m, entered, i)));
        w.settle();
    }
    holder.cancel();
    w.settle();
    CHECK(m.is_poisoned());
    CHECK(m.waiters() == 3);
    if (leaves < 3) waiters[static_cast<std::size_t>(leaves)].cancel();
    w.settle();
    open.open();
    w.run(repairs(m, open, true));
    w.settle();
    order expected{0, 1, 2};
    if (leaves < 3) expected.erase(expected.begin() + leaves);
    CHECK(entered == expected);
    CHECK(is_free(w, m));
}

TEST_CASE("S387: destroying one whose repair is waited for ends the process with a sentence") {
    dies_saying("a mutex is destroyed only when nobody holds it or waits for it", [] {
        std::optional<local_mutex<int>> m(std::in_place);
        order entered;
        stepped w;
        w.run(break_by_exception(*m));
        auto waiter = w.spawn(waits_for_repair(*m, entered, 1));
        w.settle();
        m.reset();
    });
}

TEST_CASE("S388: of those who come by lock_or_recover() the first repairs, the others wait and "
          "go on with healthy data") {
    local_mutex<int> m(0, "m");
    int repaired = 0;
    gate middle;
    order got;
    stepped w;
    w.run(break_by_exception(m));
    auto repair = [&](int& data, const poison_cause& why) -> task<> {
        CHECK(why.kind() == poison_kind::exception);
        co_await middle.pass();
        data = 7;
        ++repaired;
    };
    auto one = w.spawn(recovers(m, repair, got));
    w.settle();
    auto two = w.spawn(recovers(m, repair, got));
    w.settle();
    CHECK_THAT(w.run(why_not(m)), Catch::Contains("poisoned"));
    CHECK(got.empty());
    middle.open();
    w.settle();
    CHECK(got == order{7, 7});
    CHECK(repaired == 1);
    auto plain = [](int&, const poison_cause&) { FAIL("there is nothing to repair"); };
    w.run(recovers(m, plain, got));
    CHECK(got.back() == 7);
    CHECK(is_free(w, m));
}

TEST_CASE(
    "S388: a repair that fails: its exception for who ran it, poison for those who waited "
    "for it, and the next one tries again; of a recover() that fails they do not know") {
    local_mutex<int> m(0, "m");
    gate middle;
    order got;
    stepped w;
    w.run(break_by_exception(m));
    auto fails = [&](int&, const poison_cause&) -> task<> {
        co_await middle.pass();
        throw std::runtime_error("no");
    };
    auto works = [](int& data, const poison_cause&) { data = 3; };
    auto one = w.spawn(recovers(m, fails, got));
    w.settle();
    auto two = w.spawn(recovers(m, works, got));
    w.settle();
    middle.open();
    w.settle();
    CHECK(got.size() == 2);
    CHECK(std::count(got.begin(), got.end(), -1) == 1);
    CHECK(std::count(got.begin(), got.end(), -2) == 1);
    CHECK(m.cause().attempts() == 1);
    gate other;
    auto by_hand = w.spawn(repairs(m, other, false));
    w.settle();
    auto three = w.spawn(recovers(m, works, got));
    w.settle();
    other.open();
    w.settle();
    CHECK(got.back() == 3);
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE(
    "S388: a request during a repair: it runs to its end, the lock goes on, clean, and the "
    "task stops") {
    local_mutex<int> m;
    gate middle;
    order got;
    stepped w;
    w.run(break_by_exception(m));
    auto repair = [&](int& data, const poison_cause&) -> task<> {
        co_await middle.pass();
        data = 7;
    };
    auto one = w.spawn(recovers(m, repair, got));
    w.settle();
    one.cancel();
    w.settle();
    CHECK_FALSE(one.done());
    middle.open();
    w.settle();
    CHECK(w.end_of(one).is_cancelled());
    CHECK(got.empty());
    CHECK(m.get_mut() == 7);
    CHECK(is_free(w, m));
}

TEST_CASE("S388: lock_or_recover() by the policy of its mutex") {
    stepped w;
    for (const bool queues : {false, true}) {
        local_mutex<int, on_cancel::defer> m;
        gate until;
        gate middle;
        auto holder = w.spawn(hold(m, until));
        w.settle();
        if (!queues) until.open();
        w.settle();
        auto section = [](auto& lock, gate& at) -> task<> {
            auto repair = [](int&, const poison_cause&) {};
            auto held = co_await lock.lock_or_recover(repair);
            co_await at.pass();
            *held = 1;
        };
        auto one = w.spawn(section(m, middle));
        w.settle();
        until.open();
        w.settle();
        one.cancel();
        w.settle();
        CHECK_FALSE(one.done());
        middle.open();
        w.settle();
        CHECK(m.get_mut() == 1);
    }
    local_mutex<int, on_cancel::if_touched> m;
    gate never;
    auto waits = [](auto& lock, gate& at) -> task<> {
        auto repair = [](int&, const poison_cause&) {};
        auto held = co_await lock.lock_or_recover(repair);
        co_await at.pass();
    };
    auto one = w.spawn(waits(m, never));
    w.settle();
    one.cancel();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S386: a transaction that is committed has happened, whole; one that is left in any "
          "other way has not, and the lock is healthy") {
    enum class ending { commits, returns, throws, is_cancelled, poisons };
    auto transact = [](local_mutex<pair_of>& m, gate& middle, ending how) -> task<> {
        auto tx = co_await m.transaction();
        ++tx->left;
        CHECK(m.get_mut(sync::ignore_poison).left == 0);
        CHECK_FALSE(m.try_lock());
        co_await middle.pass();
        if (how == ending::throws) throw std::runtime_error("boom");
        if (how == ending::returns) co_return;
        ++tx->right;
        if (how == ending::poisons) tx.poison("broken");
        if (how == ending::poisons) co_return;
        tx.commit();
        CHECK_FALSE(tx.held());
        CHECK_THROWS_AS(tx.commit(), std::logic_error);
        CHECK_THROWS_AS(tx->left, std::logic_error);
    };
    for (const ending how : {ending::commits, ending::returns, ending::throws,
                             ending::is_cancelled, ending::poisons}) {
        local_mutex<pair_of> m;
        gate middle;
        order entered;
        stepped w;
        auto one = w.spawn(transact(m, middle, how));
        w.settle();
        auto behind = w.spawn(pass(m, entered, 1));
        w.settle();
        how == ending::is_cancelled ? one.cancel() : middle.open();
        w.settle();
        CHECK(one.done());
        CHECK(m.is_poisoned() == (how == ending::poisons));
        CHECK(entered.empty() == (how == ending::poisons));
        CHECK(m.get_mut(sync::ignore_poison).whole());
        CHECK(m.get_mut(sync::ignore_poison).left == (how == ending::commits ? 1 : 0));
    }
}

TEST_CASE("S389: with_lock() gives the result of its function, a coroutine or not, and poisons "
          "unless it returned, whatever the policy says") {
    local_mutex<pair_of, on_cancel::release, sync::on_exception::release> m;
    stepped w;
    auto good = [](auto& lock) -> task<int> {
        auto plain = [](pair_of& data) { return ++data.left; };
        auto coroutine = [](pair_of& data) -> task<int> {
            co_await yield_now();
            co_return ++data.right;
        };
        const int left = co_await lock.with_lock(plain);
        const int right = co_await lock.with_lock(coroutine);
        const int member = co_await lock.with_lock(&pair_of::left);
        co_return left + right + member;
    };
    CHECK(w.run(good(m)) == 3);
    CHECK_FALSE(m.is_poisoned());
    SECTION("exception") {
        auto bad = [](auto& lock) -> task<> {
            auto fails = [](pair_of&) { throw std::runtime_error("boom"); };
            co_await lock.with_lock(fails);
        };
        CHECK_THROWS_AS(w.run(bad(m)), std::runtime_error);
        CHECK(m.is_poisoned());
    }
    SECTION("cancellation") {
        gate never;
        auto hangs = [&](pair_of&) -> task<> { co_await never.pass(); };
        auto waits = [&](auto& lock) -> task<> { co_await lock.with_lock(hangs); };
        auto one = w.spawn(waits(m));
        w.settle();
        one.cancel();
        w.settle();
        CHECK(m.cause().kind() == poison_kind::cancelled);
    }
    SECTION("a copy that is dropped") {
        local_mutex<pair_of, on_cancel::rollback, sync::on_exception::rollback> rolls;
        auto bad = [](auto& lock) -> task<> {
            auto fails = [](pair_of& data) {
                data.left = 2;
                throw std::runtime_error("boom");
            };
            co_await lock.with_lock(fails);
        };
        CHECK_THROWS_AS(w.run(bad(rolls)), std::runtime_error);
        CHECK(rolls.is_poisoned());
        CHECK(rolls.get_mut(sync::ignore_poison).left == 0);
    }
}

TEST_CASE(
    "S390: try_lock_for() and try_lock_until() give up when the time is up; a lock that is "
    "there is had at once; a hand-over at the same moment wins") {
    local_mutex<int> m;
    gate until;
    stepped w;
    auto tries = [](local_mutex<int>& lock, std::chrono::milliseconds limit,
                    bool by_clock) -> task<bool> {
        std::optional<sync::local_guard<int>> held;
        if (by_clock) {
            held = co_await lock.try_lock_until(std::chrono::steady_clock::now() + 1h);
        } else {
            held = co_await lock.try_lock_for(limit);
        }
        co_return held.has_value();
    };
    CHECK(w.run(tries(m, 0ms, false)));
    CHECK(w.run(tries(m, 0ms, true)));
    auto holder = w.spawn(hold(m, until));
    w.settle();
    auto late = w.spawn(tries(m, 1ms, false));
    auto cancelled = w.spawn(tries(m, 1h, false));
    auto in_time = w.spawn(tries(m, 1h, false));
    w.settle();
    CHECK(m.waiters() == 3);
    w.advance(2ms);
    CHECK(w.end_of(late).value() == false);
    cancelled.cancel();
    w.settle();
    CHECK(w.end_of(cancelled).is_cancelled());
    CHECK(m.waiters() == 1);
    until.open();
    w.settle();
    CHECK(w.end_of(in_time).value());
    CHECK(is_free(w, m));
    CHECK_THROWS_AS(
        m.try_lock_for(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())),
        std::invalid_argument);
}

TEST_CASE(
    "S390: a timed lock fails as lock() does: of poison, and when its task has the lock") {
    local_mutex<int> m(0, "m");
    stepped w;
    auto twice = [](local_mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        auto again = co_await lock.try_lock_for(1h);
    };
    CHECK_THROWS_AS(w.run(twice(m)), sync::would_deadlock);
    REQUIRE(m.is_poisoned());
    auto once = [](local_mutex<int>& lock) -> task<> {
        auto held = co_await lock.try_lock_for(1h);
    };
    CHECK_THROWS_AS(w.run(once(m)), poison_error);
}

TEST_CASE("S391: map() and try_map() narrow a guard: the verdict goes on with the part") {
    local_mutex<pair_of> m;
    gate never;
    stepped w;
    auto narrows = [](local_mutex<pair_of>& lock) -> task<> {
        auto held = co_await lock.lock();
        auto nothing = held.try_map([](pair_of&) -> int* { return nullptr; });
        CHECK_FALSE(nothing.has_value());
        CHECK(held.held());
        auto something = held.try_map([](pair_of& data) { return &data.left; });
        CHECK_FALSE(held.held());
        CHECK_THROWS_AS(held.map(&pair_of::left), std::logic_error);
        auto left = something->map([](int& all) -> int& { return all; });
        CHECK_FALSE(something->held());
        *left = 4;
        CHECK(left.view() == 4);
        CHECK_FALSE(lock.try_lock());
        left.unlock();
        CHECK(lock.try_lock());
    };
    w.run(narrows(m));
    CHECK(m.get_mut().left == 4);
    auto holds_part = [](local_mutex<pair_of>& lock, gate& at) -> task<> {
        auto held = co_await lock.lock();
        auto right = held.map(&pair_of::right);
        co_await at.pass();
    };
    auto one = w.spawn(holds_part(m, never));
    w.settle();
    one.cancel();
    w.settle();
    CHECK(m.cause().kind() == poison_kind::cancelled);
}

TEST_CASE("S393: a local mutex says how it is, and its data can be taken out") {
    local_mutex<std::unique_ptr<int>> m(std::make_unique<int>(5), "accounts");
    const auto text = [](const auto& of) {
        std::ostringstream out;
        out << of;
        CHECK(out.str() == to_string(of));
        return out.str();
    };
    CHECK(text(m) == "local_mutex 'accounts', free");
    {
        gate until;
        order entered;
        stepped w;
        auto holder = w.spawn(hold(m, until));
        w.settle();
        CHECK(m.is_locked());
        CHECK(m.waiters() == 0);
        CHECK(text(m) == "local_mutex 'accounts', held");
        CHECK_THROWS_AS(std::move(m).into_inner(), std::logic_error);
        auto one = w.spawn(pass(m, entered, 1));
        w.settle();
        CHECK(text(m) == "local_mutex 'accounts', held, 1 waits");
        auto two = w.spawn(pass(m, entered, 2));
        w.settle();
        CHECK(m.waiters() == 2);
        CHECK(text(m) == "local_mutex 'accounts', held, 2 wait");
        until.open();
        w.settle();
        CHECK_FALSE(m.is_locked());
        w.run(break_by_exception(m));
    }
    CHECK_THAT(text(m), Catch::StartsWith("local_mutex 'accounts', free, poisoned: "));
    CHECK_THROWS_AS(std::move(m).into_inner(), poison_error);
    CHECK(*std::move(m).into_inner(sync::ignore_poison) == 5);
    CHECK(text(local_mutex<int>()) == "local_mutex, free");
    CHECK(local_mutex<int>(3).into_inner() == 3);
}

TEST_CASE("S394: a guard that loses a race, or that is in a result which nobody fetches, goes "
          "back, clean") {
    local_mutex<int> m;
    stepped w;
    auto races = [](local_mutex<int>& lock) -> task<std::size_t> {
        auto nothing = []() -> task<> { co_return; };
        auto first = co_await when_any(nothing(), lock.lock());
        co_return first.index;
    };
    CHECK(w.run(races(m)) == 0);
    CHECK_FALSE(m.is_poisoned());
    auto fails = [](local_mutex<int>& lock) -> task<> {
        auto thrower = []() -> task<> {
            co_await yield_now();
            throw std::runtime_error("boom");
        };
        co_await when_all(lock.lock(), thrower());
    };
    CHECK_THROWS_AS(w.run(fails(m)), std::runtime_error);
    CHECK_FALSE(m.is_poisoned());
    auto timed = [](local_mutex<int>& lock) -> task<> {
        auto thrower = []() -> task<> {
            co_await yield_now();
            throw std::runtime_error("boom");
        };
        co_await when_all(lock.lock_or_poison(), thrower());
    };
    CHECK_THROWS_AS(w.run(timed(m)), std::runtime_error);
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

} // namespace toadstone::tests
