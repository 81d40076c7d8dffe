// poison<T>: the detection without a lock, for data that one task or thread owns.
#include <toadstone/runtime.hpp>

#include "support/pipe.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <pthread.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

struct lines {
    unsigned taken = 0;
    unsigned stopped = 0;
};

task<> waits_inside(poison<int>& data, lines& at) {
    at.taken = __LINE__ + 1;
    auto access = data.access();
    *access += 1;
    at.stopped = __LINE__ + 1;
    co_await sleep_for(1h);
    *access += 1;
}
task<> waits_behind(poison<int>& data) {
    {
        auto access = data.access();
        *access = 1;
    }
    co_await sleep_for(1h);
}
task<> waits_released(poison<int>& data) {
    auto access = data.access();
    *access = 1;
    access.release();
    co_await sleep_for(1h);
}
task<> waits_marked(poison<int>& data, bool again) {
    auto access = data.access();
    access.mark_consistent();
    if (again) access.mark_inconsistent();
    co_await sleep_for(1h);
}
task<> nested(poison<int>& outer, poison<int>& inner, gate& first, gate& second) {
    auto a = outer.access();
    {
        auto b = inner.access();
        co_await first.pass();
    }
    co_await second.pass();
}
task<> keeps(poison_access<int> access, gate& at) {
    *access = 1;
    co_await at.pass();
}
task<> gives_away(poison<int>& data, gate& at) {
    auto access = data.access();
    co_await keeps(std::move(access), at);
    co_await sleep_for(1h);
}
task<int> fails_to_read(poison<int>& data, int fd) {
    char letter = 0;
    auto access = data.access();
    const int count = co_await read_op(fd, &letter, 1);
    if (count < 0) throw std::system_error(-count, std::generic_category(), "read");
    co_await checkpoint();
    co_return count;
}
void repairs_and_fails(poison<int>& data) {
    auto access = data.access_anyway();
    throw std::runtime_error("repair failed");
}

} // namespace

TEST_CASE("S75: an access that a cancellation interrupts poisons; the next one reports it, "
          "with reason, task, and both places") {
    poison<int> data(0, "ledger");
    stepped w;
    lines at;
    auto handle = w.spawn(waits_inside(data, at), {.name = "accountant"});
    w.settle();
    CHECK_FALSE(data.is_poisoned());
    handle.cancel(cancel_reason::timeout);
    w.settle();
    REQUIRE(data.is_poisoned());
    const poison_cause cause = data.cause();
    CHECK(cause.kind() == poison_kind::cancelled);
    CHECK(cause.reason() == cancel_reason::timeout);
    CHECK(cause.task_id() == handle.id());
    CHECK(cause.task_name() == "accountant");
    CHECK(cause.locked_at().line() == at.taken);
    CHECK(cause.interrupted_at().line() == at.stopped);
    CHECK(cause.attempts() == 0);
    CHECK(std::chrono::system_clock::now() - cause.when() < 1h);
    CHECK_THROWS_WITH(
        data.access(),
        "data 'ledger' poisoned: task " + std::to_string(handle.id()) +
            " 'accountant' was cancelled (timeout) at "
            "poison_test.cpp:" +
            std::to_string(at.stopped) +
            " during the access begun at poison_test.cpp:" + std::to_string(at.taken));
    CHECK_THROWS_AS(data.access(), poison_error);
}

TEST_CASE("S75: an access that an exception leaves poisons, on a plain thread as well") {
    poison<int> data(0);
    try {
        auto access = data.access();
        *access = 1;
        throw std::runtime_error("half-way");
    } catch (const std::runtime_error&) {
        CHECK(data.is_poisoned());
    }
    CHECK(data.cause().kind() == poison_kind::exception);
    CHECK(data.cause().task_id() == 0);
    CHECK_THAT(data.cause().to_string(), Catch::Contains("a plain thread failed"));
}

