// docs/facts.md, the lines about the rest of the family, channels and fibers: a section for
// each, which has its number.
#include <toadstone/sync.hpp>

#include "support/channel_tasks.hpp"
#include "support/dies.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace toadstone::tests {
namespace {

using board = sync::shared_mutex<int>;
using sync::mutex;

task<> reads(board& of, gate& until, order& entered, int who) {
    auto held = co_await of.read();
    entered.push_back(who);
    co_await until.pass();
}
task<> writes(board& of, gate& until, order& entered, int who) {
    auto held = co_await of.write();
    entered.push_back(who);
    co_await until.pass();
}
template <class Event>
task<> passes(Event& event, order& passed, int who) {
    co_await event.wait();
    passed.push_back(who);
}
task<> holds_permits(sync::semaphore& of, std::size_t count, gate& until, order& entered,
                     int who) {
    auto held = co_await of.acquire(count);
    entered.push_back(who);
    co_await until.pass();
}

} // namespace

TEST_CASE("S612: facts: shared_mutex, local_mutex, several locks") {
    board m(0, "board");
    gate one;
    gate other;
    order entered;
    stepped w;

    SECTION("fact 66: readers have a shared_mutex together, a writer alone") {
        auto first = w.spawn(reads(m, one, entered, 1));
        auto second = w.spawn(reads(m, other, entered, 2));
        w.settle();
        CHECK(entered == order{1, 2});
        CHECK(m.readers() == 2);
        CHECK_FALSE(m.try_write());
        one.open();
        other.open();
        w.settle();
        auto writing = m.try_write();
        CHECK(writing);
        CHECK_FALSE(m.try_read());
    }
    SECTION("fact 67: a writer who waits stops the readers behind him") {
        auto first = w.spawn(reads(m, one, entered, 1));
        w.settle();
        gate open;
        open.open();
        auto second = w.spawn(writes(m, open, entered, 2));
        w.settle();
        auto third = w.spawn(reads(m, other, entered, 3));
        w.settle();
        CHECK(entered == order{1});
        one.open();
        w.settle();
        CHECK(entered == order{1, 2, 3});
    }
    SECTION("fact 68: a writer who gives up lets the readers behind him in") {
        auto first = w.spawn(reads(m, one, entered, 1));
        w.settle();
        auto second = w.spawn(writes(m, other, entered, 2));
        w.settle();
        auto third = w.spawn(reads(m, other, entered, 3));
        w.settle();
        second.cancel();
        w.settle();
        CHECK(entered == order{1, 3});
    }
    SECTION("fact 69: a reader who leaves in the middle poisons nothing, a writer poisons") {
        auto reader = w.spawn(reads(m, one, entered, 1));
        w.settle();
        reader.cancel();
        w.settle();
        CHECK_FALSE(m.is_poisoned());
        auto writer = w.spawn(writes(m, other, entered, 2));
        w.settle();
        writer.cancel();
        w.settle();
        CHECK_THROWS_AS(m.try_read(), poison_error);
        CHECK_THROWS_AS(m.try_write(), poison_error);
    }
    SECTION("fact 70: an upgradable reader is the only one, and goes on as a writer") {
        auto upgrades = [](board& of) -> task<> {
            auto reading = co_await of.upgradable();
            CHECK_FALSE(of.try_upgradable());
            CHECK(of.try_read());
            auto held = co_await reading.upgrade();
            *held += 1;
        };
        w.run(upgrades(m));
        CHECK(m.get_mut() == 1);
    }
    SECTION("fact 71: a local_mutex poisons by the same rule") {
        sync::local_mutex<int> local(0, "local");
        auto first = w.spawn(hold(local, one));
        w.settle();
        first.cancel();
        w.settle();
        CHECK_THROWS_AS(w.run(pass(local, entered, 1)), poison_error);
    }
    SECTION("fact 72: a local_mutex that a plain thread locks ends the process") {
        dies_saying("a local_mutex is used by the tasks of one worker only", [] {
            sync::local_mutex<int> local(0, "local");
            std::thread([&] { static_cast<void>(local.try_lock()); }).join();
        });
    }
    SECTION("fact 73: two tasks that take two locks in two orders wait for ever, untold") {
        mutex<int> a;
        mutex<int> b;
        stepped later; // ends before the locks do
        auto both = [](mutex<int>& first, mutex<int>& second) -> task<> {
            auto held = co_await first.lock();
            co_await yield_now();
            auto more = co_await second.lock();
        };
        auto forth = later.spawn(both(a, b));
        auto back = later.spawn(both(b, a));
        later.advance(std::chrono::hours(24));
        CHECK_FALSE(forth.done());
        CHECK_FALSE(back.done());
        CHECK(a.waiters() + b.waiters() == 2);
    }
    SECTION("fact 74: by lock_all() they do not, whatever the order of its arguments") {
        mutex<int> a;
        mutex<int> b;
        stepped later;
        auto both = [](mutex<int>& first, mutex<int>& second) -> task<> {
            auto held = co_await sync::lock_all(first, second);
            co_await yield_now();
            *held.get<0>() += 1;
        };
        auto forth = later.spawn(both(a, b));
        auto back = later.spawn(both(b, a));
        later.settle();
        CHECK(forth.done());
        CHECK(back.done());
        CHECK((a.get_mut() == 1 && b.get_mut() == 1));
    }
}

