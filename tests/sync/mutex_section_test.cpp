// Inside the section: what poisons a mutex, what does not, and what the cause tells.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <string>
#include <thread>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

constexpr unsigned line_now(std::source_location here = std::source_location::current()) {
    return here.line();
}

/// Where a section was entered, and where it waits.
struct places {
    unsigned locked = 0;
    unsigned waits = 0;
};

task<> wait_inside(mutex<int>& m, gate& until, places& at) {
    at.locked = line_now() + 1;
    auto held = co_await m.lock();
    *held = 1;
    at.waits = line_now() + 1;
    co_await until.pass();
    *held = 2;
}

std::string place(unsigned line) {
    return "mutex_section_test.cpp:" + std::to_string(line);
}

} // namespace

TEST_CASE("S14: a cancellation inside the section poisons, and the cause says who, why and "
          "where") {
    mutex<int> m;
    gate until;
    places at;
    stepped w;
    const auto start = std::chrono::system_clock::now();
    auto holder = w.spawn(wait_inside(m, until, at), {.name = "conn 127.0.0.1:50412"});
    w.settle();
    holder.cancel(cancel_reason::timeout);
    w.settle();
    REQUIRE(m.is_poisoned());
    const poison_cause cause = m.cause();
    CHECK(cause.kind() == poison_kind::cancelled);
    CHECK(cause.reason() == cancel_reason::timeout);
    CHECK(cause.task_id() == holder.id());
    CHECK(cause.task_name() == "conn 127.0.0.1:50412");
    CHECK(cause.locked_at().line() == at.locked);
    CHECK(cause.interrupted_at().line() == at.waits);
    CHECK_FALSE(cause.exception());
    CHECK_FALSE(cause.previous());
    CHECK(cause.attempts() == 0);
    CHECK(cause.when() >= start);
    CHECK(cause.when() <= std::chrono::system_clock::now());
    CHECK(w.end_of(holder).reason() == cancel_reason::timeout);
}

TEST_CASE("S14: what() of the next lock() tells the whole story in one line") {
    mutex<int> m;
    gate until;
    places at;
    stepped w;
    auto holder = w.spawn(wait_inside(m, until, at), {.name = "conn 127.0.0.1:50412"});
    w.settle();
    holder.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(w.run(why_not(m)) == "mutex poisoned: task " + std::to_string(holder.id()) +
                                   " 'conn 127.0.0.1:50412' was cancelled (timeout) at " +
                                   place(at.waits) + " holding the lock taken at " +
                                   place(at.locked));
}

TEST_CASE(
    "S14: the names of the mutex and of the task are in the story, or left out when there "
    "are none") {
    mutex<int> accounts(0, "accounts");
    gate until;
    places at;
    stepped w;
    auto holder = w.spawn(wait_inside(accounts, until, at));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(w.run(why_not(accounts)) == "mutex 'accounts' poisoned: task " +
                                          std::to_string(holder.id()) +
                                          " was cancelled (requested) at " + place(at.waits) +
                                          " holding the lock taken at " + place(at.locked));
}

TEST_CASE("S14: the half-done change stays as it was") {
    mutex<int> m(0);
    gate until;
    places at;
    stepped w;
    auto holder = w.spawn(wait_inside(m, until, at));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(m.get_mut(sync::ignore_poison) == 1);
}

TEST_CASE("S14: the co_await that counts is the innermost one, in whatever function it is") {
    mutex<int> m;
    gate until;
    places inner;
    stepped w;
    auto leaf = [](gate& at, places& noted) -> task<> {
        noted.waits = line_now() + 1;
        co_await at.pass();
    };
    auto outer = [](mutex<int>& lock, task<> inside) -> task<> {
        auto held = co_await lock.lock();
        co_await std::move(inside);
    };
    auto holder = w.spawn(outer(m, leaf(until, inner)));
    w.settle();
    holder.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().interrupted_at().line() == inner.waits);
}

TEST_CASE("S14: of a wait for another lock, the place is where that was asked for") {
    mutex<int> m;
    mutex<int> wanted;
    gate until;
    places at;
    stepped w;
    auto owner = w.spawn(wait_inside(wanted, until, at));
    auto nested = [](mutex<int>& first, mutex<int>& second, places& noted) -> task<> {
        auto held = co_await first.lock();
        const auto change = [](int& value) { ++value; };
        noted.waits = line_now() + 1;
        co_await second.with_lock(change);
    };
    w.settle();
    auto holder = w.spawn(nested(m, wanted, at));
    w.settle();
    holder.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string().find(place(at.waits)) != std::string::npos);
}

namespace {

task<> fail_inside(mutex<int>& m, places& at) {
    at.locked = line_now() + 1;
    auto held = co_await m.lock();
    throw std::runtime_error("no funds");
}

} // namespace

