// Upgrades, open sections and several locks, cancelled at every await, once and twice.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/cancelled.hpp"
#include "support/explored.hpp"
#include "support/movers.hpp"

#include <catch2/catch.hpp>

#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;

/// Reads, goes on as a writer, and down again.
task<> upgrades(sync::shared_mutex<pair_of>& m, census& in) {
    const counted here(in);
    try {
        auto reading = co_await m.upgradable();
        expect(reading->sound(), "a reader has seen half-done data");
        const int seen = reading->first;
        co_await yield_now();
        auto held = co_await reading.upgrade();
        expect(held->first == seen, "somebody wrote before an upgrade");
        ++held->first;
        co_await yield_now();
        ++held->second;
        auto again = m.downgrade_to_upgradable(std::move(held));
        co_await yield_now();
    } catch (const poison_error&) {
    }
}
task<> reads(sync::shared_mutex<pair_of>& m, census& in) {
    const counted here(in);
    try {
        auto held = co_await m.read();
        expect(held->sound(), "a reader has seen half-done data");
        co_await yield_now();
        expect(held->sound(), "a reader has seen half-done data");
    } catch (const poison_error&) {
    }
}
task<> upgraded(sim::world&) {
    sync::shared_mutex<pair_of> m;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(upgrades(m, in), on(0, "upgrades")).detach();
        scope.spawn(reads(m, in), on(1, "reads")).detach();
        scope.spawn(upgrades(m, in), on(1, "upgrades")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect(m.readers() == 0 && !m.is_locked(), "somebody who has ended holds it");
    expect(m.get_mut(sync::ignore_poison).sound() || m.is_poisoned(),
           "half-done data, and the lock does not say so");
}

/// A section that is open in the middle, where its data is sound.
task<> opens(mutex<pair_of>& m, census& in) {
    const counted here(in);
    try {
        auto held = co_await m.lock();
        ++held->first;
        ++held->second;
        auto others = []() -> task<> {
            co_await yield_now();
            co_await yield_now();
        };
        co_await held.unlocked(others);
        expect(held->sound(), "an open section has got half-done data back");
        ++held->first;
        co_await yield_now();
        ++held->second;
    } catch (const poison_error&) {
    }
}
task<> opened(sim::world&) {
    mutex<pair_of> m;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(opens(m, in), on(0, "opens")).detach();
        scope.spawn(moves(m, in), on(1, "mover")).detach();
        scope.spawn(opens(m, in), on(1, "opens")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(m);
}

/// Money that goes from one to the other: together it stays the same.
task<> transfers(mutex<pair_of>& from, mutex<pair_of>& to, census& in) {
    const counted here(in);
    try {
        auto held = co_await sync::lock_all(from, to);
        auto& [giver, taker] = held;
        ++giver->first;
        ++taker->first;
        co_await yield_now();
        ++giver->second;
        ++taker->second;
    } catch (const poison_error&) {
    }
}
task<> locked_together(sim::world&) {
    mutex<pair_of> one;
    mutex<pair_of> other;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(transfers(one, other, in), on(0, "there")).detach();
        scope.spawn(transfers(other, one, in), on(1, "back")).detach();
        scope.spawn(moves(other, in), on(0, "mover")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(one);
    expect_sound(other);
}

} // namespace

TEST_CASE("S358: readers who go on as writers, and down again, stopped at every await") {
    cancelled_everywhere(upgraded, 7);
}
TEST_CASE("S365: sections that are open in the middle, stopped at every await") {
    cancelled_everywhere(opened, 9);
}
TEST_CASE("S371: tasks that lock two at once, in either order, stopped at every await") {
    cancelled_everywhere(locked_together, 6);
}

} // namespace toadstone::tests
