// docs/facts.md, the lines about a mutex, its guard, and how it works: a section for each,
// which has its number. tests/tree/facts_test.py looks that there is one.
#include <toadstone/sync.hpp>

#include "support/dies.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::fairness;
using sync::mutex;

constinit mutex<int> global(7, "global");

template <class Lock>
concept gives_its_data = requires(Lock& of) { *of; } || requires(Lock& of) { of->x; };

} // namespace

TEST_CASE("S612: facts: a mutex") {
    mutex<int> m(0, "m");
    gate until;
    order entered;
    stepped w;
    auto holds = [&](spawn_options options = {}) {
        auto holder = w.spawn(hold(m, until), options);
        w.settle();
        return holder;
    };

    SECTION("fact 1: it owns its data, which only its guard gives") {
        STATIC_REQUIRE_FALSE(gives_its_data<mutex<int>>);
        auto adds = [](mutex<int>& to) -> task<> {
            auto held = co_await to.lock();
            *held += 1;
        };
        w.run(adds(m));
        w.run(adds(m));
        CHECK(m.get_mut() == 2);
    }
    SECTION("fact 2: one task at a time has it") {
        auto first = holds();
        auto second = w.spawn(pass(m, entered, 2));
        w.settle();
        CHECK(entered.empty());
        until.open();
        w.settle();
        CHECK(entered == order{2});
    }
    SECTION("fact 3: a free one is locked without a suspension or an allocation") {
        auto counts = [](mutex<int>& free, std::int64_t& more) -> task<> {
            const auto before = detail::live_frames();
            auto held = co_await free.lock();
            more = detail::live_frames() - before;
        };
        std::int64_t more = -1;
        auto counter = w.spawn(counts(m, more));
        w.step(); // one turn
        CHECK(counter.done());
        CHECK(more == 0);
    }
    SECTION("fact 4: who waits for it blocks no thread") {
        auto first = holds();
        auto second = w.spawn(pass(m, entered, 2));
        w.settle();
        bool ran = false;
        auto neighbour = [](bool& noted) -> task<> {
            noted = true;
            co_return;
        };
        w.run(neighbour(ran)); // on the same worker
        CHECK(ran);
        CHECK_FALSE(second.done());
    }
    SECTION("fact 5: try_lock() never waits") {
        auto first = holds();
        CHECK_FALSE(m.try_lock());
        until.open();
        w.settle();
        CHECK(m.try_lock());
    }
    SECTION("fact 6: try_lock_for() gives up when its time is over") {
        auto first = holds();
        auto tries = [](mutex<int>& from) -> task<bool> {
            auto held = co_await from.try_lock_for(10ms);
            co_return held.has_value();
        };
        auto second = w.spawn(tries(m));
        w.settle();
        w.advance(9ms);
        CHECK_FALSE(second.done());
        w.advance(2ms);
        CHECK_FALSE(w.end_of(second).value());
    }
    SECTION("fact 7: a plain thread locks it by blocking_lock()") {
        int seen = 0;
        std::thread([&] { seen = *m.blocking_lock() + 1; }).join();
        CHECK(seen == 1);
        auto first = holds();
        auto blocks = [](mutex<int>& from) -> task<> {
            auto held = from.blocking_lock();
            co_return;
        };
        CHECK_THROWS_AS(w.run(blocks(m)), std::logic_error); // a worker must not wait
    }
    SECTION("fact 8: who has it and asks for it gets would_deadlock") {
        auto twice = [](mutex<int>& from) -> task<> {
            auto held = co_await from.lock();
            held.mark_consistent();
            auto again = co_await from.lock();
        };
        CHECK_THROWS_AS(w.run(twice(m)), sync::would_deadlock);
        CHECK(m.try_lock());
    }
    SECTION("fact 9: it can be a constant-initialised global") {
        CHECK(global.get_mut() == 7);
    }
    SECTION("fact 10: destroyed while it is held, it ends the process with a sentence") {
        dies_saying("a mutex is destroyed only when nobody holds it or waits for it: "
                    "mutex 'gone'",
                    [] {
                        auto gone = std::make_unique<mutex<int>>(0, "gone");
                        auto held = gone->try_lock();
                        gone.reset();
                    });
    }
    SECTION("fact 11: get_mut() is for a sole owner") {
        CHECK(m.get_mut() == 0);
        auto held = m.try_lock();
        CHECK_THROWS_AS(m.get_mut(), std::logic_error);
    }
    SECTION("fact 12: for logs it says who has it, and how many wait") {
        auto first = holds();
        auto second = w.spawn(pass(m, entered, 2));
        w.settle();
        CHECK(to_string(m) ==
              "mutex 'm', held by task " + std::to_string(first.id()) + ", 1 waits");
        CHECK(m.owner() == first.id());
        CHECK(m.waiters() == 1);
        CHECK(m.is_locked());
    }
}