TEST_CASE("S15: an exception that leaves the section poisons, and the cause has it") {
    mutex<int> m(0, "accounts");
    places at;
    stepped w;
    auto holder = w.spawn(fail_inside(m, at), {.name = "payer"});
    w.settle();
    const auto end = w.end_of(holder);
    CHECK(end.has_exception());
    REQUIRE(m.is_poisoned());
    const poison_cause cause = m.cause();
    CHECK(cause.kind() == poison_kind::exception);
    CHECK_FALSE(cause.cancel_pending());
    CHECK(cause.interrupted_at().line() == 0);
    REQUIRE(cause.exception());
    CHECK_THROWS_WITH(std::rethrow_exception(cause.exception()), "no funds");
    CHECK(cause.exception() == end.exception());
    CHECK(w.run(why_not(m)) == "mutex 'accounts' poisoned: task " +
                                   std::to_string(holder.id()) +
                                   " 'payer' failed with std::runtime_error: no funds holding "
                                   "the lock taken at " +
                                   place(at.locked));
}

TEST_CASE("S15: an exception that passes several frames on its way out poisons where it passed "
          "the guard") {
    mutex<int> m;
    stepped w;
    auto thrower = []() -> task<> {
        co_await yield_now();
        throw std::runtime_error("deep");
    };
    auto middle = [](mutex<int>& lock, task<> inside) -> task<> {
        auto held = co_await lock.lock();
        co_await std::move(inside);
    };
    auto top = [](task<> inside) -> task<> {
        try {
            co_await std::move(inside);
        } catch (const std::runtime_error&) {
        }
    };
    w.run(top(middle(m, thrower())));
    REQUIRE(m.is_poisoned());
    REQUIRE(m.cause().exception());
    CHECK_THROWS_WITH(std::rethrow_exception(m.cause().exception()), "deep");
}

TEST_CASE("S16: an exception that is caught inside the section does not poison") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        try {
            throw std::runtime_error("handled");
        } catch (const std::runtime_error&) {
            *held = 1;
        }
        co_await yield_now();
    };
    w.run(body(m));
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.get_mut() == 1);
}

TEST_CASE("S17: an exception that is swallowed outside the guard's scope has poisoned all the "
          "same") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<> {
        try {
            auto held = co_await lock.lock();
            throw std::runtime_error("swallowed");
        } catch (...) {
        }
        co_await yield_now();
    };
    w.run(body(m));
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
}

TEST_CASE(
    "S17: an exception that was swallowed outside the section is not mistaken for one that "
    "comes after a co_await or another section") {
    mutex<int> m;
    mutex<int> other;
    stepped w;
    auto body = [](mutex<int>& lock, mutex<int>& second, bool waits) -> task<> {
        try {
            auto held = co_await lock.lock();
            throw std::runtime_error("the culprit");
        } catch (const std::runtime_error&) {
        }
        if (waits) {
            co_await yield_now();
        } else {
            auto held = second.try_lock();
        }
        throw std::runtime_error("somebody else");
    };
    auto holder = w.spawn(body(m, other, GENERATE(true, false)));
    CHECK(w.end_of(holder).has_exception());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string().find("somebody else") == std::string::npos);
}

TEST_CASE(
    "S17: a section that fails inside a handler is not blamed on the exception that is being "
    "handled") {
    mutex<int> m;
    mutex<int> other;
    try {
        throw std::runtime_error("being handled");
    } catch (const std::runtime_error&) {
        try {
            auto held = m.try_lock();
            throw std::runtime_error("the culprit");
        } catch (const std::runtime_error&) {
        }
        auto held = other.try_lock();
    }
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string().find("being handled") == std::string::npos);
}

TEST_CASE("S17: a handler that takes another lock makes the exception known that it handles") {
    mutex<int> m;
    mutex<int> other;
    try {
        auto held = m.try_lock();
        throw std::runtime_error("the culprit");
    } catch (const std::runtime_error&) {
        auto held = other.try_lock();
    }
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string().find("std::runtime_error: the culprit") != std::string::npos);
}

TEST_CASE("S18: returning early or with an error value while holding does not poison") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock, int how) -> task<int> {
        auto held = co_await lock.lock();
        if (how == 0) co_return -5; // an error as a value
        co_await yield_now();
        if (how == 1) co_return 1;
        *held = 7;
        co_return 2;
    };
    CHECK(w.run(body(m, 0)) == -5);
    CHECK(w.run(body(m, 1)) == 1);
    CHECK(w.run(body(m, 2)) == 2);
    CHECK(m.get_mut() == 7);
}