TEST_CASE("S612: facts: semaphore, condition_variable, events") {
    gate one;
    gate other;
    order entered;
    sync::semaphore places(2, "places");
    mutex<int> m(0, "m");
    sync::condition_variable changed;
    stepped w;

    SECTION("fact 75: a semaphore lets as many in as it has permits") {
        auto first = w.spawn(holds_permits(places, 1, one, entered, 1));
        auto second = w.spawn(holds_permits(places, 1, other, entered, 2));
        w.settle();
        CHECK_FALSE(places.try_acquire());
        one.open();
        w.settle();
        CHECK(places.try_acquire());
    }
    SECTION("fact 76: a permit comes back however its holder ends; nothing is poisoned") {
        auto first = w.spawn(holds_permits(places, 2, one, entered, 1));
        w.settle();
        CHECK(places.available() == 0);
        first.cancel();
        w.settle();
        CHECK(places.available() == 2);
        CHECK(places.try_acquire(2));
    }
    SECTION("fact 77: who wants more is not overtaken by who wants less") {
        auto first = w.spawn(holds_permits(places, 1, one, entered, 1));
        w.settle();
        gate open;
        open.open();
        auto second = w.spawn(holds_permits(places, 2, open, entered, 2));
        w.settle();
        auto third = w.spawn(holds_permits(places, 1, other, entered, 3));
        w.settle();
        CHECK(places.available() == 1);
        CHECK(entered == order{1});
        one.open();
        w.settle();
        CHECK(entered == order{1, 2, 3});
    }
    auto waits = [](mutex<int>& in, sync::condition_variable& cv, order& noted) -> task<> {
        auto held = co_await in.lock();
        const scope_exit sees([&] { noted.push_back(held.held() ? 1 : 0); });
        co_await cv.wait(held);
        noted.push_back(2);
    };
    SECTION(
        "fact 78: while a condition is waited for the lock is open; afterwards it is held") {
        auto first = w.spawn(waits(m, changed, entered));
        w.settle();
        CHECK_FALSE(m.is_locked());
        changed.notify_one();
        w.settle();
        CHECK(entered == order{2, 1});
    }
    SECTION("fact 79: a wait that is cancelled has the lock again first, and does not poison") {
        auto first = w.spawn(waits(m, changed, entered));
        w.settle();
        first.cancel();
        w.settle();
        CHECK(entered == order{1}); // held, as the destructors of the section run
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("fact 80: a notification for which nobody waits is not kept") {
        changed.notify_one();
        auto first = w.spawn(waits(m, changed, entered));
        w.settle();
        CHECK_FALSE(first.done());
    }
    SECTION("fact 81: an auto_reset_event lets one pass, who may come later") {
        sync::auto_reset_event signal;
        stepped later;
        signal.set();
        signal.set(); // is the same signal
        later.spawn(passes(signal, entered, 1)).detach();
        later.spawn(passes(signal, entered, 2)).detach();
        later.settle();
        CHECK(entered == order{1});
        signal.set();
        later.settle();
        CHECK(entered == order{1, 2});
    }
    SECTION("fact 82: a manual_reset_event lets everybody pass until it is reset") {
        sync::manual_reset_event door;
        stepped later;
        later.spawn(passes(door, entered, 1)).detach();
        later.spawn(passes(door, entered, 2)).detach();
        later.settle();
        door.set();
        later.spawn(passes(door, entered, 3)).detach();
        later.settle();
        CHECK(entered == order{1, 2, 3});
        door.reset();
        later.spawn(passes(door, entered, 4)).detach();
        later.settle();
        CHECK(entered == order{1, 2, 3});
    }
}

TEST_CASE("S612: facts: mpsc") {
    order log;
    auto [tx, rx] = sync::mpsc::channel<parcel>(1);
    auto extra = std::optional(tx);
    stepped w;

    SECTION("fact 83: many send, one receives, in the order of sending") {
        w.spawn(receives_all(rx, log)).detach();
        order sent;
        w.run(sends(tx, 1, sent));
        w.run(sends(*extra, 2, sent));
        w.settle();
        CHECK(log == order{1, 2});
    }
    SECTION("fact 84: when it is full send() waits for room; try_send() does not") {
        CHECK(tx.try_send(parcel(1)));
        CHECK_FALSE(tx.try_send(parcel(2)));
        auto second = w.spawn(sends(tx, 2, log));
        w.settle();
        CHECK_FALSE(second.done());
        CHECK(rx.try_recv()->what() == 1);
        w.settle();
        CHECK(log == order{2});
    }
    SECTION("fact 85: an unbounded one never waits") {
        auto [more_tx, more_rx] = sync::mpsc::unbounded<int>();
        for (int i = 0; i < 1000; ++i) more_tx.send(i);
        CHECK(more_rx.try_recv() == 0);
    }
    SECTION("fact 86: it ends when the last sender goes, after what was sent before") {
        static_cast<void>(tx.try_send(parcel(1)));
        extra.reset();
        CHECK_FALSE(tx.is_closed());
        {
            auto last = std::move(tx);
        }
        w.run(receives_all(rx, log));
        CHECK(log == order{1, at_end});
    }
    SECTION("fact 87: a message is its sender's until there is room for it") {
        static_cast<void>(tx.try_send(parcel(1)));
        parcel second(2);
        auto waits = [](sync::mpsc::sender<parcel>& to, parcel& message) -> task<> {
            co_await to.send(std::move(message));
        };
        auto handle = w.spawn(waits(tx, second));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(w.end_of(handle).is_cancelled());
        CHECK(second.what() == 2); // not moved from
    }
    SECTION("fact 88: what a receiver was given that has to stop is the first again") {
        auto [to, from] = sync::mpsc::channel<parcel>(2);
        stepped two(2);
        auto receiver =
            two.spawn(receives(from, log), {.name = {}, .where = placement::worker(1)});
        two.settle();
        CHECK(to.try_send(parcel(1))); // handed to the one who waits
        CHECK(to.try_send(parcel(2)));
        receiver.cancel();
        two.settle();
        CHECK(log.empty());
        CHECK(from.try_recv()->what() == 1);
        CHECK(from.try_recv()->what() == 2);
    }
    SECTION("fact 89: one that was failed ends with the cause, after what was sent before") {
        static_cast<void>(tx.try_send(parcel(1)));
        CHECK(tx.fail(std::make_exception_ptr(std::runtime_error("boom"))));
        CHECK(rx.try_recv()->what() == 1);
        CHECK_THROWS_AS(rx.try_recv(), poison_error);
        CHECK_THROWS_AS(tx.try_send(parcel(2)), poison_error);
    }
    SECTION("fact 90: a permit is room that is kept; dropped, it goes to the next") {
        std::optional permit = tx.try_reserve();
        REQUIRE(permit);
        auto second = w.spawn(sends(tx, 2, log));
        w.settle();
        CHECK_FALSE(second.done());
        permit.reset();
        w.settle();
        CHECK(log == order{2});
    }
}

TEST_CASE("S612: facts: oneshot, watch, broadcast") {
    stepped w;

    SECTION("fact 91: a oneshot carries one message, from any thread") {
        auto [tx, rx] = sync::oneshot::channel<int>();
        std::thread([&to = tx] { static_cast<void>(to.send(7)); }).join();
        CHECK(rx.try_recv() == 7);
        CHECK_THROWS_AS(tx.send(8), std::logic_error);
    }
    SECTION("fact 92: a oneshot whose sender goes without a message ends in channel_closed") {
        auto [tx, rx] = sync::oneshot::channel<int>();
        {
            auto gone = std::move(tx);
        }
        CHECK_THROWS_AS(rx.try_recv(), sync::channel_closed);
    }
    SECTION("fact 93: a watch has the newest value, and tells of it once") {
        auto [tx, rx] = sync::watch::channel(0);
        auto second = rx;
        tx.send(1);
        tx.send(2);
        for (auto* each : {&rx, &second}) {
            CHECK(each->has_changed());
            CHECK(each->get_and_update() == 2);
            CHECK_FALSE(each->has_changed());
        }
    }
    SECTION("fact 94: a change of a watch that throws has not happened") {
        auto [tx, rx] = sync::watch::channel(1);
        auto fails = [](int& value) {
            value = 2;
            throw std::runtime_error("boom");
        };
        CHECK_THROWS_AS(tx.send_modify(fails), std::runtime_error);
        CHECK(rx.get() == 1);
        CHECK_FALSE(rx.has_changed());
    }
    SECTION("fact 95: of a broadcast each receiver gets each message") {
        auto [tx, rx] = sync::broadcast::channel<int>(4);
        auto second = tx.subscribe();
        CHECK(tx.send(1) == 2);
        CHECK(tx.send(2) == 2);
        for (auto* each : {&rx, &second}) {
            CHECK(each->try_recv() == 1);
            CHECK(each->try_recv() == 2);
        }
    }
    SECTION("fact 96: who is too slow for a broadcast is told how many he has missed") {
        auto [tx, rx] = sync::broadcast::channel<int>(2);
        for (int i = 1; i <= 5; ++i) static_cast<void>(tx.send(i));
        try {
            static_cast<void>(rx.try_recv());
            CHECK(false);
        } catch (const sync::broadcast::lagged& behind) {
            CHECK(behind.missed() == 3);
        }
        CHECK(rx.try_recv() == 4);
    }
}

#ifndef TOADSTONE_NO_FIBERS
TEST_CASE("S612: facts: fibers", "[fiber]") {
    mutex<int> m(0, "m");
    gate until;
    order entered;
    stepped w;

    SECTION("fact 97: on a fiber blocking_lock() waits as a task does") {
        auto first = w.spawn(hold(m, until));
        w.settle();
        auto locks = [&] {
            auto held = m.blocking_lock();
            entered.push_back(2);
        };
        auto second = w.spawn(run_fiber(locks));
        w.settle(); // the worker goes on
        CHECK(m.waiters() == 1);
        until.open();
        w.settle();
        CHECK(entered == order{2});
    }
    SECTION("fact 98: a fiber that is cancelled is unwound, and what it holds poisons") {
        auto section = [&] {
            const scope_exit ends([&] { entered.push_back(1); });
            auto held = m.blocking_lock();
            fiber::await(until.pass());
        };
        auto handle = w.spawn(run_fiber(section));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(w.end_of(handle).is_cancelled());
        CHECK(entered == order{1});
        CHECK(m.is_poisoned());
    }
    SECTION("fact 99: what is thrown on a fiber comes out of run_fiber()") {
        auto throws = [&] {
            auto held = m.blocking_lock();
            throw std::runtime_error("boom");
        };
        CHECK_THROWS_AS(w.run(run_fiber(throws)), std::runtime_error);
        CHECK(m.is_poisoned());
    }
}
#endif

} // namespace toadstone::tests
