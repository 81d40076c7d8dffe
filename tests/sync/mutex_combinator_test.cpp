// Locks inside when_any, when_all, time limits and runtimes that end: who is left holding what.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"
#include "support/pipe.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

/// Which branch won, and whether the mutex was free when when_any had returned.
struct race_end {
    std::optional<std::size_t> winner;
    bool free_afterwards = false;
};

task<> race(mutex<int>& m, gate& other, race_end& end) {
    auto first = co_await when_any(m.lock(), other.pass());
    end.winner = first.index;
    if (first.index == 1) end.free_afterwards = m.try_lock().has_value();
}

} // namespace

TEST_CASE(
    "S8: when the other branch wins while the lock has just been granted, the lock goes on "
    "to the next and nothing is poisoned") {
    mutex<int> m;
    gate release;
    gate other;
    order entered;
    race_end end;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto racer = w.spawn(race(m, other, end));
    w.settle();
    auto behind = w.spawn(pass(m, entered, 1));
    w.settle();
    release.open();
    other.open(); // in one turn: the grant first, and then the other branch ends
    w.settle();
    CHECK(end.winner == 1u);
    CHECK(entered == order{1});
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S8: when the other branch wins while the lock is still waited for, the place in the "
          "queue is given up") {
    mutex<int> m;
    gate release;
    gate other;
    order entered;
    race_end end;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto racer = w.spawn(race(m, other, end));
    w.settle();
    auto behind = w.spawn(pass(m, entered, 1));
    w.settle();
    other.open();
    w.settle();
    CHECK(end.winner == 1u);
    CHECK(racer.done());
    release.open();
    w.settle();
    CHECK(entered == order{1});
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S8: when the lock wins, its guard comes out of the race and obeys the rule") {
    mutex<int> m;
    gate other;
    gate until;
    stepped w;
    auto body = [](mutex<int>& lock, gate& loser, gate& at) -> task<> {
        auto first = co_await when_any(lock.lock(), loser.pass());
        CHECK(first.index == 0);
        auto held = std::get<0>(std::move(first.value));
        *held = 1;
        co_await at.pass();
    };
    const bool cancelled = GENERATE(false, true);
    auto racer = w.spawn(body(m, other, until));
    w.settle();
    CHECK_FALSE(other.waited_for()); // the loser is gone
    CHECK_FALSE(m.try_lock());
    if (cancelled) {
        racer.cancel();
    } else {
        until.open();
    }
    w.settle();
    CHECK(m.is_poisoned() == cancelled);
    CHECK(m.get_mut(sync::ignore_poison) == 1);
}

TEST_CASE(
    "S26: a loser that holds a guard has poisoned, with lost_race, before when_any resumes "
    "its caller") {
    mutex<int> m;
    gate never;
    gate wins;
    std::optional<poison_cause> seen;
    stepped w;
    auto body = [](mutex<int>& lock, gate& loser, gate& winner,
                   std::optional<poison_cause>& to) -> task<> {
        auto first = co_await when_any(hold(lock, loser), winner.pass());
        CHECK(first.index == 1);
        to = lock.cause();
    };
    auto racer = w.spawn(body(m, never, wins, seen));
    w.settle();
    wins.open();
    w.settle();
    REQUIRE(seen);
    REQUIRE(*seen);
    CHECK(seen->kind() == poison_kind::cancelled);
    CHECK(seen->reason() == cancel_reason::lost_race);
}

TEST_CASE("S27: when a child of when_all throws, the guards of its siblings poison with "
          "sibling_failed, and the first exception comes out") {
    mutex<int> a;
    mutex<int> b;
    gate never_a;
    gate never_b;
    gate fails;
    stepped w;
    auto failing = [](gate& at) -> task<> {
        co_await at.pass();
        throw std::runtime_error("the first");
    };
    auto body = [](mutex<int>& x, mutex<int>& y, gate& at_x, gate& at_y,
                   task<> child) -> task<std::string> {
        std::string caught;
        try {
            co_await when_all(hold(x, at_x), std::move(child), hold(y, at_y));
        } catch (const std::runtime_error& error) {
            caught = error.what();
            if (x.is_poisoned() && y.is_poisoned()) caught += ", both are poisoned";
        }
        co_return caught;
    };
    auto parent = w.spawn(body(a, b, never_a, never_b, failing(fails)));
    w.settle();
    fails.open();
    w.settle();
    CHECK(w.end_of(parent).value() == "the first, both are poisoned");
    CHECK(a.cause().reason() == cancel_reason::sibling_failed);
    CHECK(b.cause().reason() == cancel_reason::sibling_failed);
}

