// The members of guard: access, release, poisoning by hand, marks of consistency, narrowing.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;

struct account {
    std::string owner = "nobody";
    int balance = 0;
};

} // namespace

TEST_CASE("guard: it gives the data, and an unlocked or moved-from one holds nothing") {
    mutex<account> m;
    auto held = m.blocking_lock();
    held->balance = 5;
    (*held).owner = "Ada";
    CHECK(held.held());
    CHECK(static_cast<bool>(held));
    auto taken = std::move(held);
    CHECK_FALSE(held.held());
    CHECK(taken.held());
    CHECK(taken->owner == "Ada");
    taken.unlock();
    CHECK_FALSE(static_cast<bool>(taken));
    taken.unlock(); // nothing is held, nothing happens
    CHECK(m.get_mut().balance == 5);
}

TEST_CASE("guard: it is move-only, and neither its release nor its end can throw") {
    using guard = sync::guard<int>;
    STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<guard>);
    STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<guard>);
    STATIC_REQUIRE(std::is_nothrow_move_constructible_v<guard>);
    STATIC_REQUIRE(std::is_nothrow_move_assignable_v<guard>);
    STATIC_REQUIRE(std::is_nothrow_destructible_v<guard>);
    STATIC_REQUIRE(noexcept(std::declval<guard&>().unlock()));
    STATIC_REQUIRE(std::is_same_v<mutex<int>::guard, guard>);
    STATIC_REQUIRE(std::is_same_v<mutex<int>::recovery, sync::recovery<int>>);
    STATIC_REQUIRE(std::is_same_v<mutex<int>::value_type, int>);
}

namespace {

struct counter {
    int value = 0;
    int total = 0;
    int& next() {
        ++value;
        return total;
    }
    int twice() const { return 2 * value; }
    task<int> later() {
        co_await yield_now();
        co_return ++value;
    }
};

} // namespace

TEST_CASE("guard: members of the data do as functions, in map(), with_lock() and its twin") {
    mutex<counter> m;
    stepped w;
    auto body = [](mutex<counter>& lock) -> task<int> {
        const int first = co_await lock.with_lock(&counter::later);
        const int second = co_await lock.with_lock(&counter::twice);
        co_return 10 * first + second;
    };
    CHECK(w.run(body(m)) == 12);
    CHECK(m.blocking_with_lock(&counter::twice) == 2);
    CHECK(m.blocking_with_lock(&counter::value) == 1);
    auto held = m.blocking_lock();
    *held.map(&counter::next) = 5;
    CHECK_FALSE(held.held());
    CHECK(m.get_mut().total == 5);
}

TEST_CASE("S18: poison(why) says that the data is broken, and everybody hears the reason") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        held.poison("the index is behind");
        *held = 1; // it still holds the lock
        co_await yield_now();
    };
    auto holder = w.spawn(body(m), {.name = "indexer"});
    w.settle();
    CHECK(w.end_of(holder).has_value());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::declared);
    CHECK(m.cause().why() == "the index is behind");
    CHECK(m.cause().task_name() == "indexer");
    CHECK(w.run(why_not(m))
              .find("mutex poisoned: task " + std::to_string(holder.id()) +
                    " 'indexer' declared the data broken (the index is behind) "
                    "holding the lock taken at guard_test.cpp:") == 0);
}

TEST_CASE("guard: poison() without a reason is a declaration all the same") {
    mutex<int> m;
    auto held = m.blocking_lock();
    held.poison("");
    CHECK(held.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::declared);
    CHECK(m.cause().why() == "no reason given");
}

