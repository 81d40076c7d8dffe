// The queue of a mutex: order, leaving it from the front, the middle and the back, and failing
// together when the lock is poisoned.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

/// A held mutex with three waiters, 1 to 3, which enter when the gate opens.
struct three_in_line {
    three_in_line() {
        w.settle();
        for (int who = 1; who <= 3; ++who) {
            waiters.push_back(w.spawn(pass(m, entered, who)));
            w.settle();
        }
    }

    mutex<int> m;
    gate release;
    order entered;
    stepped w;
    join_handle<void> holder = w.spawn(hold(m, release));
    std::vector<join_handle<void>> waiters;
};

} // namespace

TEST_CASE(
    "S1: a cancelled waiter in the middle of the queue leaves at once and keeps the order "
    "of the rest") {
    three_in_line line;
    line.waiters[1].cancel();
    line.w.settle();
    CHECK(line.waiters[1].done()); // while the lock is still held
    CHECK_FALSE(line.waiters[0].done());
    CHECK_FALSE(line.waiters[2].done());
    line.release.open();
    line.w.settle();
    CHECK(line.entered == order{1, 3});
    CHECK_FALSE(line.m.is_poisoned());
}

TEST_CASE("S1: a cancelled waiter at the front of the queue leaves at once and the second is "
          "served first") {
    three_in_line line;
    line.waiters[0].cancel();
    line.w.settle();
    CHECK(line.waiters[0].done());
    line.release.open();
    line.w.settle();
    CHECK(line.entered == order{2, 3});
    CHECK_FALSE(line.m.is_poisoned());
}

TEST_CASE(
    "S1: a cancelled waiter at the back of the queue leaves at once and a later one lines "
    "up behind the others") {
    three_in_line line;
    line.waiters[2].cancel();
    line.w.settle();
    CHECK(line.waiters[2].done());
    auto late = line.w.spawn(pass(line.m, line.entered, 4));
    line.w.settle();
    line.release.open();
    line.w.settle();
    CHECK(line.entered == order{1, 2, 4});
    CHECK_FALSE(line.m.is_poisoned());
}

TEST_CASE("S1: the only waiter leaves and the lock is released as if he had never come") {
    mutex<int> m;
    gate release;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    auto waiter = w.spawn(pass(m, entered, 1));
    w.settle();
    waiter.cancel();
    w.settle();
    release.open();
    w.settle();
    CHECK(holder.done());
    CHECK(entered.empty());
    CHECK(m.try_lock()); // the fast path: no waiter is remembered
}

TEST_CASE("S2: a head waiter that is cancelled before the unlock is removed, and the next one "
          "gets the lock") {
    three_in_line line;
    line.waiters[0].cancel();
    line.release.open();
    // The inbox comes before the ready queue: the withdrawal is first, the unlock second.
    line.w.settle();
    CHECK(line.w.end_of(line.waiters[0]).is_cancelled());
    CHECK(line.entered == order{2, 3});
    CHECK_FALSE(line.m.is_poisoned());
}

namespace {

task<> unlock_then_cancel(mutex<int>& m, gate& until, join_handle<void>& whom) {
    auto held = co_await m.lock();
    co_await until.pass();
    whom.cancel();
    held.unlock(); // the flag is set, but the home worker has not carried it out yet
}

} // namespace