TEST_CASE("S29: a child that its own time limit ended does not poison the parent's guard") {
    mutex<int> m;
    mutex<int> inner;
    gate never;
    gate until;
    stepped w;
    auto body = [](mutex<int>& lock, mutex<int>& childs, gate& at, gate& later) -> task<> {
        auto held = co_await lock.lock();
        auto end = co_await try_with_timeout(1ms, hold(childs, at));
        CHECK(end.is_cancelled());
        CHECK(end.reason() == cancel_reason::timeout);
        *held = 1;
        co_await later.pass();
        *held = 2;
    };
    auto parent = w.spawn(body(m, inner, never, until));
    w.settle();
    w.advance(1ms);
    CHECK(inner.is_poisoned()); // that one was inside
    until.open();
    w.settle();
    CHECK(parent.done());
    CHECK(m.get_mut() == 2);
}

TEST_CASE("S29: the same with the timeout as an exception that is caught inside the section") {
    mutex<int> m;
    gate never;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at) -> task<> {
        auto held = co_await lock.lock();
        try {
            co_await with_timeout(1ms, at.pass());
        } catch (const timeout_error&) {
            *held = 1;
        }
    };
    w.run(body(m, never));
    CHECK(m.get_mut() == 1);
}

TEST_CASE(
    "S72: a loser in the queue is gone when when_any returns, so that its caller can wait "
    "for the same lock") {
    mutex<int> m;
    gate release;
    gate wins;
    order entered;
    stepped w;
    auto body = [](mutex<int>& lock, gate& winner, order& log) -> task<> {
        co_await when_any(pass(lock, log, 1), winner.pass());
        auto held = co_await lock.lock();
        log.push_back(2);
    };
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto racer = w.spawn(body(m, wins, entered));
    w.settle();
    wins.open();
    w.settle();
    release.open();
    w.settle();
    CHECK(entered == order{2});
    CHECK(racer.done());
}

TEST_CASE("S72: a loser that was granted the lock hands it on before when_any returns") {
    mutex<int> m;
    gate release;
    gate other;
    race_end end;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto racer = w.spawn(race(m, other, end));
    w.settle();
    release.open();
    other.open();
    w.settle();
    CHECK(end.winner == 1u);
    CHECK(end.free_afterwards);
}

TEST_CASE("mutex: of two locks that when_all waits for, the one that was acquired already is "
          "handed back clean when the wait for the other is cancelled") {
    mutex<int> a;
    mutex<int> b;
    gate release;
    stepped w;
    auto body = [](mutex<int>& x, mutex<int>& y) -> task<> {
        co_await when_all(x.lock(), y.lock());
    };
    auto holder = w.spawn(hold(b, release));
    w.settle();
    auto both = w.spawn(body(a, b));
    w.settle();
    CHECK_FALSE(a.try_lock());
    both.cancel();
    w.settle();
    CHECK(w.end_of(both).is_cancelled());
    CHECK_FALSE(a.is_poisoned()); // waiting never poisons: no section was entered
}

namespace {

/// Holds the lock with a read in flight, for ever.
task<> serve(mutex<int>& m, int fd, std::atomic<int>& inside) {
    auto held = co_await m.lock();
    char buffer[8];
    inside.fetch_add(1);
    inside.notify_all();
    static_cast<void>(co_await read_op(fd, buffer, sizeof buffer));
    *held = 1;
}

void wait_until(std::atomic<int>& counter, int value) {
    for (int now = counter.load(); now < value; now = counter.load()) counter.wait(now);
}

} // namespace

TEST_CASE("S39: detached tasks at the end of the runtime are cancelled with shutdown and have "
          "poisoned before ~runtime() returns") {
    mutex<int> a;
    mutex<int> b;
    test_pipe pipe;
    std::atomic<int> inside = 0;
    const auto frames = detail::live_frames();
    {
        runtime here({.workers = 2});
        here.spawn(serve(a, pipe.reader(), inside), {.where = placement::worker(0)}).detach();
        here.spawn(serve(b, pipe.reader(), inside), {.where = placement::worker(1)}).detach();
        wait_until(inside, 2);
    }
    REQUIRE(a.is_poisoned());
    REQUIRE(b.is_poisoned());
    CHECK(a.cause().reason() == cancel_reason::shutdown);
    CHECK(b.cause().reason() == cancel_reason::shutdown);
    CHECK(detail::live_frames() == frames);
    pipe.write("late");
    CHECK(pipe.drain() == "late"); // the kernel reads for nobody any more
}

TEST_CASE("S39: detached tasks that only wait for a lock at the end of the runtime leave it "
          "clean") {
    mutex<int> m;
    std::atomic<int> inside = 0;
    {
        auto held = m.blocking_lock();
        runtime here({.workers = 2});
        auto body = [](mutex<int>& lock, std::atomic<int>& count) -> task<> {
            count.fetch_add(1);
            count.notify_all();
            auto mine = co_await lock.lock();
        };
        for (int i = 0; i < 8; ++i) here.spawn(body(m, inside)).detach();
        wait_until(inside, 8);
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock());
}

} // namespace toadstone::tests
