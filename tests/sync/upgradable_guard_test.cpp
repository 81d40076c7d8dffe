// upgradable_guard: a reader who may go on as a writer, with nobody writing in between.
#include <toadstone/sync/shared_mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::shared_mutex;
using lock = shared_mutex<int>;

task<> reads(lock& m, order& entered, int who, gate& until) {
    auto held = co_await m.read();
    entered.push_back(who);
    co_await until.pass();
}
task<> reads_once(lock& m, order& entered, int who) {
    auto held = co_await m.read();
    entered.push_back(who);
}
task<> writes_once(lock& m, order& entered, int who) {
    auto held = co_await m.write();
    entered.push_back(who);
    ++*held;
}
task<> may_upgrade(lock& m, order& entered, int who, gate& until) {
    auto held = co_await m.upgradable();
    entered.push_back(who);
    co_await until.pass();
}
// Upgrades when the first gate opens, and writes until the second does.
task<> upgrades(lock& m, order& entered, int who, gate& when, gate& until) {
    auto reading = co_await m.upgradable();
    const int seen = *reading;
    co_await when.pass();
    auto held = co_await reading.upgrade();
    CHECK_FALSE(reading.held());
    CHECK(*held == seen); // nobody wrote in between
    entered.push_back(who);
    co_await until.pass();
    ++*held;
}

} // namespace

TEST_CASE(
    "S356: who may upgrade reads together with others; one has the right; a writer waits; "
    "in line each stops those behind him") {
    lock m(0, "m");
    gate first;
    gate reader;
    gate second;
    order entered;
    stepped w;
    auto one = w.spawn(may_upgrade(m, entered, 1, first));
    w.settle();
    CHECK_FALSE(m.try_upgradable().has_value());
    CHECK_FALSE(m.try_write().has_value());
    CHECK(m.try_read().has_value());
    auto two = w.spawn(reads(m, entered, 2, reader));
    w.settle();
    CHECK(m.readers() == 2);
    auto three = w.spawn(may_upgrade(m, entered, 3, second));
    auto four = w.spawn(reads_once(m, entered, 4));
    auto five = w.spawn(writes_once(m, entered, 5));
    w.settle();
    CHECK(entered == order{1, 2});
    first.open();
    w.settle();
    CHECK(entered == order{1, 2, 3, 4});
    reader.open();
    w.settle();
    CHECK(entered == order{1, 2, 3, 4});
    second.open();
    w.settle();
    CHECK(entered == order{1, 2, 3, 4, 5});
    CHECK(m.readers() == 0);
    CHECK(m.get_mut() == 1);
}

TEST_CASE("S357: an upgrade waits for the readers who are there, before all who wait; nobody "
          "writes between what was read and what is written") {
    lock m;
    gate reader;
    gate when;
    gate until;
    order entered;
    stepped w;
    auto one = w.spawn(reads(m, entered, 1, reader));
    auto two = w.spawn(upgrades(m, entered, 2, when, until));
    w.settle();
    auto three = w.spawn(writes_once(m, entered, 3));
    auto four = w.spawn(reads_once(m, entered, 4));
    when.open();
    w.settle();
    CHECK(entered == order{1});
    CHECK_FALSE(m.try_read().has_value());
    reader.open();
    w.settle();
    CHECK(entered == order{1, 2});
    CHECK(m.readers() == 0);
    CHECK_FALSE(m.try_read().has_value());
    until.open();
    w.settle();
    CHECK(entered == order{1, 2, 3, 4});
    CHECK(m.get_mut() == 2);
}

TEST_CASE("S357: alone, an upgrade goes on at once, past all who wait") {
    lock m;
    gate when;
    gate until;
    order entered;
    stepped w;
    auto one = w.spawn(upgrades(m, entered, 1, when, until));
    w.settle();
    auto two = w.spawn(writes_once(m, entered, 2));
    w.settle();
    when.open();
    w.settle();
    CHECK(entered == order{1});
    until.open();
    w.settle();
    CHECK(entered == order{1, 2});
    CHECK(m.get_mut() == 2);
}

