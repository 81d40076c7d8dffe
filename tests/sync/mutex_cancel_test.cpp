// Every way to wait for a mutex against every moment at which the waiter can be cancelled:
// before, queued (front, middle, back), at the tie with the hand-over, and inside the section.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;
using sync::on_cancel;

enum class way { plain, defer, release, patient, or_poison, recover, timed, with_lock };

constexpr std::initializer_list<way> all_ways = {way::plain,   way::defer,     way::release,
                                                 way::patient, way::or_poison, way::recover,
                                                 way::timed,   way::with_lock};

/// Acquires in that way, notes itself, and holds the lock until the gate opens.
task<> enter(way how, mutex<int>& m, order& entered, int who, gate& until) {
    switch (how) {
    case way::plain: {
        auto held = co_await m.lock();
        entered.push_back(who);
        co_await until.pass();
        break;
    }
    case way::defer: {
        auto held = co_await m.lock(on_cancel::defer);
        entered.push_back(who);
        co_await until.pass();
        break;
    }
    case way::release: {
        auto held = co_await m.lock(on_cancel::release);
        entered.push_back(who);
        co_await until.pass();
        break;
    }
    case way::patient: {
        auto held = co_await m.lock(sync::wait_recovery);
        entered.push_back(who);
        co_await until.pass();
        break;
    }
    case way::or_poison: {
        auto held = co_await m.lock_or_poison();
        entered.push_back(who);
        co_await until.pass();
        break;
    }
    case way::recover: {
        auto held = co_await m.recover();
        entered.push_back(who);
        co_await until.pass();
        break;
    }
    case way::timed: {
        auto held = co_await m.try_lock_for(1h);
        if (held) entered.push_back(who);
        co_await until.pass();
        break;
    }
    case way::with_lock: {
        const auto body = [&entered, who, &until](int&) -> task<> {
            entered.push_back(who);
            co_await until.pass();
        };
        co_await m.with_lock(body);
        break;
    }
    }
}

/// A held mutex, and a queue of three in which the waiter under test has a certain place.
struct queue_with_a_subject {
    queue_with_a_subject(way how, std::size_t place) {
        w.settle();
        for (std::size_t each = 0; each < 3; ++each) {
            const int who = static_cast<int>(each);
            waiters.push_back(each == place ? w.spawn(enter(how, m, entered, who, inside))
                                            : w.spawn(pass(m, entered, who)));
            w.settle();
        }
    }
    /// The numbers of the other two.
    [[nodiscard]] static order others(std::size_t place) {
        order rest{0, 1, 2};
        rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(place));
        return rest;
    }

    mutex<int> m;
    gate release;
    gate inside;
    order entered;
    stepped w;
    join_handle<void> holder = w.spawn(hold(m, release));
    std::vector<join_handle<void>> waiters;
};

/// Whoever leaves by a teardown while it is inside: these ways leave the lock healthy.
bool stays_clean(way how) {
    return how == way::release;
}

} // namespace

TEST_CASE("S5: with a request pending, no way to lock touches a free mutex") {
    const way how = GENERATE(values(all_ways));
    CAPTURE(static_cast<int>(how));
    mutex<int> m;
    gate inside;
    order entered;
    stepped w;
    auto task = w.spawn(enter(how, m, entered, 1, inside));
    task.cancel();
    w.settle();
    CHECK(w.end_of(task).is_cancelled());
    CHECK(entered.empty());
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock());
}

TEST_CASE("S5: with a request pending, no way to lock enters the queue of a held mutex") {
    const way how = GENERATE(values(all_ways));
    CAPTURE(static_cast<int>(how));
    mutex<int> m;
    gate release;
    gate inside;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto task = w.spawn(enter(how, m, entered, 1, inside));
    auto behind = w.spawn(pass(m, entered, 2));
    task.cancel();
    w.settle();
    CHECK(w.end_of(task).is_cancelled());
    CHECK_FALSE(behind.done());
    release.open();
    w.settle();
    CHECK(entered == order{2});
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S1: whichever way it waits, a cancelled waiter leaves at once from any place in the "
          "queue") {
    const way how = GENERATE(values(all_ways));
    const std::size_t place = GENERATE(0u, 1u, 2u);
    CAPTURE(static_cast<int>(how), place);
    queue_with_a_subject line(how, place);
    line.waiters[place].cancel();
    line.w.settle();
    CHECK(line.waiters[place].done());
    CHECK_FALSE(line.holder.done());
    line.release.open();
    line.w.settle();
    CHECK(line.entered == queue_with_a_subject::others(place));
    CHECK_FALSE(line.m.is_poisoned());
    CHECK(is_free(line.w, line.m));
}

