// lock_all(): several locks at once.
#include <toadstone/sync/lock_all.hpp>
#include <toadstone/sync/shared_mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

constexpr unsigned transfers_lock = __LINE__ + 2;
task<> transfers(lock& from, lock& to, int amount, gate* inside = nullptr) {
    auto held = co_await sync::lock_all(from, to);
    auto& [giver, taker] = held;
    *giver -= amount;
    if (inside) co_await inside->pass();
    *taker += amount;
}

} // namespace

TEST_CASE("S369: all are held together, in the order of the arguments, and let go together") {
    lock a(10);
    lock b(20);
    sync::shared_mutex<std::string> c("c");
    stepped w;
    auto works = [](lock& one, lock& two, sync::shared_mutex<std::string>& three) -> task<> {
        auto held = co_await sync::lock_all(two, three, one);
        CHECK(*held.get<0>() == 20);
        CHECK(*held.get<1>() == "c");
        CHECK(*held.get<2>() == 10);
        CHECK_FALSE(one.try_lock().has_value());
        CHECK_FALSE(two.try_lock().has_value());
        CHECK_FALSE(three.try_read().has_value());
        held.unlock();
        CHECK_FALSE(held.get<0>().held());
        CHECK(one.try_lock().has_value());
        CHECK(two.try_lock().has_value());
        CHECK(three.try_read().has_value());
    };
    w.run(works(a, b, c));
    w.run(transfers(a, b, 3));
    CHECK(a.get_mut() == 7);
    CHECK(b.get_mut() == 23);
}

TEST_CASE("S370: whoever takes them in whatever order never waits for ever") {
    lock locks[3];
    int rounds = 0;
    {
        runtime r({.workers = 2});
        auto party = [&](std::size_t first, std::size_t second) -> task<> {
            for (int i = 0; i < 200; ++i) {
                auto held = co_await sync::lock_all(locks[first], locks[second]);
                co_await yield_now();
                ++*held.get<0>();
                ++*held.get<1>();
            }
        };
        auto all = [&]() -> task<> {
            std::vector<join_handle<void>> parties;
            for (std::size_t i = 0; i < 3; ++i) {
                for (std::size_t j = 0; j < 3; ++j) {
                    if (i == j) continue;
                    parties.push_back(spawn(party(i, j), {.where = placement::worker(
                                                              static_cast<int>(i + j) % 2)}));
                }
            }
            for (auto& each : parties) {
                co_await each;
                ++rounds;
            }
        };
        r.block_on(all());
    }
    CHECK(rounds == 6);
    for (lock& each : locks) CHECK(each.get_mut() == 4 * 200);
}

TEST_CASE(
    "S371: while it waits it poisons nothing and holds nothing back: cancelled, in a limit "
    "of time, when one is poisoned, when one is held, when one is given twice") {
    lock locks[2];
    lock& first = &locks[0] < &locks[1] ? locks[0] : locks[1];
    lock& second = &first == &locks[0] ? locks[1] : locks[0];
    gate until;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(second, until, entered, 1));
    w.settle();
    auto waits = w.spawn(transfers(second, first, 1));
    w.settle();
    CHECK_FALSE(first.try_lock().has_value()); // it has that one
    waits.cancel();
    w.settle();
    CHECK(w.end_of(waits).is_cancelled());
    CHECK_FALSE(first.is_poisoned());
    CHECK(first.try_lock().has_value());

    auto late = w.spawn([](lock& one, lock& two) -> task<bool> {
        auto held = co_await try_with_timeout(10ms, sync::lock_all(one, two));
        co_return held.has_value();
    }(first, second));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(w.end_of(late).value());
    CHECK_FALSE(first.is_poisoned());
    CHECK(first.try_lock().has_value());

    auto granted = w.spawn(transfers(second, first, 1));
    w.settle();
    until.open();
    w.step(); // the holder ends; the second is granted, and has not been taken
    granted.cancel();
    w.settle();
    CHECK(w.end_of(granted).is_cancelled());
    CHECK_FALSE(first.is_poisoned());
    CHECK_FALSE(second.is_poisoned());
    CHECK(second.try_lock().has_value());

    auto twice = [](lock& one) -> task<> { auto held = co_await sync::lock_all(one, one); };
    CHECK_THROWS_AS(w.run(twice(first)), sync::would_deadlock);
    auto again = [](lock& one, lock& two) -> task<> {
        auto before = co_await two.lock();
        try {
            auto held = co_await sync::lock_all(one, two);
        } catch (const sync::would_deadlock&) {
            CHECK(one.try_lock().has_value());
            before.unlock();
            throw;
        }
    };
    CHECK_THROWS_AS(w.run(again(first, second)), sync::would_deadlock);
    CHECK_FALSE(second.is_poisoned());

    w.run(break_by_exception(second));
    CHECK_THROWS_AS(w.run(transfers(first, second, 1)), poison_error);
    CHECK_FALSE(first.is_poisoned());
    CHECK(first.try_lock().has_value());
}