TEST_CASE("S358: an upgrade that is cancelled, waiting or as it is granted, poisons nothing; "
          "those who came meanwhile go on") {
    for (const bool granted : {false, true}) {
        lock m;
        gate reader;
        gate when;
        gate until;
        order entered;
        stepped w;
        auto one = w.spawn(reads(m, entered, 1, reader));
        auto two = w.spawn(upgrades(m, entered, 2, when, until));
        w.settle();
        when.open();
        w.settle();
        auto three = w.spawn(reads_once(m, entered, 3));
        auto four = w.spawn(writes_once(m, entered, 4));
        w.settle();
        CHECK(entered == order{1});
        if (granted) {
            reader.open();
            w.step(); // the reader ends; the upgrade is granted and has not run
            CHECK(m.readers() == 0);
        }
        two.cancel();
        w.settle();
        CHECK(w.end_of(two).is_cancelled());
        CHECK_FALSE(m.is_poisoned());
        reader.open();
        w.settle();
        CHECK(entered == order{1, 3, 4});
        CHECK(m.readers() == 0);
        CHECK(m.try_upgradable().has_value());
    }
}

TEST_CASE("S358: whose upgrade is stopped in a boundary has the right still") {
    lock m;
    gate reader;
    order entered;
    stepped w;
    auto one = w.spawn(reads(m, entered, 1, reader));
    w.settle();
    auto tries = w.spawn([](lock& of, gate& other) -> task<int> {
        auto reading = co_await of.upgradable();
        auto ask = [&]() -> task<> {
            auto held = co_await reading.upgrade();
            ++*held;
        };
        auto late = co_await try_with_timeout(10ms, ask());
        CHECK_FALSE(late.has_value());
        CHECK(reading.held());
        CHECK_FALSE(of.try_upgradable().has_value());
        CHECK(of.try_read().has_value());
        other.open();
        auto held = co_await reading.upgrade();
        ++*held;
        co_return *held;
    }(m, reader));
    w.settle();
    w.advance(10ms);
    CHECK(w.end_of(tries).value() == 1);
}

TEST_CASE(
    "S359: limits of time: an upgrade that is late leaves the right as it was; a grant at "
    "the same moment wins") {
    lock m;
    gate reader;
    order entered;
    stepped w;
    auto one = w.spawn(reads(m, entered, 1, reader));
    w.settle();
    auto tries = w.spawn([](lock& of, gate& other) -> task<bool> {
        auto reading = co_await of.upgradable();
        auto late = co_await reading.try_upgrade_for(10ms);
        CHECK_FALSE(late.has_value());
        CHECK(reading.held());
        CHECK(of.try_read().has_value());
        CHECK_FALSE(reading.try_upgrade().has_value());
        other.open();
        auto held = co_await reading.try_upgrade_until(this_task::now() + 1h);
        CHECK_FALSE(reading.held());
        co_return held.has_value();
    }(m, reader));
    auto second = w.spawn([](lock& of) -> task<bool> {
        auto held = co_await of.try_upgradable_for(5ms);
        co_return held.has_value();
    }(m));
    w.settle();
    w.advance(5ms);
    CHECK_FALSE(w.end_of(second).value());
    w.advance(5ms);
    CHECK(w.end_of(tries).value());

    gate again;
    auto two = w.spawn(reads(m, entered, 2, again));
    w.settle();
    auto tie = w.spawn([](lock& of) -> task<bool> {
        auto reading = co_await of.upgradable();
        auto held = co_await reading.try_upgrade_for(10ms);
        co_return held.has_value();
    }(m));
    w.settle();
    again.open();
    w.step(); // granted, and has not run
    w.advance(10ms);
    CHECK(w.end_of(tie).value());
}

