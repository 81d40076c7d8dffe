// The members of mutex: locking, names, constant initialisation, a sole owner's access, the
// strict forms, and misuse that is an error.
#include <toadstone/sync.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using sync::mutex;
using sync::on_cancel;
using sync::on_exception;

constinit mutex<int> static_mutex(7, "static");
static constinit mutex<int> unnamed_static_mutex;

struct two_numbers {
    int first = 1;
    int second = 2;
};

} // namespace

TEST_CASE("mutex: what one holder wrote the next one reads") {
    mutex<std::string> m("start");
    stepped w;
    auto append = [](mutex<std::string>& lock, const char* what) -> task<> {
        auto held = co_await lock.lock();
        held->append(what);
    };
    w.run(append(m, ", one"));
    w.run(append(m, ", two"));
    CHECK(m.get_mut() == "start, one, two");
}

TEST_CASE("mutex: an uncontended lock neither suspends nor allocates") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock, std::int64_t& allocated) -> task<> {
        const auto before = detail::live_frames();
        for (int i = 0; i < 3; ++i) {
            auto held = co_await lock.lock();
            *held += 1;
            allocated += detail::live_frames() - before;
        }
    };
    std::int64_t allocated = 0;
    auto counter = w.spawn(body(m, allocated));
    w.step();
    CHECK(counter.done());
    CHECK(m.get_mut() == 3);
    CHECK(allocated == 0);
}

TEST_CASE("mutex: a wait allocates nothing") {
    mutex<int> m;
    gate release;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(pass(m, entered, 1));
    const auto before = detail::live_frames();
    w.settle(); // it starts, and queues
    CHECK(detail::live_frames() == before);
    release.open();
    w.settle();
    CHECK(entered == order{1});
}

TEST_CASE("mutex: many uncontended locks in a row let the neighbours run") {
    check_that_neighbours_run<mutex<int>>();
}

TEST_CASE("S76: a static mutex is constant-initialised and usable at once") {
    CHECK(static_mutex.name() == "static");
    CHECK(unnamed_static_mutex.name().empty());
    {
        auto held = static_mutex.try_lock();
        REQUIRE(held);
        CHECK(**held == 7);
    }
    CHECK(unnamed_static_mutex.get_mut() == 0);
}

TEST_CASE(
    "mutex: try_lock takes a free lock, refuses a held one, and throws for a poisoned one") {
    mutex<int> m(0, "tried");
    stepped w;
    {
        auto held = m.try_lock();
        REQUIRE(held);
        CHECK_FALSE(m.try_lock());
        **held = 4;
    }
    CHECK(m.get_mut() == 4);
    w.run(break_by_exception(m));
    CHECK_THROWS_AS(m.try_lock(), poison_error);
    CHECK_THROWS_WITH(m.try_lock(), Catch::StartsWith("mutex 'tried' poisoned: "));
}

TEST_CASE("mutex: poison is sticky: every kind of plain lock fails, again and again") {
    mutex<int> m;
    stepped w;
    w.run(break_by_exception(m));
    for (int i = 0; i < 2; ++i) {
        CHECK_FALSE(w.run(why_not(m)).empty());
        CHECK_THROWS_AS(m.try_lock(), poison_error);
        CHECK_THROWS_AS(m.blocking_lock(), poison_error);
        CHECK_THROWS_AS(m.blocking_with_lock([](int&) {}), poison_error);
    }
    CHECK(m.cause().attempts() == 0); // and nobody's failure to enter counts for anything
}

TEST_CASE("mutex: the error keeps its cause after the mutex has been repaired") {
    mutex<int> m;
    stepped w;
    w.run(break_by_exception(m));
    const poison_cause original = m.cause();
    std::optional<poison_error> caught;
    try {
        auto held = m.blocking_lock();
    } catch (const poison_error& error) {
        caught = error;
    }
    auto heal = [](mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        auto held = right.complete();
    };
    w.run(heal(m));
    CHECK_FALSE(m.cause());
    CHECK(m.cause().to_string() == "not poisoned");
    REQUIRE(caught);
    CHECK(caught->cause() == original);
    CHECK(caught->what() == original.to_string());
}

TEST_CASE("mutex: get_mut and into_inner report poison, and hand the data out on demand") {
    mutex<std::unique_ptr<int>> m(std::make_unique<int>(3));
    stepped w;
    CHECK(*m.get_mut() == 3);
    w.run(break_by_exception(m));
    CHECK_THROWS_AS(m.get_mut(), poison_error);
    CHECK(*m.get_mut(sync::ignore_poison) == 3);
    CHECK_THROWS_AS(std::move(m).into_inner(), poison_error);
    CHECK(*m.get_mut(sync::ignore_poison) == 3); // it stayed
    CHECK(*std::move(m).into_inner(sync::ignore_poison) == 3);
    mutex<std::unique_ptr<int>> healthy(std::make_unique<int>(4));
    CHECK(*std::move(healthy).into_inner() == 4);
}

TEST_CASE("S12: a task that asks for a lock that it holds is told so") {
    mutex<int> m(0, "once");
    stepped w;
    auto body = [](mutex<int>& lock) -> task<std::string> {
        auto held = co_await lock.lock();
        std::string why;
        try {
            auto again = co_await lock.lock();
        } catch (const sync::would_deadlock& error) {
            if (error.code() == std::errc::resource_deadlock_would_occur) why = error.what();
        }
        *held = 1;
        co_return why;
    };
    CHECK(w.run(body(m)).find("mutex 'once' is held by the task that asks for it") == 0);
    CHECK(m.get_mut() == 1);
}

