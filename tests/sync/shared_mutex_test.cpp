// shared_mutex: readers together, writers alone, and the poison that only writers make.
#include <toadstone/sync/shared_mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::shared_mutex;

task<> reads(shared_mutex<int>& m, order& entered, int who, gate& until) {
    auto held = co_await m.read();
    entered.push_back(who);
    co_await until.pass();
}
task<> reads_once(shared_mutex<int>& m, order& entered, int who) {
    auto held = co_await m.read();
    entered.push_back(who);
}
task<> writes(shared_mutex<int>& m, order& entered, int who, gate& until) {
    auto held = co_await m.write();
    entered.push_back(who);
    co_await until.pass();
    ++*held;
}
task<> writes_once(shared_mutex<int>& m, order& entered, int who) {
    auto held = co_await m.write();
    entered.push_back(who);
    ++*held;
}
task<std::string> why_not_read(shared_mutex<int>& m) {
    std::string why;
    try {
        auto held = co_await m.read();
    } catch (const std::exception& error) {
        why = error.what();
    }
    co_return why;
}

} // namespace

TEST_CASE(
    "S290: readers come together; a writer who waits stops the readers behind him, and is "
    "alone; then those come together") {
    shared_mutex<int> m(0, "m");
    gate first;
    gate second;
    gate writer;
    order entered;
    stepped w;
    auto one = w.spawn(reads(m, entered, 1, first));
    auto two = w.spawn(reads(m, entered, 2, second));
    w.settle();
    CHECK(m.readers() == 2);
    auto three = w.spawn(writes(m, entered, 3, writer));
    w.settle();
    auto four = w.spawn(reads_once(m, entered, 4));
    auto five = w.spawn(reads_once(m, entered, 5));
    w.settle();
    CHECK(entered == order{1, 2});
    CHECK_FALSE(m.try_read().has_value());
    first.open();
    w.settle();
    CHECK(entered == order{1, 2});
    second.open();
    w.settle();
    CHECK(entered == order{1, 2, 3});
    CHECK_FALSE(m.try_read().has_value());
    CHECK_FALSE(m.try_write().has_value());
    writer.open();
    w.settle();
    CHECK(entered == order{1, 2, 3, 4, 5});
    CHECK(m.get_mut() == 1);
    CHECK(m.readers() == 0);
}

TEST_CASE("S10: a cancelled queued writer admits the readers that waited only because of him") {
    shared_mutex<int> m;
    gate until;
    gate never;
    order entered;
    stepped w;
    auto one = w.spawn(reads(m, entered, 1, until));
    w.settle();
    auto writer = w.spawn(writes(m, entered, 2, never));
    w.settle();
    auto three = w.spawn(reads_once(m, entered, 3));
    w.settle();
    CHECK(entered == order{1});
    writer.cancel();
    w.settle();
    CHECK(entered == order{1, 3});
    CHECK_FALSE(m.is_poisoned());
    until.open();
    w.settle();
}

TEST_CASE("S290: a read that was granted to a cancelled task goes back, and the writer behind "
          "it goes on") {
    shared_mutex<int> m;
    gate until;
    order entered;
    stepped w;
    auto holder = w.spawn(writes(m, entered, 1, until));
    w.settle();
    auto reader = w.spawn(reads_once(m, entered, 2));
    auto writer = w.spawn(writes_once(m, entered, 3));
    w.settle();
    until.open();
    w.step(); // the writer ends; the reader is granted and has not run
    reader.cancel();
    w.settle();
    CHECK(entered.back() == 3);
    CHECK(writer.done());
    CHECK(m.readers() == 0);
}

TEST_CASE("S46: a reader that unwinds poisons nobody") {
    shared_mutex<int> m;
    gate until;
    order entered;
    stepped w;
    auto cancelled = w.spawn(reads(m, entered, 1, until));
    auto fails = [](shared_mutex<int>& of) -> task<> {
        auto held = co_await of.read();
        throw std::runtime_error("boom");
    };
    w.settle();
    cancelled.cancel();
    CHECK_THROWS_AS(w.run(fails(m)), std::runtime_error);
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.readers() == 0);
    CHECK(m.try_write().has_value());
}

TEST_CASE("S46: a writer that unwinds poisons it for readers and writers, with the cause; "
          "read_or_poison() looks, and a recovery heals") {
    shared_mutex<int> m(7, "prices");
    gate until;
    order entered;
    stepped w;
    auto writer = w.spawn(writes(m, entered, 1, until));
    w.settle();
    auto queued = w.spawn(why_not_read(m));
    w.settle();
    writer.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string().find("shared_mutex 'prices' poisoned: ") == 0);
    CHECK(w.end_of(queued).value().find("shared_mutex 'prices' poisoned: ") == 0);
    CHECK(w.run(why_not_read(m)).find("shared_mutex 'prices' poisoned: ") == 0);
    CHECK_THROWS_AS(m.try_read(), poison_error);
    CHECK_THROWS_AS(w.run(writes_once(m, entered, 2)), poison_error);
    auto looks = [](shared_mutex<int>& of) -> task<int> {
        auto one = co_await of.read_or_poison();
        auto two = co_await of.read_or_poison(); // together
        CHECK_FALSE(static_cast<bool>(one));
        CHECK(two.guard().is_poisoned());
        CHECK(static_cast<bool>(two.cause()));
        co_return **&one.guard();
    };
    CHECK(w.run(looks(m)) == 7);
    auto patient = w.spawn([](shared_mutex<int>& of) -> task<int> {
        auto held = co_await of.read(sync::wait_recovery);
        co_return *held;
    }(m));
    w.settle();
    CHECK_FALSE(patient.done());
    auto heals = [](shared_mutex<int>& of) -> task<> {
        auto repair = [](int& data, const poison_cause&) { data = 8; };
        auto held = co_await of.write_or_recover(repair);
        CHECK(*held == 8);
    };
    w.run(heals(m));
    w.settle();
    CHECK(w.end_of(patient).value() == 8);
    CHECK(m.name() == "prices");
}

