// once_cell: a value that is made once.
#include <toadstone/sync/once_cell.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using sync::once_cell;

task<int> make(gate& until, int value, int& made) {
    co_await until.pass();
    ++made;
    co_return value;
}

task<int> value_of(once_cell<int>& cell, gate& until, int value, int& made) {
    auto fn = [&] { return make(until, value, made); };
    int& found = co_await cell.get_or_init(fn);
    co_return found;
}

} // namespace

TEST_CASE("S271: one initialises, the others wait, everybody gets the one value") {
    once_cell<int> cell;
    gate until;
    int made = 0;
    stepped w;
    CHECK(cell.get() == nullptr);
    auto one = w.spawn(value_of(cell, until, 1, made));
    auto two = w.spawn(value_of(cell, until, 2, made));
    w.settle();
    CHECK_FALSE(cell.try_set(3));
    until.open();
    w.settle();
    CHECK(w.end_of(one).value() == 1);
    CHECK(w.end_of(two).value() == 1);
    CHECK(made == 1);
    REQUIRE(cell.get() != nullptr);
    CHECK(*cell.get() == 1);
    CHECK_FALSE(cell.try_set(3));
}

TEST_CASE("S272: an initialiser that fails, or is cancelled, lets the next caller try") {
    for (const bool cancelled : {true, false}) {
        once_cell<int> cell;
        gate first;
        gate second;
        int made = 0;
        stepped w;
        auto one = w.spawn([](once_cell<int>& of, gate& at) -> task<int> {
            auto fn = [&]() -> task<int> {
                co_await at.pass();
                throw std::runtime_error("no value");
            };
            co_return co_await of.get_or_init(fn);
        }(cell, first));
        auto two = w.spawn(value_of(cell, second, 2, made));
        w.settle();
        if (cancelled) {
            one.cancel();
        } else {
            first.open();
        }
        w.settle();
        auto end = w.end_of(one);
        CHECK(end.is_cancelled() == cancelled);
        CHECK(cell.get() == nullptr);
        second.open();
        w.settle();
        CHECK(w.end_of(two).value() == 2);
        CHECK(made == 1);
    }
}

TEST_CASE("S271: plain functions, try_set(), and a cell that asks for itself") {
    once_cell<std::string> cell("greeting");
    stepped w;
    auto plain = [](once_cell<std::string>& of) -> task<std::string> {
        auto fn = [] { return std::string("hello"); };
        co_return co_await of.get_or_init(fn);
    };
    CHECK(w.run(plain(cell)) == "hello");
    once_cell<int> set;
    CHECK(set.try_set(4));
    CHECK(*set.get() == 4);
    once_cell<int> own;
    auto asks = [](once_cell<int>& of) -> task<int> {
        auto fn = [&]() -> task<int> {
            auto inner = [] { return 1; };
            co_return co_await of.get_or_init(inner);
        };
        co_return co_await of.get_or_init(fn);
    };
    CHECK_THROWS_AS(w.run(asks(own)), sync::would_deadlock);
    CHECK(own.get() == nullptr);
}

TEST_CASE("S271: threads: one makes it") {
    for (int round = 0; round < 100; ++round) {
        once_cell<int> cell;
        std::atomic<int> made{0};
        std::array<int, 3> got{};
        std::vector<std::thread> threads;
        for (auto& mine : got) {
            threads.emplace_back([&] {
                mine = cell.blocking_get_or_init([&] { return 7 + made.fetch_add(1); });
            });
        }
        for (auto& each : threads) each.join();
        CHECK(got == std::array{7, 7, 7});
        CHECK(made.load() == 1);
    }
}

} // namespace toadstone::tests