TEST_CASE("S371: a result that nobody fetches goes back clean") {
    lock a;
    lock b;
    stepped w;
    auto races = [](lock& one, lock& two) -> task<> {
        auto ready = []() -> task<int> { co_return 1; };
        auto won = co_await when_any(ready(), sync::lock_all(one, two));
        CHECK(won.index == 0);
    };
    w.run(races(a, b));
    CHECK(a.try_lock().has_value());
    CHECK(b.try_lock().has_value());
}

TEST_CASE("S372: a section over several that is interrupted poisons each") {
    lock a(10, "a");
    lock b(0, "b");
    gate until;
    stepped w;
    auto one = w.spawn(transfers(a, b, 3, &until));
    w.settle();
    one.cancel();
    w.settle();
    CHECK(a.is_poisoned());
    CHECK(b.is_poisoned());
    CHECK(a.cause().locked_at().file_name() == b.cause().locked_at().file_name());
    CHECK(a.cause().locked_at().line() == transfers_lock);
}

TEST_CASE("S372: the policies of each count; a copy that throws leaves all free") {
    struct data {
        data() = default;
        explicit data(bool fails) : throws(fails) {}
        data(const data& other) : throws(other.throws) {
            if (throws) throw std::runtime_error("copy");
        }
        data(data&&) noexcept = default;
        data& operator=(const data&) = default;
        data& operator=(data&&) noexcept = default;
        bool throws = false;
        int value = 0;
    };
    sync::mutex<data, sync::on_cancel::rollback> rolls;
    sync::mutex<data, sync::on_cancel::rollback> fails(data(true));
    lock plain;
    stepped w;
    auto tries = [](auto& one, auto& two, auto& three) -> task<> {
        auto held = co_await sync::lock_all(one, two, three);
    };
    CHECK_THROWS_AS(w.run(tries(plain, rolls, fails)), std::runtime_error);
    CHECK_FALSE(plain.is_poisoned());
    CHECK_FALSE(rolls.is_poisoned());
    CHECK_FALSE(fails.is_poisoned());
    CHECK(plain.try_lock().has_value());
    CHECK(rolls.try_lock().has_value());
    CHECK_FALSE(fails.is_locked());
    auto changes = [](auto& one, auto& two) -> task<> {
        auto held = co_await sync::lock_all(one, two);
        held.template get<0>()->value = 5;
        *held.template get<1>() = 5;
    };
    w.run(changes(rolls, plain));
    CHECK(rolls.get_mut().value == 5);
    gate until;
    auto stops = w.spawn([](auto& one, auto& two, gate& at) -> task<> {
        auto held = co_await sync::lock_all(one, two);
        held.template get<0>()->value = 6;
        co_await at.pass();
    }(rolls, plain, until));
    w.settle();
    stops.cancel();
    w.settle();
    CHECK(rolls.get_mut().value == 5);
    CHECK(plain.is_poisoned());
}

} // namespace toadstone::tests