TEST_CASE(
    "S46: a downgraded writer counts as a reader from the downgrade, and lets readers in") {
    shared_mutex<int> m;
    gate until;
    order entered;
    stepped w;
    auto writer = w.spawn([](shared_mutex<int>& of, gate& at) -> task<> {
        auto held = co_await of.write();
        *held = 5;
        auto reading = of.downgrade(std::move(held));
        CHECK_FALSE(held.held());
        CHECK(*reading == 5);
        co_await at.pass();
    }(m, until));
    auto reader = w.spawn(reads_once(m, entered, 1));
    auto second = w.spawn(writes_once(m, entered, 2));
    w.settle();
    CHECK(entered == order{1});
    CHECK(m.readers() == 1);
    writer.cancel();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    CHECK(entered == order{1, 2});
    auto misuse = [](shared_mutex<int>& of) -> task<> {
        shared_mutex<int> other;
        auto held = co_await of.write();
        CHECK_THROWS_AS(other.downgrade(std::move(held)), std::logic_error);
        CHECK(held.held());
    };
    w.run(misuse(m));
}

TEST_CASE("S291: who writes and asks again is told, and a downgraded writer may read again") {
    shared_mutex<int> m(0, "m");
    stepped w;
    auto again = [](shared_mutex<int>& of) -> task<int> {
        int refused = 0;
        auto held = co_await of.write();
        try {
            auto reading = co_await of.read();
        } catch (const sync::would_deadlock&) {
            ++refused;
        }
        try {
            auto writing = co_await of.write();
        } catch (const sync::would_deadlock&) {
            ++refused;
        }
        auto reading = of.downgrade(std::move(held));
        auto second = co_await of.read();
        co_return refused;
    };
    CHECK(w.run(again(m)) == 2);
}

TEST_CASE("S292: time limits: the time is up first, a grant at the same moment wins, and a "
          "writer who runs out of time lets readers in") {
    shared_mutex<int> m;
    gate until;
    gate writer_until;
    order entered;
    stepped w;
    auto reader = w.spawn(reads(m, entered, 1, until));
    w.settle();
    auto tries_to_write = w.spawn([](shared_mutex<int>& of) -> task<bool> {
        auto held = co_await of.try_write_for(10ms);
        co_return held.has_value();
    }(m));
    w.settle();
    auto behind = w.spawn([](shared_mutex<int>& of) -> task<bool> {
        auto held = co_await of.try_read_for(20ms);
        co_return held.has_value();
    }(m));
    w.settle();
    CHECK_FALSE(behind.done());
    w.advance(10ms);
    CHECK_FALSE(w.end_of(tries_to_write).value());
    CHECK(w.end_of(behind).value());
    until.open();
    w.settle();
    auto writer = w.spawn(writes(m, entered, 2, writer_until));
    w.settle();
    auto late = w.spawn([](shared_mutex<int>& of) -> task<bool> {
        auto held = co_await of.try_read_for(10ms);
        co_return held.has_value();
    }(m));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(w.end_of(late).value());
}

TEST_CASE("S293: policies and transactions are the writers'") {
    shared_mutex<int, sync::on_cancel::release, sync::on_exception::rollback> m(1);
    stepped w;
    auto fails = [](auto& of) -> task<> {
        auto held = co_await of.write();
        *held = 9;
        throw std::runtime_error("boom");
    };
    CHECK_THROWS_AS(w.run(fails(m)), std::runtime_error);
    CHECK_FALSE(m.is_poisoned());
    auto looks = [](auto& of) -> task<int> {
        auto held = co_await of.read();
        co_return *held;
    };
    CHECK(w.run(looks(m)) == 1);
    shared_mutex<int> plain(1);
    auto transacts = [](shared_mutex<int>& of) -> task<> {
        auto tx = co_await of.transaction();
        *tx = 2;
        CHECK_FALSE(of.try_read().has_value());
        tx.commit();
    };
    w.run(transacts(plain));
    CHECK(plain.get_mut() == 2);
}

TEST_CASE("S294: readers and writers of two workers and plain threads: writers are alone, and "
          "readers see whole data") {
    constexpr int rounds = 400;
    struct pair_of {
        int left = 0;
        int right = 0;
    };
    shared_mutex<pair_of> m;
    std::atomic<int> together{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < rounds; ++round) {
                if (i == 0) {
                    auto held = m.blocking_write();
                    ++held->left;
                    ++held->right;
                } else {
                    auto held = m.blocking_read();
                    if (held->left != held->right) together = -1;
                }
            }
        });
    }
    runtime r({.workers = 2});
    auto party = [&]() -> task<> {
        for (int round = 0; round < rounds; ++round) {
            if (round % 4 == 0) {
                auto held = co_await m.write();
                ++held->left;
                co_await yield_now();
                ++held->right;
            } else {
                auto held = co_await m.read();
                co_await yield_now();
                if (held->left != held->right) together = -1;
            }
        }
    };
    auto all = [&]() -> task<> {
        auto one = spawn(party(), {.where = placement::worker(0)});
        auto two = spawn(party(), {.where = placement::worker(1)});
        auto three = spawn(party(), {.where = placement::worker(1)});
        co_await one;
        co_await two;
        co_await three;
    };
    r.block_on(all());
    for (auto& each : threads) each.join();
    CHECK(together.load() == 0);
    CHECK(m.get_mut().left == rounds + 3 * rounds / 4);
    CHECK(m.get_mut().left == m.get_mut().right);
}

} // namespace toadstone::tests