TEST_CASE("S12: would_deadlock that escapes the section poisons with that cause") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        auto again = co_await lock.lock();
    };
    CHECK_THROWS_AS(w.run(body(m)), sync::would_deadlock);
    REQUIRE(m.is_poisoned());
    REQUIRE(m.cause().exception());
    CHECK_THROWS_AS(std::rethrow_exception(m.cause().exception()), sync::would_deadlock);
}

TEST_CASE("S12: every other way to lock says the same; try_lock only refuses") {
    mutex<int> m;
    int told = 0;
    stepped w;
    auto body = [](mutex<int>& lock, int& count) -> task<> {
        auto held = co_await lock.lock();
        try {
            auto again = co_await lock.lock_or_poison();
        } catch (const sync::would_deadlock&) {
            ++count;
        }
        try {
            auto again = co_await lock.recover();
        } catch (const sync::would_deadlock&) {
            ++count;
        }
        try {
            auto again = co_await lock.lock(sync::wait_recovery);
        } catch (const sync::would_deadlock&) {
            ++count;
        }
        try {
            auto again = lock.blocking_lock();
        } catch (const sync::would_deadlock&) {
            ++count;
        }
        auto tried = lock.try_lock();
        if (!tried) ++count;
    };
    w.run(body(m, told));
    CHECK(told == 5);
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S12: after the guard was given away, the task that had it may wait for the lock") {
    mutex<int> m;
    order entered;
    stepped w;
    auto keep = []([[maybe_unused]] sync::guard<int> held, order& log) -> task<> {
        co_await yield_now();
        log.push_back(1);
    };
    auto body = [](mutex<int>& lock, order& log,
                   task<> (*keeper)(sync::guard<int>, order&)) -> task<> {
        auto held = co_await lock.lock();
        spawn(keeper(std::move(held), log)).detach();
        auto again = co_await lock.lock();
        log.push_back(2);
    };
    w.run(body(m, entered, keep));
    CHECK(entered == order{1, 2});
}

TEST_CASE(
    "S12: a new task is never taken for the owner, though it may live at the same address") {
    mutex<int> m;
    std::vector<sync::guard<int>> kept;
    order entered;
    stepped w;
    auto keep = [](mutex<int>& lock, std::vector<sync::guard<int>>& to) -> task<> {
        auto held = co_await lock.lock();
        to.push_back(std::move(held));
    };
    w.run(keep(m, kept));
    std::vector<join_handle<void>> waiters;
    for (int who = 0; who < 20; ++who) waiters.push_back(w.spawn(pass(m, entered, who)));
    w.settle();
    CHECK(entered.empty()); // all of them wait
    kept.clear();
    w.settle();
    CHECK(entered.size() == 20);
}

TEST_CASE("S12: a plain thread that asks for a lock that it holds is told so too") {
    mutex<int> m;
    auto held = m.blocking_lock();
    CHECK_THROWS_AS(m.blocking_lock(), sync::would_deadlock);
    CHECK(held.held());
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("mutex: with_lock gives the result of a function or of a coroutine") {
    mutex<two_numbers> m;
    stepped w;
    auto body = [](mutex<two_numbers>& lock) -> task<int> {
        auto sum = [](two_numbers& data) { return data.first + data.second; };
        auto later = [](two_numbers& data) -> task<int> {
            co_await yield_now();
            co_return data.first = 10;
        };
        auto nothing = [](two_numbers& data) { data.second = 20; };
        auto nothing_later = [](two_numbers& data) -> task<> {
            co_await yield_now();
            data.second += 1;
        };
        int total = co_await lock.with_lock(sum);
        total += co_await lock.with_lock(later);
        co_await lock.with_lock(nothing);
        co_await lock.with_lock(nothing_later);
        total += co_await lock.with_lock(sum);
        co_return total;
    };
    CHECK(w.run(body(m)) == 3 + 10 + 31);
    CHECK(m.get_mut().second == 21); // free again, and healthy
}

TEST_CASE("mutex: with_lock poisons unless the function returned, whatever the policy is") {
    mutex<int, on_cancel::release, on_exception::release> m;
    gate never;
    stepped w;
    auto body = [](auto& lock, gate& at, int how) -> task<> {
        auto fails = [](int&) { throw std::runtime_error("boom"); };
        auto waits = [&at](int&) -> task<> { co_await at.pass(); };
        if (how == 0) {
            co_await lock.with_lock(fails);
        } else {
            co_await lock.with_lock(waits);
        }
    };
    const int how = GENERATE(0, 1);
    auto inside = w.spawn(body(m, never, how));
    w.settle();
    inside.cancel();
    w.settle();
    CHECK_FALSE(w.end_of(inside).has_value());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == (how == 0 ? poison_kind::exception : poison_kind::cancelled));
    CHECK(std::string(m.cause().locked_at().file_name()).find("mutex_test.cpp") !=
          std::string::npos); // the caller's line, not the library's
}

TEST_CASE("mutex: with_lock waits its turn and fails on a poisoned mutex without running the "
          "function") {
    mutex<int> m;
    gate release;
    order entered;
    bool ran = false;
    stepped w;
    auto body = [](mutex<int>& lock, bool& noted) -> task<> {
        auto notes = [&noted](int&) { noted = true; };
        co_await lock.with_lock(notes);
    };
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto inside = w.spawn(body(m, ran));
    w.settle();
    CHECK_FALSE(ran);
    holder.cancel();
    w.settle();
    CHECK(w.end_of(inside).has_exception());
    CHECK_FALSE(ran);
}

} // namespace toadstone::tests