TEST_CASE("guard: clear_poison() says that the data is right again") {
    mutex<int> m;
    stepped w;
    {
        auto held = m.blocking_lock();
        held.poison("a moment of doubt");
        CHECK(held.is_poisoned());
        held.clear_poison();
        CHECK_FALSE(held.is_poisoned());
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK_FALSE(m.cause());
    CHECK(is_free(w, m));
}

TEST_CASE(
    "S19: move-assigning onto a guard that holds releases the old lock, cleanly in normal "
    "control flow") {
    mutex<int> a;
    mutex<int> b;
    auto held = a.blocking_lock();
    held = b.blocking_lock();
    CHECK(a.try_lock());
    CHECK_FALSE(a.is_poisoned());
    CHECK_FALSE(b.try_lock());
    held.unlock();
    CHECK(b.try_lock());
}

TEST_CASE("S19: move-assigning onto a guard that holds poisons the old lock when something "
          "unwinds") {
    mutex<int> a;
    mutex<int> b;
    auto in_a = a.blocking_lock();
    {
        struct swaps_at_its_end {
            sync::guard<int>& held;
            mutex<int>& other;
            ~swaps_at_its_end() { held = other.blocking_lock(); }
        };
        try {
            const swaps_at_its_end swaps{in_a, b};
            throw std::runtime_error("boom");
        } catch (const std::runtime_error&) {
        }
    }
    CHECK(a.is_poisoned());
    CHECK_FALSE(b.is_poisoned());
    in_a.unlock();
    CHECK(b.try_lock());
}

TEST_CASE("S19: assigning a guard to itself keeps the lock") {
    mutex<int> m;
    auto held = m.blocking_lock();
    auto& same = held;
    held = std::move(same);
    CHECK(held.held());
    CHECK_FALSE(m.try_lock());
}

TEST_CASE("S19: the end of a moved-from guard during unwinding does nothing") {
    mutex<int> m;
    std::optional<sync::guard<int>> kept;
    try {
        auto held = m.blocking_lock();
        kept.emplace(std::move(held));
        throw std::runtime_error("boom");
    } catch (const std::runtime_error&) {
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK_FALSE(m.try_lock()); // still held, by the other guard
    kept.reset();
    CHECK(m.try_lock());
}

TEST_CASE("guard: map() narrows it to a member, and the lock is released with the new guard") {
    mutex<account> m;
    {
        auto held = m.blocking_lock();
        auto balance = held.map(&account::balance);
        STATIC_REQUIRE(std::is_same_v<decltype(balance), sync::guard<int>>);
        CHECK_FALSE(held.held());
        *balance = 9;
        CHECK_FALSE(m.try_lock());
    }
    CHECK(m.get_mut().balance == 9);
}

TEST_CASE("guard: map() takes a function, also from one narrowed guard to the next") {
    mutex<account> m;
    auto held = m.blocking_lock();
    auto owner = held.map([](account& whole) -> std::string& { return whole.owner; });
    auto first = owner.map([](std::string& text) -> char& { return text.front(); });
    *first = 'N';
    first.unlock();
    CHECK(m.get_mut().owner == "Nobody");
}

TEST_CASE("guard: a narrowed guard poisons the whole mutex by the same rule") {
    mutex<account> m;
    gate until;
    stepped w;
    auto body = [](mutex<account>& lock, gate& at) -> task<> {
        auto held = co_await lock.lock();
        auto balance = held.map(&account::balance);
        co_await at.pass();
    };
    auto holder = w.spawn(body(m, until));
    w.settle();
    holder.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
}

namespace {

/// Waits at the first gate after mark_consistent(), at the second after mark_inconsistent().
task<> read_then_change(mutex<account>& m, gate& reading, gate& changing) {
    auto held = co_await m.lock();
    held.mark_consistent();
    co_await reading.pass();
    held.mark_inconsistent();
    held->balance += 1;
    co_await changing.pass();
    held->balance -= 1;
}

} // namespace

TEST_CASE("S82: after mark_consistent() an interruption leaves the lock clean") {
    mutex<account> m;
    gate reading;
    gate changing;
    stepped w;
    auto client = w.spawn(read_then_change(m, reading, changing));
    w.settle();
    client.cancel();
    w.settle();
    CHECK(w.end_of(client).is_cancelled());
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S82: after mark_inconsistent() the same interruption poisons") {
    mutex<account> m;
    gate reading;
    gate changing;
    stepped w;
    auto client = w.spawn(read_then_change(m, reading, changing));
    w.settle();
    reading.open();
    w.settle();
    client.cancel();
    w.settle();
    CHECK(w.end_of(client).is_cancelled());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
    CHECK(m.get_mut(sync::ignore_poison).balance == 1);
}

TEST_CASE(
    "S82: mark_consistent() holds for exceptions too, and goes on with the guard when it is "
    "moved or narrowed") {
    mutex<account> m;
    const bool narrow = GENERATE(false, true);
    try {
        auto held = m.blocking_lock();
        held.mark_consistent();
        if (narrow) {
            auto part = held.map(&account::balance);
            throw std::runtime_error("boom");
        }
        auto moved = std::move(held);
        throw std::runtime_error("boom");
    } catch (const std::runtime_error&) {
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock());
}

TEST_CASE("S49: unlock, poison, map and the end of a guard are no cancellation points") {
    mutex<account> m;
    mutex<int> other;
    std::string got_to;
    stepped w;
    auto body = [](mutex<account>& lock, mutex<int>& second, join_handle<void>& self,
                   std::string& at) -> task<> {
        auto held = co_await lock.lock();
        auto more = co_await second.lock();
        self.cancel();
        more.poison("for a moment");
        more.clear_poison();
        more.unlock();
        at += "unlocked ";
        {
            auto part = held.map(&account::balance);
            *part = 3;
        }
        at += "ended ";
        auto tried = second.try_lock();
        at += tried ? "tried" : "";
        tried.reset();
        co_await checkpoint();
        at += " too far";
    };
    join_handle<void> self;
    self = w.spawn(body(m, other, self, got_to));
    w.settle();
    CHECK(w.end_of(self).is_cancelled());
    CHECK(got_to == "unlocked ended tried");
    CHECK_FALSE(m.is_poisoned());
    CHECK_FALSE(other.is_poisoned());
}

} // namespace toadstone::tests