TEST_CASE("poison: an access that ends normally, or in a return, is clean") {
    poison<int> data(0);
    const auto returns_early = [&](bool early) {
        auto access = data.access();
        if (early) return 1;
        *access = 2;
        return 2;
    };
    CHECK(returns_early(true) == 1);
    CHECK(returns_early(false) == 2);
    CHECK_FALSE(data.is_poisoned());
    CHECK_FALSE(data.cause());
    CHECK(data.cause().to_string() == "not poisoned");
}

TEST_CASE("poison: an exception that is caught inside the access does not poison") {
    poison<int> data(0);
    {
        auto access = data.access();
        try {
            throw std::runtime_error("handled");
        } catch (const std::runtime_error&) {
            *access = 3;
        }
    }
    CHECK(*data.access() == 3);
}

TEST_CASE("poison: a cancellation behind the access, or after release(), does not poison") {
    const bool released = GENERATE(false, true);
    poison<int> data(0);
    stepped w;
    auto handle = w.spawn(released ? waits_released(data) : waits_behind(data));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(handle.done());
    CHECK(*data.access() == 1);
}

TEST_CASE(
    "poison: mark_consistent() makes leaving early harmless, mark_inconsistent() undoes") {
    const bool again = GENERATE(false, true);
    poison<int> data(0);
    stepped w;
    auto handle = w.spawn(waits_marked(data, again));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(handle.done());
    CHECK(data.is_poisoned() == again);
}

TEST_CASE("S28: of nested accesses those that are open are poisoned") {
    const bool in_both = GENERATE(false, true);
    poison<int> outer(0);
    poison<int> inner(0);
    gate first;
    gate second;
    stepped w;
    auto handle = w.spawn(nested(outer, inner, first, second));
    w.settle();
    if (!in_both) first.open();
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(outer.is_poisoned());
    CHECK(inner.is_poisoned() == in_both);
}

TEST_CASE("S30: an access moved into a child obeys the child's end, and nothing later") {
    const bool child_ends = GENERATE(false, true);
    poison<int> data(0);
    gate at;
    stepped w;
    auto handle = w.spawn(gives_away(data, at));
    w.settle();
    if (child_ends) at.open();
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(handle.done());
    CHECK(data.is_poisoned() == !child_ends);
}

TEST_CASE("S21: an operation that fails while a request is pending: the exception counts, "
          "and the cause says that a cancellation was pending") {
    poison<int> data(0);
    stepped w;
    auto handle = w.spawn(fails_to_read(data, -1));
    w.step(); // EBADF is there, the task has not run
    handle.cancel();
    w.settle();
    REQUIRE(data.is_poisoned());
    CHECK(data.cause().kind() == poison_kind::exception);
    CHECK(data.cause().cancel_pending());
    CHECK_THROWS_AS(std::rethrow_exception(data.cause().exception()), std::system_error);
    const auto end = w.end_of(handle);
    REQUIRE(end.has_exception()); // not cancelled as well
    CHECK_THROWS_WITH(end.value(), Catch::Contains("Bad file descriptor"));
}

TEST_CASE(
    "poison: access_anyway() shows the damage and leaves the flag; clear_poison() ends it") {
    poison<int> data(7);
    try {
        auto access = data.access();
        *access = 8;
        throw std::runtime_error("half-way");
    } catch (const std::runtime_error&) {
        static_cast<void>(0);
    }
    {
        auto access = data.access_anyway();
        CHECK(*access == 8);
        *access = 7;
    }
    CHECK(data.is_poisoned());
    {
        auto access = data.access_anyway();
        access.clear_poison();
    }
    CHECK(*data.access() == 7);
}

TEST_CASE("poison: the holder may say so, with a reason or without one") {
    poison<int> data(0, "stock");
    {
        auto access = data.access();
        access.poison_now("the totals differ");
    }
    CHECK(data.cause().kind() == poison_kind::declared);
    CHECK(data.cause().why() == "the totals differ");
    CHECK_THROWS_WITH(data.access(), Catch::Contains("the totals differ"));
    poison<int> other(0);
    {
        auto access = other.access();
        access.poison_now({});
    }
    CHECK(other.cause().why() == "no reason given");
}