TEST_CASE("S360: down again: a writer keeps the right to upgrade, or not; who has it gives it "
          "to the next") {
    lock m(1, "m");
    stepped w;
    auto walks = [](lock& of) -> task<> {
        auto reading = co_await of.upgradable();
        auto held = reading.try_upgrade();
        REQUIRE(held.has_value());
        *held.value() = 2;
        auto again = of.downgrade_to_upgradable(std::move(*held));
        CHECK_FALSE(held->held());
        CHECK(*again == 2);
        CHECK_FALSE(of.try_upgradable().has_value());
        CHECK(of.try_read().has_value());
        auto second = co_await again.upgrade();
        *second = 3;
        auto third = of.downgrade_to_upgradable(std::move(second));
        auto reader = third.downgrade();
        CHECK_FALSE(third.held());
        CHECK(*reader == 3);
        CHECK(of.readers() == 1);
        auto other = of.try_upgradable();
        REQUIRE(other.has_value());
        CHECK_FALSE(other->try_upgrade().has_value()); // the reader is there
        reader.unlock();
        CHECK(other->try_upgrade().has_value());
        CHECK_THROWS_AS(**other, std::logic_error);
        CHECK_THROWS_AS(other->upgrade(), std::logic_error);
        CHECK_THROWS_AS(other->downgrade(), std::logic_error);
        lock elsewhere;
        auto writer = co_await of.write();
        CHECK_THROWS_AS(elsewhere.downgrade_to_upgradable(std::move(writer)), std::logic_error);
        CHECK(writer.held());
    };
    w.run(walks(m));
    CHECK(m.readers() == 0);
    CHECK(m.get_mut() == 3);
}

TEST_CASE("S360: who goes on as any reader lets the next have the right; who has let go of it "
          "waits for readers as others do") {
    lock m;
    gate until;
    gate reader;
    order entered;
    stepped w;
    auto one = w.spawn([](lock& of, gate& when, order& told) -> task<> {
        auto reading = co_await of.upgradable();
        co_await when.pass();
        auto as_any = reading.downgrade();
        co_await yield_now();
        co_await yield_now();
        told.push_back(1);
        as_any.unlock();
        auto held = co_await of.write();
        told.push_back(4);
    }(m, until, entered));
    w.settle();
    auto two = w.spawn([](lock& of, gate& when, order& told) -> task<> {
        {
            auto reading = co_await of.upgradable();
            told.push_back(0);
        }
        auto reading = co_await of.read();
        told.push_back(2);
        co_await when.pass();
        told.push_back(3);
    }(m, reader, entered));
    w.settle();
    until.open();
    w.settle();
    CHECK(entered == order{0, 2, 1});
    reader.open();
    w.settle();
    CHECK(entered == order{0, 2, 1, 3, 4});
    CHECK(one.done());
}

TEST_CASE(
    "S358: the same in a limit of time around the upgrade itself: late, or cancelled as it "
    "is granted") {
    for (const bool granted : {false, true}) {
        lock m;
        gate reader;
        gate until;
        order entered;
        stepped w;
        auto one = w.spawn(reads(m, entered, 1, reader));
        w.settle();
        auto two = w.spawn([](lock& of, gate& at) -> task<> {
            auto reading = co_await of.upgradable();
            auto late = co_await try_with_timeout(10ms, reading.upgrade());
            CHECK_FALSE(late.has_value());
            CHECK(reading.held());
            co_await at.pass();
        }(m, until));
        w.settle();
        if (granted) {
            reader.open();
            w.step(); // the reader ends; the upgrade is granted and has not run
            two.cancel();
        } else {
            w.advance(10ms);
            CHECK(m.readers() == 2);
            CHECK(m.try_read().has_value());
            CHECK_FALSE(m.try_upgradable().has_value());
            two.cancel();
            reader.open();
        }
        w.settle();
        CHECK(w.end_of(two).is_cancelled());
        CHECK_FALSE(m.is_poisoned());
        CHECK(m.readers() == 0);
        CHECK(m.try_write().has_value());
    }
}

TEST_CASE("S358: a right to upgrade that was granted to a cancelled task goes back") {
    lock m;
    gate until;
    gate never;
    order entered;
    stepped w;
    auto one = w.spawn(may_upgrade(m, entered, 1, until));
    w.settle();
    auto two = w.spawn(may_upgrade(m, entered, 2, never));
    auto three = w.spawn(writes_once(m, entered, 3));
    w.settle();
    until.open();
    w.step(); // the first ends; the second is granted and has not run
    two.cancel();
    w.settle();
    CHECK(entered == order{1, 3});
    CHECK(m.readers() == 0);
}

