// condition_variable: waits with an open lock, and has it again whatever ends the wait.
#include <toadstone/sync/condition_variable.hpp>

#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::condition_variable;
using sync::mutex;
using sync::on_cancel;

/// Uses the guard that it was given as it dies, as a destructor behind a guard may.
class user_of {
public:
    user_of(sync::guard<int>& held, int& seen) noexcept : held_(held), seen_(seen) {}
    user_of(const user_of&) = delete;
    user_of& operator=(const user_of&) = delete;
    ~user_of() { seen_ = held_.held() ? held_.view() : -1; }

private:
    sync::guard<int>& held_;
    int& seen_;
};

task<> wait_once(mutex<int>& m, condition_variable& cv, order& woken, int who, int& seen) {
    auto held = co_await m.lock();
    const user_of uses(held, seen);
    co_await cv.wait(held);
    woken.push_back(who);
}

task<> wait_for_value(mutex<int>& m, condition_variable& cv, int value) {
    auto held = co_await m.lock();
    co_await cv.wait(held, [&] { return *held >= value; });
    CHECK(*held >= value);
}

} // namespace

TEST_CASE(
    "S280: a wait opens the lock, notify_one() wakes the first, notify_all() the rest, and "
    "each has the lock again") {
    mutex<int> m(7);
    condition_variable cv;
    order woken;
    int seen = 0;
    stepped w(2);
    cv.notify_one(); // for nobody: not kept
    std::vector<join_handle<>> all;
    for (int who = 0; who < 4; ++who) {
        all.push_back(w.spawn({.where = placement::worker(static_cast<unsigned>(who) % 2)},
                              wait_once, std::ref(m), std::ref(cv), std::ref(woken), who,
                              std::ref(seen)));
        w.settle();
    }
    CHECK(is_free(w, m));
    CHECK(woken.empty());
    cv.notify_one();
    w.settle();
    CHECK(woken == order{0});
    cv.notify_all();
    w.settle();
    CHECK(woken == order{0, 1, 2, 3});
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE(
    "S280: with a predicate, under the lock; a notifier that holds the lock hands it on") {
    mutex<int> m(0);
    condition_variable cv;
    stepped w;
    auto one = w.spawn(wait_for_value(m, cv, 2));
    w.run(wait_for_value(m, cv, 0));
    auto raise = [](mutex<int>& of, condition_variable& tells) -> task<> {
        auto held = co_await of.lock();
        ++*held;
        tells.notify_all();
    };
    w.settle();
    w.run(raise(m, cv));
    w.settle();
    CHECK_FALSE(one.done());
    w.run(raise(m, cv));
    w.settle();
    CHECK(one.done());
}

TEST_CASE("S43: a cancelled wait has the lock again before any destructor runs, and does not "
          "poison") {
    mutex<int> m(7);
    condition_variable cv;
    gate until;
    order woken;
    int seen = 0;
    stepped w;
    auto waits = w.spawn(wait_once(m, cv, woken, 1, seen));
    w.settle();
    auto holder = w.spawn(hold(m, until));
    w.settle();
    waits.cancel();
    w.settle();
    CHECK_FALSE(waits.done()); // the lock is somebody else's
    until.open();
    w.settle();
    CHECK(w.end_of(waits).is_cancelled());
    CHECK(seen == 7);
    CHECK(woken.empty());
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE(
    "S43: a request that is pending stops the wait before it opens the lock, and does not "
    "poison") {
    mutex<int> m(7);
    condition_variable cv;
    int seen = 0;
    stepped w;
    std::optional<join_handle<>> self;
    auto cancels_itself = [](mutex<int>& of, condition_variable& at,
                             std::optional<join_handle<>>& me, int& to) -> task<> {
        auto held = co_await of.lock();
        const user_of uses(held, to);
        me->cancel();
        co_await at.wait(held);
    };
    self = w.spawn(cancels_itself(m, cv, self, seen));
    w.settle();
    CHECK(w.end_of(*self).is_cancelled());
    CHECK(seen == 7);
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S44: notified and cancelled at once: the notification goes to the next") {
    mutex<int> m(7);
    condition_variable cv;
    order woken;
    int seen = 0;
    stepped w;
    auto one = w.spawn(wait_once(m, cv, woken, 1, seen));
    w.settle();
    auto two = w.spawn(wait_once(m, cv, woken, 2, seen));
    w.settle();
    cv.notify_one();
    one.cancel(); // it has been notified, has the lock, and has not run
    w.settle();
    CHECK(w.end_of(one).is_cancelled());
    CHECK(woken == order{2});
    CHECK_FALSE(m.is_poisoned());

    auto three = w.spawn(wait_once(m, cv, woken, 3, seen));
    w.settle();
    auto four = w.spawn(wait_once(m, cv, woken, 4, seen));
    w.settle();
    three.cancel();
    cv.notify_one(); // the first does not wait any more
    w.settle();
    CHECK(woken == order{2, 4});
}

TEST_CASE("S45: the lock was poisoned meanwhile: a notified wait throws and holds nothing; a "
          "cancelled one takes it all the same") {
    for (const bool cancelled : {true, false}) {
        mutex<int> m(7);
        condition_variable cv;
        order woken;
        int seen = 0;
        stepped w;
        auto waits = w.spawn(wait_once(m, cv, woken, 1, seen));
        w.settle();
        w.run(break_by_exception(m));
        const poison_cause before = m.cause();
        if (cancelled) {
            waits.cancel();
        } else {
            cv.notify_one();
        }
        w.settle();
        auto end = w.end_of(waits);
        CHECK(end.is_cancelled() == cancelled);
        if (!cancelled) CHECK_THROWS_AS(end.value(), poison_error);
        CHECK(seen == (cancelled ? 7 : -1));
        CHECK(m.cause() == before); // nothing was added
        CHECK(woken.empty());
    }
}

TEST_CASE("S281: a time limit: the lock is held again either way; a notification at the same "
          "moment wins") {
    mutex<int> m(0);
    condition_variable cv;
    stepped w;
    auto waits = [](mutex<int>& of, condition_variable& at) -> task<bool> {
        auto held = co_await of.lock();
        const bool in_time = co_await at.wait_for(held, 10ms);
        ++*held;
        co_return in_time;
    };
    auto late = w.spawn(waits(m, cv));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(w.end_of(late).value());
    auto in_time = w.spawn(waits(m, cv));
    w.settle();
    w.kernel().time += 10ms;
    cv.notify_one();
    w.settle();
    CHECK(w.end_of(in_time).value());
    CHECK(m.get_mut() == 2);
    auto by_predicate = [](mutex<int>& of, condition_variable& at, int value) -> task<bool> {
        auto held = co_await of.lock();
        co_return co_await at.wait_for(held, 10ms, [&] { return *held >= value; });
    };
    CHECK(w.run(by_predicate(m, cv, 2)));
    CHECK_FALSE(w.run(by_predicate(m, cv, 3)));
}

TEST_CASE("S282: a boundary that ends the wait gives the section back, with its lock, and the "
          "section poisons as ever from then on") {
    for (const bool changes : {true, false}) {
        for (const bool around_task : {true, false}) {
            mutex<int> m(0);
            condition_variable cv;
            gate until;
            stepped w;
            auto section = [](mutex<int>& of, condition_variable& at, gate& then, bool change,
                              bool as_task) -> task<> {
                auto held = co_await of.lock();
                auto inner = [](condition_variable& c, sync::guard<int>& g) -> task<> {
                    co_await c.wait(g);
                };
                bool timed_out = false;
                try {
                    if (as_task) {
                        co_await with_timeout(1ms, inner(at, held));
                    } else {
                        co_await with_timeout(1ms, at.wait(held));
                    }
                } catch (const timeout_error&) {
                    timed_out = true;
                }
                CHECK(timed_out);
                CHECK(held.held());
                if (change) *held = 1;
                co_await then.pass();
            };
            auto one = w.spawn(section(m, cv, until, changes, around_task));
            w.settle();
            w.advance(1ms);
            CHECK_FALSE(is_free(w, m));
            one.cancel();
            w.settle();
            CHECK(one.done());
            CHECK(m.is_poisoned()); // it was left in the middle of what came after the wait
        }
    }
}

TEST_CASE("S282: a request that reaches a wait inside a boundary does not poison") {
    for (const bool around_task : {true, false}) {
        mutex<int> m(0);
        condition_variable cv;
        stepped w;
        auto section = [](mutex<int>& of, condition_variable& at, bool as_task) -> task<> {
            auto held = co_await of.lock();
            auto inner = [](condition_variable& c, sync::guard<int>& g) -> task<> {
                co_await c.wait(g);
            };
            if (as_task) {
                co_await with_timeout(1h, inner(at, held));
            } else {
                co_await with_timeout(1h, at.wait(held));
            }
        };
        auto one = w.spawn(section(m, cv, around_task));
        w.settle();
        one.cancel();
        w.settle();
        CHECK(w.end_of(one).is_cancelled());
        CHECK_FALSE(m.is_poisoned());
    }
}

TEST_CASE("S283: a guard that defers defers nothing while it waits, and again afterwards") {
    mutex<int, on_cancel::defer> m(0);
    condition_variable cv;
    gate until;
    stepped w;
    auto section = [](mutex<int, on_cancel::defer>& of, condition_variable& at, gate& then,
                      int& done) -> task<> {
        auto held = co_await of.lock();
        co_await at.wait(held);
        co_await then.pass();
        ++done;
        held.unlock();
        co_await checkpoint();
        ++done;
    };
    int done = 0;
    auto stopped = w.spawn(section(m, cv, until, done));
    w.settle();
    stopped.cancel();
    w.settle();
    CHECK(w.end_of(stopped).is_cancelled());
    CHECK_FALSE(m.is_poisoned());
    auto deferred = w.spawn(section(m, cv, until, done));
    w.settle();
    cv.notify_one();
    w.settle();
    deferred.cancel();
    w.settle();
    CHECK_FALSE(deferred.done());
    until.open();
    w.settle();
    CHECK(w.end_of(deferred).is_cancelled());
    CHECK(done == 1);
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S284: one mutex at a time, and a guard that holds it; an error lets go of nothing") {
    mutex<int> m;
    mutex<int> other;
    condition_variable cv;
    order woken;
    int seen = 0;
    stepped w;
    auto waits = w.spawn(wait_once(m, cv, woken, 1, seen));
    w.settle();
    auto with_other = [](mutex<int>& of, condition_variable& at) -> task<bool> {
        auto held = co_await of.lock();
        bool refused = false;
        try {
            co_await at.wait(held);
        } catch (const std::logic_error&) {
            refused = held.held();
        }
        bool in_a_limit = false;
        try {
            co_await with_timeout(1h, at.wait(held));
        } catch (const std::logic_error&) {
            in_a_limit = held.held();
        }
        held.unlock();
        try {
            co_await at.wait(held);
        } catch (const std::logic_error&) {
            refused = refused && in_a_limit;
            co_return refused;
        }
        co_return false;
    };
    CHECK(w.run(with_other(other, cv)));
    CHECK(is_free(w, other));
}

TEST_CASE("S285: workers and plain threads wait and notify, and nobody is lost") {
    constexpr int rounds = 400;
    mutex<int> m(0);
    condition_variable cv;
    // Three parties take turns, by the rest of the number divided by three.
    std::thread plain([&] {
        for (int round = 0; round < rounds; ++round) {
            auto held = m.blocking_lock();
            cv.blocking_wait(held, [&] { return *held % 3 == 0; });
            ++*held;
            cv.notify_all();
        }
    });
    runtime r({.workers = 2});
    auto party = [&](int which) -> task<> {
        for (int round = 0; round < rounds; ++round) {
            auto held = co_await m.lock();
            co_await cv.wait(held, [&] { return *held % 3 == which; });
            ++*held;
            cv.notify_all();
        }
    };
    auto all = [&]() -> task<> {
        auto one = spawn(party(1), {.where = placement::worker(0)});
        auto two = spawn(party(2), {.where = placement::worker(1)});
        co_await one;
        co_await two;
    };
    r.block_on(all());
    plain.join();
    CHECK(m.get_mut() == 3 * rounds);
}

} // namespace toadstone::tests
