// transaction(): a section on a copy, which happens when it is committed.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using sync::on_cancel;
using sync::on_exception;

struct pair_of {
    int left = 0;
    int right = 0;
    [[nodiscard]] bool whole() const { return left == right; }
};

/// What a section does in the end.
enum class ending { commits, returns, throws, is_cancelled, poisons, poisons_and_commits };

task<> transact(mutex<pair_of>& m, gate& middle, ending how) {
    auto tx = co_await m.transaction();
    ++tx->left;
    co_await middle.pass();
    if (how == ending::throws) throw std::runtime_error("boom");
    if (how == ending::returns) co_return;
    ++tx->right;
    if (how == ending::poisons || how == ending::poisons_and_commits) tx.poison("broken");
    if (how != ending::poisons) tx.commit();
}

/// A T whose copies throw when they are told to.
struct copied {
    explicit copied(int n) : value(n) {}
    copied(const copied& other) : value(other.value) {
        if (fails) throw std::bad_alloc();
    }
    copied(copied&&) noexcept = default;
    copied& operator=(copied&&) noexcept = default;
    int value;
    static inline bool fails = false;
};

} // namespace

TEST_CASE("S248: a transaction that is committed has happened, whole; one that is left in any "
          "other way has not, and the lock is healthy") {
    for (const ending how :
         {ending::commits, ending::returns, ending::throws, ending::is_cancelled}) {
        mutex<pair_of> m;
        gate middle;
        stepped w;
        auto one = w.spawn(transact(m, middle, how));
        w.settle();
        if (how == ending::is_cancelled) {
            one.cancel();
        } else {
            middle.open();
        }
        w.settle();
        CHECK(one.done());
        CHECK_FALSE(m.is_poisoned());
        CHECK(is_free(w, m));
        CHECK(m.get_mut().whole());
        CHECK(m.get_mut().left == (how == ending::commits ? 1 : 0));
    }
}

TEST_CASE("S248: nobody sees a transaction before it is committed: it is exclusive, and the "
          "data is another object") {
    mutex<pair_of> m;
    stepped w;
    auto story = [](mutex<pair_of>& lock) -> task<> {
        auto tx = co_await lock.transaction();
        const pair_of* const data = &lock.get_mut(sync::ignore_poison);
        CHECK(&*tx != data);
        CHECK_FALSE(lock.try_lock().has_value());
        tx->left = 5;
        CHECK(data->left == 0);
        tx.commit();
        CHECK(data->left == 5);
        CHECK_FALSE(tx.held());
        CHECK_THROWS_AS(tx.commit(), std::logic_error);
        CHECK_THROWS_AS(tx->left, std::logic_error);
        CHECK(lock.try_lock().has_value());
    };
    w.run(story(m));
}

TEST_CASE(
    "S249: poison() in a transaction drops the copy and poisons; a commit() after it is a "
    "logic_error") {
    for (const ending how : {ending::poisons, ending::poisons_and_commits}) {
        mutex<pair_of> m;
        gate middle;
        middle.open();
        stepped w;
        auto one = w.spawn(transact(m, middle, how));
        w.settle();
        auto end = w.end_of(one);
        if (how == ending::poisons) {
            CHECK_NOTHROW(end.value());
        } else {
            CHECK_THROWS_AS(end.value(), std::logic_error);
        }
        REQUIRE(m.is_poisoned());
        CHECK(m.cause().why() == "broken");
        CHECK(m.get_mut(sync::ignore_poison).left == 0);
        auto late = w.spawn(transact(m, middle, ending::commits));
        w.settle();
        auto end_of_late = w.end_of(late);
        CHECK_THROWS_AS(end_of_late.value(), poison_error);
    }
}

TEST_CASE(
    "S250: a copy that throws releases clean, for a transaction and for a lock that rolls "
    "back") {
    copied::fails = true;
    mutex<copied> plain(copied(1));
    mutex<copied, on_cancel::rollback, on_exception::poison> rolling(copied(2));
    stepped w;
    auto begin = [](mutex<copied>& m) -> task<> { auto tx = co_await m.transaction(); };
    auto lock = [](auto& m) -> task<> { auto held = co_await m.lock(); };
    CHECK_THROWS_AS(w.run(begin(plain)), std::bad_alloc);
    CHECK_THROWS_AS(w.run(lock(rolling)), std::bad_alloc);
    CHECK_THROWS_AS(rolling.try_lock(), std::bad_alloc);
    std::thread([&] { CHECK_THROWS_AS(plain.blocking_transaction(), std::bad_alloc); }).join();
    copied::fails = false;
    CHECK_FALSE(plain.is_poisoned());
    CHECK_FALSE(rolling.is_poisoned());
    CHECK(is_free(w, plain));
    CHECK(is_free(w, rolling));
}

TEST_CASE("S248: a transaction that a cancelled waiter was granted goes on to the next") {
    mutex<pair_of> m;
    gate until;
    gate open;
    open.open();
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    auto waits = w.spawn(transact(m, open, ending::commits));
    auto behind = w.spawn(transact(m, open, ending::commits));
    w.settle();
    until.open();
    w.step(); // granted, and has not run
    waits.cancel();
    w.settle();
    CHECK(behind.done());
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S248: blocking_transaction() is one on a plain thread") {
    mutex<pair_of> m;
    std::thread([&] {
        auto tx = m.blocking_transaction();
        tx->left = 1;
        tx->right = 1;
        tx.commit();
        try {
            auto lost = m.blocking_transaction();
            lost->left = 9;
            throw std::runtime_error("boom");
        } catch (const std::runtime_error&) {
        }
    }).join();
    CHECK(m.get_mut().left == 1);
    CHECK_FALSE(m.is_poisoned());
}

} // namespace toadstone::tests