TEST_CASE("S360: moved and assigned, the right goes along; unlock() lets it go") {
    lock m;
    stepped w;
    auto moves = [](lock& of) -> task<> {
        lock other;
        auto one = co_await of.upgradable();
        auto two = std::move(one);
        CHECK_FALSE(one.held());
        auto three = co_await other.upgradable();
        three = std::move(two);
        CHECK(other.try_upgradable().has_value());
        CHECK_FALSE(of.try_upgradable().has_value());
        three.unlock();
        CHECK(of.try_upgradable().has_value());
        three.unlock();
    };
    w.run(moves(m));
    CHECK(m.readers() == 0);
}

TEST_CASE("S361: who may upgrade, and asks to write or for the right again, is told; he may "
          "read besides") {
    lock m(0, "m");
    stepped w;
    auto again = [](lock& of) -> task<int> {
        int refused = 0;
        auto reading = co_await of.upgradable();
        try {
            auto second = co_await of.upgradable();
        } catch (const sync::would_deadlock& error) {
            CHECK(std::string(error.what()).find("'m' is held by the task that asks for it") !=
                  std::string::npos);
            ++refused;
        }
        try {
            auto writing = co_await of.write();
        } catch (const sync::would_deadlock&) {
            ++refused;
        }
        {
            auto besides = co_await of.read();
        }
        auto moved = std::move(reading);
        try {
            auto writing = co_await of.write();
        } catch (const sync::would_deadlock&) {
            ++refused;
        }
        auto held = co_await moved.upgrade();
        try {
            auto third = co_await of.upgradable();
        } catch (const sync::would_deadlock&) {
            ++refused;
        }
        auto down = of.downgrade_to_upgradable(std::move(held));
        try {
            auto writing = co_await of.write();
        } catch (const sync::would_deadlock&) {
            ++refused;
        }
        co_return refused;
    };
    CHECK(w.run(again(m)) == 5);
    CHECK(m.readers() == 0);
    CHECK_THROWS_AS(([&] {
                        auto held = m.blocking_upgradable();
                        auto second = m.blocking_upgradable();
                    }()),
                    sync::would_deadlock);
}

TEST_CASE(
    "S361: who has given the right away, to another task or altogether, waits as others do") {
    lock m(0, "m");
    gate until;
    gate reader;
    order entered;
    stepped w;
    auto keeps = [](lock::upgradable_guard held, gate& at) -> task<> {
        co_await at.pass();
        CHECK(held.held());
    };
    auto gives = w.spawn([](lock& of, auto& keep, gate& at, order& told) -> task<> {
        auto reading = co_await of.upgradable();
        spawn(keep(std::move(reading), at)).detach();
        auto held = co_await of.write();
        told.push_back(1);
    }(m, keeps, until, entered));
    w.settle();
    CHECK_FALSE(gives.done());
    until.open();
    w.settle();
    CHECK(w.end_of(gives).has_value());
    auto other = w.spawn(reads(m, entered, 2, reader));
    w.settle();
    auto lets_go = w.spawn([](lock& of, order& told) -> task<> {
        {
            auto reading = co_await of.upgradable();
        }
        auto held = co_await of.write();
        told.push_back(3);
    }(m, entered));
    w.settle();
    CHECK_FALSE(lets_go.done());
    reader.open();
    w.settle();
    CHECK(w.end_of(lets_go).has_value());
    CHECK(entered == order{1, 2, 3});
}

TEST_CASE(
    "S361: between the grant of an upgrade and its resumption a sibling that reads waits") {
    lock m(0, "m");
    gate reader;
    order entered;
    stepped w;
    auto one = w.spawn(reads(m, entered, 1, reader));
    w.settle();
    gate now;
    auto two = w.spawn([](lock& of, gate& when, order& told) -> task<> {
        auto reading = co_await of.upgradable();
        auto upgrade = [&]() -> task<> {
            auto held = co_await reading.upgrade();
            told.push_back(2);
        };
        auto read = [&]() -> task<> {
            co_await when.pass();
            auto besides = co_await of.read();
            told.push_back(3);
        };
        co_await when_all(upgrade(), read());
    }(m, now, entered));
    w.settle();
    reader.open();
    now.open(); // the sibling runs when the upgrade is granted, and before it goes on
    w.settle();
    CHECK(w.end_of(two).has_value());
    CHECK(entered.size() == 3);
}