TEST_CASE(
    "S2: a head waiter that was granted the lock in the same moment hands it to the next") {
    mutex<int> m;
    gate release;
    order entered;
    stepped w;
    join_handle<void> first;
    auto holder = w.spawn(unlock_then_cancel(m, release, first));
    w.settle();
    first = w.spawn(pass(m, entered, 1));
    auto second = w.spawn(pass(m, entered, 2));
    w.settle();
    release.open();
    w.settle();
    CHECK(w.end_of(first).is_cancelled());
    CHECK(entered == order{2});
    CHECK(second.done());
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE(
    "S3: a waiter that is cancelled after the hand-over and before it runs gives the lock "
    "on and poisons nothing") {
    three_in_line line;
    line.release.open();
    line.w.step(); // the holder has unlocked, the first waiter is ready and has not run
    REQUIRE(line.holder.done());
    REQUIRE(line.entered.empty());
    CHECK_FALSE(line.m.try_lock()); // it is his already
    line.waiters[0].cancel();
    line.w.settle();
    CHECK(line.w.end_of(line.waiters[0]).is_cancelled());
    CHECK(line.entered == order{2, 3});
    CHECK_FALSE(line.m.is_poisoned());
}

TEST_CASE("S3: all who are granted the lock and cancelled in turn pass it on to the last") {
    three_in_line line;
    line.release.open();
    line.w.step();
    REQUIRE(line.entered.empty());
    line.waiters[0].cancel();
    line.waiters[1].cancel();
    line.w.settle();
    CHECK(line.entered == order{3});
    CHECK_FALSE(line.m.is_poisoned());
}

TEST_CASE("S3: a lock that nobody is left to take is free again") {
    three_in_line line;
    line.release.open();
    line.w.step();
    for (auto& each : line.waiters) each.cancel();
    line.w.settle();
    CHECK(line.entered.empty());
    CHECK(is_free(line.w, line.m));
}

TEST_CASE("S4: two waiters are cancelled one after the other and the last still waits for its "
          "turn, with one owner at every instant") {
    three_in_line line;
    gate second_release;
    auto fourth = line.w.spawn(hold(line.m, second_release, line.entered, 4));
    line.w.settle();
    line.waiters[1].cancel();
    line.w.settle();
    line.waiters[2].cancel();
    line.w.settle();
    CHECK(line.entered.empty()); // the holder still has it
    CHECK_FALSE(fourth.done());
    line.waiters[0].cancel();
    line.release.open();
    line.w.settle();
    CHECK(line.entered == order{4});
    CHECK_FALSE(line.m.try_lock());
    second_release.open();
    line.w.settle();
    CHECK(is_free(line.w, line.m));
}

namespace {

task<> declare_broken(mutex<int>& m, gate& until, gate& afterwards) {
    auto held = co_await m.lock();
    co_await until.pass();
    held.poison("half done");
    co_await afterwards.pass();
}

task<> wait_and_tell(mutex<int>& m, order& failed, int who) {
    try {
        auto held = co_await m.lock();
    } catch (const poison_error&) {
        failed.push_back(who);
    }
}

task<> look_at_it(mutex<int>& m, order& entered, int who, gate& until) {
    auto looked = co_await m.lock_or_poison();
    if (!looked) entered.push_back(who);
    co_await until.pass();
}

} // namespace

TEST_CASE("S9: when the lock is poisoned all plain waiters fail at once, none of them as its "
          "owner") {
    mutex<int> m;
    gate until;
    gate afterwards;
    order failed;
    stepped w;
    auto holder = w.spawn(declare_broken(m, until, afterwards));
    std::vector<join_handle<void>> waiters;
    for (int who = 1; who <= 5; ++who)
        waiters.push_back(w.spawn(wait_and_tell(m, failed, who)));
    w.settle();
    until.open();
    w.settle();
    CHECK(failed == order{1, 2, 3, 4, 5});
    CHECK_FALSE(holder.done()); // no convoy: they failed while the lock was still held
    afterwards.open();
    w.settle();
    CHECK(m.is_poisoned());
}

TEST_CASE("S9: the first who wants the lock all the same becomes the owner, and those between "
          "fail") {
    mutex<int> m;
    gate until;
    gate looked;
    order failed;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    auto one = w.spawn(wait_and_tell(m, failed, 1));
    auto two = w.spawn(look_at_it(m, entered, 2, looked));
    auto three = w.spawn(wait_and_tell(m, failed, 3));
    auto four = w.spawn(look_at_it(m, entered, 4, looked));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(failed == order{1, 3});
    CHECK(entered == order{2});
    looked.open();
    w.settle();
    CHECK(entered == order{2, 4});
    CHECK(m.is_poisoned());
}

TEST_CASE("S9: a plain lock() that comes after the poisoning fails at once, though a repairer "
          "holds the lock") {
    mutex<int> m;
    gate looked;
    order entered;
    stepped w;
    w.run(break_by_exception(m));
    auto repairer = w.spawn(look_at_it(m, entered, 1, looked));
    w.settle();
    CHECK(w.run(why_not(m)).find("mutex poisoned: ") == 0);
    CHECK_FALSE(repairer.done());
}

TEST_CASE("S9: a waiter that was failed by the poisoning and cancelled before it runs ends as "
          "cancelled") {
    mutex<int> m;
    gate until;
    order failed;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    auto waiter = w.spawn(wait_and_tell(m, failed, 1));
    w.settle();
    holder.cancel();
    w.step(); // the holder is torn down; the waiter is ready and has not run
    REQUIRE(holder.done());
    waiter.cancel();
    w.settle();
    CHECK(w.end_of(waiter).is_cancelled());
    CHECK(failed.empty());
    CHECK(m.is_poisoned());
}

TEST_CASE("S76: a hundred waiters are served in the order of their arrival") {
    mutex<int> m;
    gate release;
    order entered;
    order arrived;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    std::vector<join_handle<void>> waiters;
    for (int who = 0; who < 100; ++who) {
        waiters.push_back(w.spawn(pass(m, entered, who)));
        arrived.push_back(who);
    }
    w.settle();
    release.open();
    w.settle();
    CHECK(entered == arrived);
}

TEST_CASE("S76: waiters of two workers are served in one order") {
    mutex<int> m;
    gate release;
    order entered;
    order arrived;
    stepped w(2);
    auto holder = w.spawn(hold(m, release));
    w.settle();
    std::vector<join_handle<void>> waiters;
    for (int who = 0; who < 20; ++who) {
        const auto where = placement::worker(static_cast<unsigned>(who % 3 == 0));
        waiters.push_back(w.spawn(pass(m, entered, who), {.where = where}));
        w.settle();
        arrived.push_back(who);
    }
    release.open();
    w.settle();
    CHECK(entered == arrived);
}

TEST_CASE(
    "S76: try_lock never overtakes: not a queue, and not a waiter that has been handed the "
    "lock") {
    three_in_line line;
    CHECK_FALSE(line.m.try_lock());
    line.release.open();
    for (int turns = 0; turns < 3; ++turns) {
        line.w.step();
        if (line.entered.size() < 3) CHECK_FALSE(line.m.try_lock());
    }
    line.w.settle();
    CHECK(line.entered == order{1, 2, 3});
    CHECK(line.m.try_lock());
}

TEST_CASE("mutex: unlock() never runs the next owner inside itself") {
    mutex<int> m;
    order entered;
    stepped w;
    auto body = [](mutex<int>& lock, order& log) -> task<> {
        auto held = co_await lock.lock();
        auto next = spawn(pass(lock, log, 2));
        co_await yield_now(); // the other is in the queue now
        held.unlock();
        log.push_back(1);
        co_await std::move(next);
    };
    w.run(body(m, entered));
    CHECK(entered == order{1, 2});
}

} // namespace toadstone::tests