TEST_CASE("S3: whichever way it waits, a waiter that is cancelled at the tie hands the lock to "
          "the one behind") {
    const way how = GENERATE(values(all_ways));
    CAPTURE(static_cast<int>(how));
    queue_with_a_subject line(how, 0);
    line.release.open();
    line.w.step(); // the holder lets go; the next owner is ready and has not run
    REQUIRE(line.holder.done());
    REQUIRE(line.entered.empty());
    line.waiters[0].cancel();
    line.w.settle();
    CHECK(line.w.end_of(line.waiters[0]).is_cancelled());
    CHECK(line.entered == order{1, 2});
    CHECK_FALSE(line.m.is_poisoned());
}

TEST_CASE(
    "S14: whichever way it came in, a holder that is cancelled inside ends by its policy, "
    "and the one behind learns") {
    const way how = GENERATE(values(all_ways));
    CAPTURE(static_cast<int>(how));
    queue_with_a_subject line(how, 0);
    line.release.open();
    line.w.settle();
    REQUIRE(line.entered == order{0});
    line.waiters[0].cancel();
    line.w.settle();
    if (how == way::defer) {
        CHECK_FALSE(line.waiters[0].done());
        line.inside.open();
        line.w.settle();
    }
    CHECK(line.waiters[0].done());
    const bool clean = stays_clean(how) || how == way::defer;
    CHECK(line.w.end_of(line.waiters[1]).has_value() == clean);
    CHECK(line.w.end_of(line.waiters[2]).has_value() == clean);
    CHECK(line.m.is_poisoned() != clean);
    CHECK(line.entered == (clean ? order{0, 1, 2} : order{0}));
}

TEST_CASE("S3: at the tie on a poisoned mutex the right to repair goes to the next, and the "
          "poison stays as it was") {
    const way how = GENERATE(way::or_poison, way::recover);
    CAPTURE(static_cast<int>(how));
    mutex<int> m;
    gate first_inside;
    gate inside;
    order entered;
    stepped w;
    w.run(break_by_exception(m));
    const poison_cause before = m.cause();
    auto first = w.spawn(enter(way::or_poison, m, entered, 0, first_inside));
    w.settle();
    auto second = w.spawn(enter(how, m, entered, 1, inside));
    w.settle();
    auto third = w.spawn(enter(way::or_poison, m, entered, 2, inside));
    w.settle();
    first_inside.open();
    w.step();
    REQUIRE(entered == order{0});
    second.cancel();
    w.settle();
    CHECK(w.end_of(second).is_cancelled());
    CHECK(entered == order{0, 2});
    CHECK(m.cause() == before);
}

TEST_CASE(
    "mutex: a patient waiter that is cancelled while the lock is poisoned leaves at once, "
    "and the one behind still waits for the recovery") {
    mutex<int> m;
    gate inside;
    order entered;
    stepped w;
    w.run(break_by_exception(m));
    auto first = w.spawn(enter(way::patient, m, entered, 1, inside));
    w.settle();
    auto second = w.spawn(enter(way::patient, m, entered, 2, inside));
    w.settle();
    CHECK(entered.empty());
    first.cancel();
    w.settle();
    CHECK(first.done());
    auto repair = [](mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        auto held = right.complete();
    };
    w.run(repair(m));
    w.settle();
    CHECK(entered == order{2});
}

TEST_CASE(
    "mutex: when the only patient waiter of a poisoned lock is cancelled, nobody waits any "
    "more") {
    std::optional<mutex<int>> m(std::in_place);
    gate inside;
    order entered;
    stepped w;
    w.run(break_by_exception(*m));
    auto waiter = w.spawn(enter(way::patient, *m, entered, 1, inside));
    w.settle();
    waiter.cancel();
    CHECK(w.end_of(waiter).is_cancelled());
    m.reset(); // a mutex that somebody waits for would abort
    CHECK(entered.empty());
}

TEST_CASE(
    "mutex: a lock that was given within a timeout and not taken yet goes on to the next") {
    mutex<int> m;
    gate release;
    order entered;
    stepped w;
    auto body = [](mutex<int>& lock, order& log) -> task<> {
        auto held = co_await with_timeout(1h, lock.lock());
        log.push_back(1);
    };
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(body(m, entered));
    w.settle();
    auto behind = w.spawn(pass(m, entered, 2));
    w.settle();
    release.open();
    w.step();
    waiter.cancel();
    w.settle();
    CHECK(w.end_of(waiter).is_cancelled());
    CHECK(entered == order{2});
    CHECK_FALSE(m.is_poisoned());
}

} // namespace toadstone::tests