TEST_CASE(
    "S361: who may upgrade and reads besides, behind a writer who waits for him, is told") {
    lock m(0, "m");
    order entered;
    gate until;
    stepped w;
    auto one = w.spawn([](lock& of, gate& when) -> task<bool> {
        auto reading = co_await of.upgradable();
        co_await when.pass();
        bool told = false;
        try {
            auto besides = co_await of.read();
        } catch (const sync::would_deadlock&) {
            told = true;
        }
        co_return told;
    }(m, until));
    w.settle();
    auto two = w.spawn(writes_once(m, entered, 2));
    w.settle();
    until.open();
    w.settle();
    CHECK(w.end_of(one).value());
    CHECK(entered == order{2});
}

TEST_CASE("S360: misuse: a second upgrade of a guard, one of a guard that was let go") {
    lock m;
    gate reader;
    order entered;
    stepped w;
    auto one = w.spawn(reads(m, entered, 1, reader));
    w.settle();
    auto two = w.spawn([](lock& of) -> task<int> {
        int refused = 0;
        auto reading = co_await of.upgradable();
        auto upgrade = [&]() -> task<> {
            auto held = co_await reading.upgrade();
            ++*held;
        };
        try {
            co_await when_all(upgrade(), upgrade());
        } catch (const std::logic_error&) {
            ++refused;
        }
        auto third = reading.upgrade();
        reading.unlock();
        try {
            auto held = co_await third;
        } catch (const std::logic_error&) {
            ++refused;
        }
        co_return refused;
    }(m));
    w.settle();
    reader.open();
    w.settle();
    CHECK(w.end_of(two).value() == 2);
    CHECK(m.readers() == 0);
    CHECK(m.try_write().has_value());
}

TEST_CASE("S362: as a reader it poisons nothing; upgraded, it is a writer whose section began "
          "there, with the policies of the mutex") {
    lock m(0, "m");
    gate until;
    order entered;
    stepped w;
    auto reader = w.spawn(may_upgrade(m, entered, 1, until));
    w.settle();
    reader.cancel();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    gate open;
    open.open();
    unsigned line = 0;
    auto writer = w.spawn([](lock& of, gate& at, unsigned& where) -> task<> {
        auto reading = co_await of.upgradable();
        where = __LINE__ + 1;
        auto held = co_await reading.upgrade();
        co_await at.pass();
    }(m, until, line));
    w.settle();
    writer.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string().find("upgradable_guard_test.cpp:" + std::to_string(line)) !=
          std::string::npos);
    CHECK_THROWS_AS(m.try_upgradable(), poison_error);
    auto asks = [](lock& of) -> task<> { auto held = co_await of.upgradable(); };
    CHECK_THROWS_AS(w.run(asks(m)), poison_error);

    shared_mutex<int, sync::on_cancel::defer, sync::on_exception::rollback> kind(1);
    auto fails = [](auto& of) -> task<> {
        auto reading = co_await of.upgradable();
        auto held = co_await reading.upgrade();
        *held = 2;
        throw std::runtime_error("boom");
    };
    CHECK_THROWS_AS(w.run(fails(kind)), std::runtime_error);
    CHECK_FALSE(kind.is_poisoned());
    CHECK(kind.get_mut() == 1);
    shared_mutex<int, sync::on_cancel::defer> defers(1);
    gate last;
    auto deferring = w.spawn([](auto& of, gate& at) -> task<> {
        auto reading = co_await of.upgradable();
        auto held = reading.try_upgrade();
        auto again = of.downgrade_to_upgradable(std::move(*held)); // defers nothing any more
        auto second = co_await again.upgrade();
        co_await at.pass();
        *second = 5;
        second.unlock();
        co_await yield_now();
        *of.try_write().value() = 6;
    }(defers, last));
    w.settle();
    deferring.cancel();
    w.settle();
    CHECK_FALSE(deferring.done());
    last.open();
    w.settle();
    CHECK(w.end_of(deferring).is_cancelled());
    CHECK(defers.get_mut() == 5);
}

} // namespace toadstone::tests
