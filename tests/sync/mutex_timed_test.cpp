// try_lock_for and try_lock_until: the time limit against the hand-over and the cancellation.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <string>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

/// "got", "time is up", or why it failed.
task<std::string> try_for(mutex<int>& m, std::chrono::nanoseconds limit) {
    std::string end = "time is up";
    try {
        auto held = co_await m.try_lock_for(limit);
        if (held) end = "got";
    } catch (const std::exception& error) {
        end = error.what();
    }
    co_return end;
}

task<> note_time(mutex<int>& m, std::chrono::nanoseconds limit, order& log, int who) {
    auto held = co_await m.try_lock_for(limit);
    log.push_back(held ? who : -who);
}

} // namespace

TEST_CASE("S76: try_lock_for gives up within the deadline, neither before nor after") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(note_time(m, 10ms, log, 1));
    w.settle();
    w.advance(10ms - 1us);
    CHECK(log.empty());
    w.advance(1us);
    CHECK(log == order{-1});
    release.open();
    w.settle();
    CHECK(is_free(w, m));
}

TEST_CASE("mutex: try_lock_for takes a free lock without waiting, and its time limit is gone") {
    mutex<int> m;
    stepped w;
    CHECK(w.run(try_for(m, 1h)) == "got");
    CHECK(w.run(try_for(m, 0ns)) == "got");
    CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
}

TEST_CASE("mutex: a limit of nothing, or in the past, gives up on a held lock in one turn") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    const auto limit = GENERATE(0ns, -5ns, std::chrono::nanoseconds::min());
    auto waiter = w.spawn(note_time(m, limit, log, 1));
    w.advance(1us);
    CHECK(log == order{-1});
}

TEST_CASE("mutex: a limit of for ever waits until the lock is free") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(note_time(m, std::chrono::nanoseconds::max(), log, 1));
    w.advance(24h * 365);
    CHECK(log.empty());
    release.open();
    w.settle();
    CHECK(log == order{1});
}

TEST_CASE("mutex: try_lock_until takes a point in time") {
    mutex<int> m;
    gate release;
    std::optional<bool> got;
    stepped w;
    auto body = [](mutex<int>& lock, std::chrono::steady_clock::time_point limit,
                   std::optional<bool>& result) -> task<> {
        auto held = co_await lock.try_lock_until(limit);
        result = held.has_value();
    };
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(body(m, w.kernel().now() + 5ms, got));
    w.advance(4ms);
    CHECK_FALSE(got);
    w.advance(1ms);
    CHECK(got == false);
}

TEST_CASE(
    "S7: when the hand-over and the deadline come together and the hand-over is first, the "
    "guard is delivered and the deadline forgotten") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(note_time(m, 10ms, log, 1));
    w.settle();
    release.open();
    w.step(); // handed over: the waiter is ready and has not run
    REQUIRE(holder.done());
    REQUIRE(log.empty());
    w.advance(1h); // its timer fires before it runs
    CHECK(log == order{1});
    CHECK(is_free(w, m));
    CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
}

TEST_CASE(
    "S7: when the deadline is first, the waiter has left the queue and the lock goes to the "
    "one behind") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(note_time(m, 10ms, log, 1));
    auto behind = w.spawn(pass(m, log, 2));
    w.settle();
    release.open();
    w.advance(10ms); // in one turn: the timer, then the holder's release
    CHECK(log == order{-1, 2});
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S7: with_timeout around a lock reports either the guard or the timeout, and never "
          "orphans the lock") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto body = [](mutex<int>& lock, order& to) -> task<> {
        int verdict = 1;
        try {
            auto held = co_await with_timeout(10ms, lock.lock());
        } catch (const timeout_error&) {
            verdict = -1;
        }
        to.push_back(verdict);
    };
    const bool handed_over_first = GENERATE(true, false);
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(body(m, log));
    w.settle();
    if (handed_over_first) {
        release.open();
        w.step();
        REQUIRE(holder.done());
    }
    w.advance(10ms);
    // The inside was granted the lock, but was asked to stop before it ran: it handed it on.
    CHECK(log == order{-1});
    release.open();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("mutex: a timed waiter in the middle of the queue gives up and the others keep their "
          "order") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto first = w.spawn(pass(m, log, 1));
    auto second = w.spawn(note_time(m, 1ms, log, 2));
    auto third = w.spawn(pass(m, log, 3));
    w.settle();
    w.advance(1ms);
    CHECK(log == order{-2});
    release.open();
    w.settle();
    CHECK(log == order{-2, 1, 3});
}

TEST_CASE("mutex: a timed waiter that is cancelled leaves no timer behind") {
    mutex<int> m;
    gate release;
    order log;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(note_time(m, 1h, log, 1));
    w.settle();
    waiter.cancel();
    w.settle();
    CHECK(w.end_of(waiter).is_cancelled());
    CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
    w.advance(2h);
    CHECK(log.empty());
}

TEST_CASE("mutex: a timed waiter whose time was up and who is asked to stop before it runs is "
          "torn down, once") {
    mutex<int> m;
    gate release;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<std::string> {
        auto end = co_await try_with_timeout(10ms, try_for(lock, 9ms));
        co_return end.is_cancelled() ? "cancelled" : end.value();
    };
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(body(m));
    w.settle();
    w.advance(10ms); // both timers fire in one turn, the inner one first
    auto end = w.end_of(waiter);
    CHECK(end.value() == "cancelled");
    release.open();
    w.settle();
    CHECK(is_free(w, m));
}

TEST_CASE("mutex: a poisoning ends a timed wait at once with the cause") {
    mutex<int> m;
    gate release;
    stepped w;
    CHECK(w.run(try_for(m, 1h)) == "got");
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(try_for(m, 1h));
    w.settle();
    holder.cancel();
    w.settle();
    auto end = w.end_of(waiter);
    CHECK(end.value().find("mutex poisoned: ") == 0);
    CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
    CHECK(w.run(try_for(m, 1h)).find("mutex poisoned: ") == 0); // and a new one does not wait
}

TEST_CASE(
    "S12: the owner that asks with a time limit is told at once instead of waiting for it") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<std::string> {
        auto held = co_await lock.lock();
        std::string why;
        try {
            auto again = co_await lock.try_lock_for(1h);
        } catch (const sync::would_deadlock& error) {
            why = error.what();
        }
        co_return why;
    };
    const auto before = w.kernel().now();
    CHECK(w.run(body(m)).find("is held by the task that asks for it") != std::string::npos);
    CHECK(w.kernel().now() == before);
}

} // namespace toadstone::tests