TEST_CASE("S52: a repair that fails chains the new cause to the old and counts the attempt") {
    poison<int> data(0);
    for (int i = 0; i < 3; ++i) CHECK_THROWS(repairs_and_fails(data));
    const poison_cause cause = data.cause();
    CHECK(cause.attempts() == 2);
    CHECK(cause.previous().attempts() == 1);
    CHECK(cause.previous().previous().attempts() == 0);
    CHECK_FALSE(cause.previous().previous().previous());
    CHECK(cause.first() == cause.previous().previous());
    CHECK_THAT(cause.to_string(), Catch::Contains("2 failed repair(s)"));
}

TEST_CASE("contract: access through a released or moved poison_access is an error") {
    poison<int> data(4);
    auto access = data.access();
    access.release();
    CHECK_THROWS_AS(*access = 5, std::logic_error);
    CHECK_THROWS_AS(access.poison_now("late"), std::logic_error);
    CHECK_THROWS_AS(access.clear_poison(), std::logic_error);
    CHECK_FALSE(data.is_poisoned());
    auto first = data.access();
    auto second = std::move(first);
    CHECK_THROWS_AS(*first = 5, std::logic_error);
    CHECK(*second == 4);
}

TEST_CASE("S379: a recovery of a poison: completed, dropped, torn, of healthy data; on a plain "
          "thread and in a task") {
    poison<int> data(0, "ledger");
    CHECK(data.name() == "ledger");
    try {
        auto access = data.access();
        throw std::runtime_error("boom");
    } catch (const std::runtime_error&) {
    }
    REQUIRE(data.is_poisoned());
    CHECK_THROWS_AS(data.view(), poison_error);
    CHECK_THROWS_AS(std::move(data).into_inner(), poison_error);
    {
        auto repair = data.recover();
        CHECK(repair.needed());
        CHECK(repair.cause().kind() == poison_kind::exception);
    }
    CHECK(data.cause().attempts() == 1);
    CHECK(data.cause().why() == "the repair was not completed");
    try {
        auto repair = data.recover();
        throw std::runtime_error("again");
    } catch (const std::runtime_error&) {
    }
    CHECK(data.cause().attempts() == 2);
    CHECK(data.cause().kind() == poison_kind::exception);
    stepped w;
    auto torn = w.spawn([](poison<int>& of) -> task<> {
        auto repair = of.recover();
        co_await sleep_for(1h);
    }(data));
    w.settle();
    torn.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(data.cause().attempts() == 3);
    CHECK(data.cause().kind() == poison_kind::cancelled);
    {
        auto repair = data.recover();
        auto moved = std::move(repair);
        *moved = 5;
        auto access = moved.complete();
        *access += 1;
        CHECK_FALSE(data.is_poisoned());
        CHECK_THROWS_AS(*moved, std::logic_error);
        CHECK_THROWS_AS(moved.complete(), std::logic_error);
    }
    CHECK(data.view() == 6);
    {
        auto repair = data.recover();
        CHECK_FALSE(repair.needed());
    }
    CHECK_FALSE(data.is_poisoned());
    CHECK(std::move(data).into_inner() == 6);
}

namespace {

extern "C" void* leaves_with_access(void* argument) {
    static_cast<poison<int>*>(argument)->with_access([](int&) { pthread_exit(nullptr); });
    return nullptr;
}

} // namespace

TEST_CASE("S379: with_access() sees a thread that leaves by pthread_exit()") {
    poison<int> data(1);
    pthread_t thread{};
    REQUIRE(pthread_create(&thread, nullptr, leaves_with_access, &data) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
    REQUIRE(data.is_poisoned());
    CHECK(data.cause().kind() == poison_kind::abandoned);
}

TEST_CASE("S379: with_access() poisons unless the function returned") {
    poison<int> data(1);
    CHECK(data.with_access([](int& value) { return ++value; }) == 2);
    data.with_access([](int& value) { ++value; });
    CHECK(data.view() == 3);
    const auto fails = [](int&) { throw std::runtime_error("boom"); };
    CHECK_THROWS_AS(data.with_access(fails), std::runtime_error);
    CHECK(data.is_poisoned());
    CHECK_THROWS_AS(data.with_access([](int&) {}), poison_error);
}