TEST_CASE("S19: a cancellation after unlock() does not poison") {
    mutex<int> m;
    gate until;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at) -> task<> {
        auto held = co_await lock.lock();
        held.unlock();
        co_await at.pass();
    };
    auto holder = w.spawn(body(m, until));
    w.settle();
    CHECK(m.try_lock());
    holder.cancel();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE(
    "S23: catch (...) around the co_await in the section does not see the cancellation, so "
    "its rollback does not run and the mutex is poisoned") {
    mutex<int> m(5);
    gate until;
    bool rolled_back = false;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at, bool& rollback) -> task<> {
        auto held = co_await lock.lock();
        const int before = *held;
        *held = -1;
        try {
            co_await at.pass();
        } catch (...) {
            *held = before;
            rollback = true;
        }
    };
    auto holder = w.spawn(body(m, until, rolled_back));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(rolled_back);
    CHECK(m.is_poisoned());
    CHECK(m.get_mut(sync::ignore_poison) == -1);
}

namespace {

task<> nothing_throws(mutex<int>& m, gate& until) noexcept {
    auto held = co_await m.lock();
    co_await until.pass();
}
task<> nor_does_its_caller(mutex<int>& m, gate& until) noexcept {
    co_await nothing_throws(m, until);
}

} // namespace

TEST_CASE("S25: a cancellation passes frames of noexcept functions without a terminate") {
    mutex<int> m;
    gate until;
    stepped w;
    auto holder = w.spawn(nor_does_its_caller(m, until));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(m.is_poisoned());
}

TEST_CASE(
    "S28: a cancellation inside two sections poisons both; after the inner one was released "
    "only the outer") {
    mutex<int> a;
    mutex<int> b;
    gate both;
    gate outer;
    stepped w;
    auto body = [](mutex<int>& first, mutex<int>& second, gate& in_both,
                   gate& in_one) -> task<> {
        auto held = co_await first.lock();
        {
            auto inner = co_await second.lock();
            co_await in_both.pass();
        }
        co_await in_one.pass();
    };
    const bool after_inner = GENERATE(false, true);
    auto holder = w.spawn(body(a, b, both, outer));
    w.settle();
    if (after_inner) both.open();
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(a.is_poisoned());
    CHECK(b.is_poisoned() == !after_inner);
    CHECK(a.cause().kind() == poison_kind::cancelled);
}

TEST_CASE(
    "S69: cancel() by the holder of the lock only asks: nothing is destroyed and nobody is "
    "resumed inside the call") {
    mutex<int> m;
    event_log log;
    stepped w;
    auto victim = [](mutex<int>& lock, event_log& to) -> task<> {
        const traced frame(to, "victim");
        auto held = co_await lock.lock();
    };
    auto holder = [](mutex<int>& lock, join_handle<void>& whom, event_log& to) -> task<> {
        auto held = co_await lock.lock();
        co_await yield_now(); // the victim is in the queue
        whom.cancel();
        to.push_back("asked");
        held.unlock();
        to.push_back("unlocked");
    };
    join_handle<void> waiter;
    auto owner = w.spawn(holder(m, waiter, log));
    waiter = w.spawn(victim(m, log));
    w.settle();
    CHECK(owner.done());
    CHECK(waiter.done());
    CHECK(log == event_log{"asked", "unlocked", "victim!"});
}

TEST_CASE("S69: cancel() by another thread only asks: the task ends on its own worker") {
    mutex<int> m;
    gate until;
    scope_end end;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at, scope_end& to) -> task<> {
        const scope_probe frame(to);
        auto held = co_await lock.lock();
        co_await at.pass();
    };
    auto holder = w.spawn(body(m, until, end));
    w.settle();
    std::thread([&] { holder.cancel(cancel_reason::shutdown); }).join();
    CHECK(end.times == 0);
    CHECK_FALSE(m.is_poisoned());
    w.settle();
    CHECK(end.times == 1);
    CHECK(m.cause().reason() == cancel_reason::shutdown);
}

TEST_CASE("S71: of two requests the first reason counts, and the second changes nothing") {
    mutex<int> m;
    gate until;
    places at;
    stepped w;
    auto holder = w.spawn(wait_inside(m, until, at));
    w.settle();
    holder.cancel(cancel_reason::timeout);
    holder.cancel(cancel_reason::shutdown);
    w.settle();
    holder.cancel(cancel_reason::requested); // after its end
    w.settle();
    CHECK(m.cause().reason() == cancel_reason::timeout);
    CHECK(w.end_of(holder).reason() == cancel_reason::timeout);
}

TEST_CASE("S71: a task that cancels itself in the section goes on to the next cancellation "
          "point") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock, join_handle<void>& self, bool release) -> task<> {
        auto held = co_await lock.lock();
        self.cancel();
        *held += 1;
        if (release) held.unlock();
        co_await checkpoint();
        *held += 100;
    };
    const bool release = GENERATE(true, false);
    join_handle<void> self;
    self = w.spawn(body(m, self, release));
    w.settle();
    CHECK(w.end_of(self).is_cancelled());
    CHECK(m.get_mut(sync::ignore_poison) == 1);
    CHECK(m.is_poisoned() != release);
}

} // namespace toadstone::tests