TEST_CASE("S612: facts: a guard") {
    mutex<int> m(0, "m");
    stepped w;

    SECTION("fact 13: it releases when it dies") {
        {
            auto held = m.try_lock();
            CHECK(m.is_locked());
        }
        CHECK_FALSE(m.is_locked());
    }
    SECTION("fact 14: unlock() releases before that, once") {
        auto held = m.blocking_lock();
        held.unlock();
        auto other = m.try_lock();
        CHECK(other);
        held.unlock(); // not what the other has
        CHECK(m.is_locked());
    }
    SECTION("fact 15: it is moved, not copied, and holds nothing then") {
        STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<mutex<int>::guard>);
        auto held = m.blocking_lock();
        auto moved = std::move(held);
        CHECK_FALSE(held.held());
        CHECK(moved.held());
    }
    SECTION("fact 16: when it holds nothing it refuses access") {
        auto held = m.blocking_lock();
        held.unlock();
        CHECK_THROWS_AS(*held = 1, std::logic_error);
        CHECK(m.get_mut() == 0);
    }
    SECTION("fact 17: it may die on another thread") {
        auto held = m.try_lock();
        std::thread([&] { held.reset(); }).join();
        CHECK(m.try_lock());
    }
    SECTION("fact 18: map() narrows it to a part, which then holds the lock") {
        mutex<std::pair<int, int>> two({1, 2});
        auto both = two.blocking_lock();
        auto second = both.map(&std::pair<int, int>::second);
        CHECK(*second == 2);
        CHECK_FALSE(both.held());
        second.unlock();
        CHECK_FALSE(two.is_locked());
    }
}

TEST_CASE("S612: facts: how a mutex works") {
    gate until;
    order entered;

    SECTION("fact 19: unlock() resumes nobody: the next one runs on its own worker, later") {
        mutex<int> m;
        stepped w(2);
        auto first = w.spawn(hold(m, until));
        w.settle();
        auto second = w.spawn(pass(m, entered, 2), {.name = {}, .where = placement::worker(1)});
        w.settle();
        until.open();
        while (w.step(0) > 0) {
        }
        CHECK(first.done());
        CHECK(entered.empty());
        w.settle();
        CHECK(entered == order{2});
    }
    SECTION("fact 20: released with a queue, it is handed over, and never free between") {
        mutex<int> m;
        stepped w(2);
        auto first = w.spawn(hold(m, until));
        w.settle();
        auto second = w.spawn(pass(m, entered, 2), {.name = {}, .where = placement::worker(1)});
        w.settle();
        until.open();
        while (w.step(0) > 0) {
        }
        CHECK(first.done());
        CHECK(m.is_locked());
        CHECK_FALSE(m.try_lock()); // nobody overtakes the one who waits
        w.settle();
        CHECK(entered == order{2});
    }
    SECTION("fact 21: first come, first served") {
        mutex<int> m;
        stepped w;
        auto first = w.spawn(hold(m, until));
        w.settle();
        for (const int who : {2, 3, 4}) w.spawn(pass(m, entered, who)).detach();
        w.settle();
        until.open();
        w.settle();
        CHECK(entered == order{2, 3, 4});
    }
    SECTION("fact 22: fairness::batched prefers the waiters of the worker that releases") {
        for (const auto order_of : {fairness::strict, fairness::batched}) {
            gate released;
            order came;
            mutex<int> m(0, "m", order_of);
            stepped w(2);
            auto first = w.spawn(hold(m, released));
            w.settle();
            w.spawn(pass(m, came, 2), {.name = {}, .where = placement::worker(1)}).detach();
            w.settle();
            w.spawn(pass(m, came, 3)).detach();
            w.settle();
            released.open();
            w.settle();
            CHECK(came == (order_of == fairness::strict ? order{2, 3} : order{3, 2}));
        }
    }
    SECTION("fact 23: a wait allocates nothing") {
        mutex<int> m;
        stepped w;
        auto first = w.spawn(hold(m, until));
        w.settle();
        auto second = w.spawn(pass(m, entered, 2));
        const auto before = detail::live_frames();
        w.settle();
        CHECK(m.waiters() == 1);
        CHECK(detail::live_frames() == before);
    }
    SECTION("fact 24: who is cancelled while it waits leaves at once, from any place") {
        for (const int who : {2, 3, 4}) {
            gate released;
            order came;
            mutex<int> m;
            stepped w;
            auto first = w.spawn(hold(m, released));
            w.settle();
            join_handle<> waiting[3];
            for (const int each : {2, 3, 4}) waiting[each - 2] = w.spawn(pass(m, came, each));
            w.settle();
            waiting[who - 2].cancel();
            w.settle();
            CHECK(waiting[who - 2].done());
            CHECK(m.waiters() == 2);
            released.open();
            w.settle();
            CHECK(came == (who == 2 ? order{3, 4} : who == 3 ? order{2, 4} : order{2, 3}));
        }
    }
    SECTION("fact 25: handed to a task that has to stop, it goes on to the next, clean") {
        mutex<int> m;
        stepped w(2);
        auto first = w.spawn(hold(m, until));
        w.settle();
        auto second = w.spawn(pass(m, entered, 2), {.name = {}, .where = placement::worker(1)});
        w.settle();
        auto third = w.spawn(pass(m, entered, 3));
        w.settle();
        until.open();
        while (w.step(0) > 0) {
        }
        CHECK(m.waiters() == 1); // it is the second one's, who has not run yet
        second.cancel();
        w.settle();
        CHECK(w.end_of(second).is_cancelled());
        CHECK(entered == order{3});
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 26: a task that locks again and again lets its neighbours run") {
        check_that_neighbours_run<mutex<int>>();
    }
}

} // namespace toadstone::tests
