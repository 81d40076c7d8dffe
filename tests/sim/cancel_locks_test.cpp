// Locks cancelled at every await, once and twice: whatever is stopped wherever, the data is
// before or after a section or its lock is poisoned, and nobody waits for a free lock.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/cancelled.hpp"
#include "support/explored.hpp"
#include "support/movers.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;
using sync::on_cancel;

template <on_cancel Policy, sync::fairness Order = sync::fairness::strict, int Movers = 3>
task<> contended(sim::world&) {
    mutex<pair_of, Policy> m({}, "contended", Order);
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        const bool at_once = Policy == on_cancel::release;
        for (int i = 0; i < Movers; ++i) {
            scope.spawn(moves(m, in, at_once), on(i % 2, "mover")).detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(m);
    if constexpr (Policy == on_cancel::poison) co_return;
    expect(!m.is_poisoned(), "a policy that spares the lock has poisoned it");
}

task<> moves_both(mutex<pair_of>& outer, mutex<pair_of>& inner, census& in) {
    const counted here(in);
    try {
        auto a = co_await outer.lock();
        ++a->first;
        {
            auto b = co_await inner.lock();
            ++b->first;
            co_await yield_now();
            ++b->second;
        }
        co_await yield_now();
        ++a->second;
    } catch (const poison_error&) {
    }
}

task<> nested(sim::world&) {
    mutex<pair_of> outer;
    mutex<pair_of> inner;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(moves_both(outer, inner, in), on(0, "outer")).detach();
        scope.spawn(moves_both(outer, inner, in), on(1, "outer")).detach();
        scope.spawn(moves(inner, in), on(1, "inner")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(outer);
    expect_sound(inner);
}

task<> repairs(mutex<pair_of>& m, census& in) {
    const counted here(in);
    auto right = co_await m.recover();
    expect(right.needed() || right->sound(), "a healthy lock with half-done data");
    if (!right.needed()) co_return;
    right->first = 0;
    co_await yield_now();
    right->second = 0;
    auto held = right.complete();
}

template <class Mutex>
task<> breaks(Mutex& m) {
    try {
        auto held = co_await m.lock();
        ++held->first;
        throw boom();
    } catch (const boom&) {
    }
}

task<> waits_for_repair(mutex<pair_of>& m, census& in) {
    const counted here(in);
    auto held = co_await m.lock(sync::wait_recovery);
    expect(held->sound(), "a patient waiter has got half-done data");
}

task<> recovered(sim::world&) {
    mutex<pair_of> m;
    census in;
    co_await breaks(m);
    const auto body = [&](task_scope& scope) -> task<> {
        auto one = scope.spawn(repairs(m, in), on(0, "one"));
        auto two = scope.spawn(repairs(m, in), on(1, "two"));
        auto patient = scope.spawn(waits_for_repair(m, in), on(1, "patient"));
        scope.spawn(moves(m, in), on(0, "mover")).detach();
        static_cast<void>(co_await one.outcome());
        static_cast<void>(co_await two.outcome());
        // Both may have been stopped; the patient one must not wait for ever then.
        while (!patient.done()) {
            if (m.is_poisoned()) co_await repairs(m, in);
            co_await yield_now();
        }
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(m);
}

task<> races(mutex<pair_of>& a, mutex<pair_of>& b, census& in) {
    const counted here(in);
    try {
        auto first = co_await when_any(a.lock(), b.lock());
        auto held = std::move(first.value);
        ++held->first;
        co_await yield_now();
        ++held->second;
    } catch (const poison_error&) {
    }
}

task<> raced(sim::world&) {
    mutex<pair_of> a;
    mutex<pair_of> b;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(moves(a, in), on(1, "a")).detach();
        scope.spawn(moves(b, in), on(0, "b")).detach();
        scope.spawn(races(a, b, in), on(0, "racer")).detach();
        scope.spawn(races(b, a, in), on(1, "racer")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(a);
    expect_sound(b);
}

task<> holds_for(mutex<pair_of>& m, census& in, std::chrono::nanoseconds how_long) {
    const counted here(in);
    try {
        auto held = co_await m.lock();
        ++held->first;
        co_await sleep_for(how_long);
        ++held->second;
    } catch (const poison_error&) {
    }
}

task<> tries_for(mutex<pair_of>& m, census& in, std::chrono::nanoseconds limit) {
    const counted here(in);
    try {
        auto held = co_await m.try_lock_for(limit);
        if (!held) co_return;
        ++(*held)->first;
        co_await yield_now();
        ++(*held)->second;
    } catch (const poison_error&) {
    }
}

task<> locks_within(mutex<pair_of>& m, census& in, std::chrono::nanoseconds limit) {
    const counted here(in);
    try {
        auto held = co_await with_timeout(limit, m.lock());
        ++held->first;
        co_await yield_now();
        ++held->second;
    } catch (const poison_error&) {
    } catch (const timeout_error&) {
    }
}

task<> timed(sim::world&) {
    mutex<pair_of> m;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds_for(m, in, 1ms), on(0, "holder")).detach();
        scope.spawn(tries_for(m, in, 1ms), on(1, "timed")).detach();
        scope.spawn(locks_within(m, in, 1ms), on(1, "within")).detach();
        scope.spawn(moves(m, in), on(0, "mover")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(m);
}

task<> section(mutex<pair_of>& m) {
    auto held = co_await m.lock();
    ++held->first;
    co_await yield_now();
    ++held->second;
}
task<> moves_shielded(mutex<pair_of>& m, census& in) {
    const counted here(in);
    co_await shield(section(m));
    co_await yield_now();
}

task<> shielded(sim::world&) {
    mutex<pair_of> m;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 3; ++i) {
            scope.spawn(moves_shielded(m, in), on(i % 2, "shielded")).detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(m);
    expect(!m.is_poisoned(), "a shielded section was left half-way");
    const int entered = m.get_mut().first;
    expect(entered <= in.begun, "somebody has been in the section twice");
}

task<> puts_back(mutex<pair_of>& m, int& cleanups) {
    auto right = co_await m.recover();
    co_await yield_now();
    *right = pair_of();
    auto held = right.complete();
    ++cleanups;
}

task<> moves_and_cleans(mutex<pair_of>& m, census& in, int& begun, int& cleanups) {
    const counted here(in);
    try {
        auto body = section(m);
        auto cleanup = puts_back(m, cleanups);
        ++begun;
        co_await finally(std::move(body), std::move(cleanup));
    } catch (const poison_error&) {
    }
}

task<> cleaned(sim::world&) {
    mutex<pair_of> m;
    census in;
    int begun = 0;
    int cleanups = 0;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 3; ++i) {
            scope.spawn(moves_and_cleans(m, in, begun, cleanups), on(i % 2, "cleaner"))
                .detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect(cleanups == begun, "a cleanup did not run exactly once");
    expect(!m.is_poisoned(), "the last cleanup has left the lock poisoned");
    expect_sound(m);
}

/// A guard that a child has been given, on another worker.
task<> goes_on(sync::guard<pair_of> held) {
    co_await yield_now();
    ++held->second;
}
task<> gives_away(mutex<pair_of>& m, census& in) {
    const counted here(in);
    try {
        auto held = co_await m.lock();
        ++held->first;
        auto child = spawn(goes_on(std::move(held)), on(1, "child"));
        co_await child;
    } catch (const poison_error&) {
    } catch (const task_cancelled&) {
    }
}

task<> given(sim::world&) {
    mutex<pair_of> m;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(gives_away(m, in), on(0, "parent")).detach();
        scope.spawn(moves(m, in), on(1, "mover")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    // A parent that is gone does not stop its child: whoever comes next waits for it.
    auto found = co_await m.lock_or_poison();
    const bool healthy = static_cast<bool>(found);
    expect(found.guard()->sound() || !healthy, "half-done data was handed out as healthy");
}

task<> repairs_locally(sync::local_mutex<pair_of>& m, census& in) {
    const counted here(in);
    auto right = co_await m.recover();
    expect(right.needed() || right->sound(), "a healthy lock with half-done data");
    if (!right.needed()) co_return;
    right->first = 0;
    co_await yield_now();
    right->second = 0;
    auto held = right.complete();
}
task<> locks_locally_within(sync::local_mutex<pair_of>& m, census& in) {
    const counted here(in);
    try {
        auto held = co_await with_timeout(1ms, m.lock());
        ++held->first;
        co_await yield_now();
        ++held->second;
    } catch (const poison_error&) {
    } catch (const timeout_error&) {
    }
}
template <class Mutex>
task<> found_sound(Mutex& m) {
    expect_sound(m);
    co_return;
}

task<> local(sim::world&) {
    sync::local_mutex<pair_of> m;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(moves(m, in), on(0, "mover")).detach();
        scope.spawn(repairs_locally(m, in), on(0, "repairer")).detach();
        scope.spawn(moves(m, in), on(0, "mover")).detach();
        scope.spawn(locks_locally_within(m, in), on(0, "timed")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    auto last = spawn(found_sound(m), on(0, "last"));
    co_await last;
}

/// Locks, and repairs if nobody has yet; a request may come at each await of the repair.
template <class Mutex>
task<> mends(Mutex& m, census& in, bool fails) {
    const counted here(in);
    auto repair = [fails](pair_of& data, const poison_cause& why) -> task<> {
        expect(static_cast<bool>(why), "a repair without a cause");
        data.first = 0;
        co_await yield_now();
        if (fails) throw boom();
        data.second = 0;
    };
    try {
        auto held = co_await m.lock_or_recover(repair);
        expect(held->sound(), "lock_or_recover() has given half-done data");
        ++held->first;
        co_await yield_now();
        ++held->second;
    } catch (const boom&) {
    } catch (const poison_error&) {
    }
}

template <sync::fairness Order>
task<> mended(sim::world&) {
    mutex<pair_of> m({}, "mended", Order);
    census in;
    co_await breaks(m);
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(mends(m, in, false), on(0, "one")).detach();
        scope.spawn(mends(m, in, true), on(1, "fails")).detach();
        scope.spawn(mends(m, in, false), on(1, "two")).detach();
        scope.spawn(moves(m, in), on(0, "mover")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect_sound(m);
}

template <class Mutex>
task<> transacts(Mutex& m, census& in) {
    const counted here(in);
    auto tx = co_await m.transaction();
    expect(tx->sound(), "a transaction has begun with half-done data");
    ++tx->first;
    co_await yield_now();
    ++tx->second;
    tx.commit();
    co_await yield_now();
}

/// On a plain mutex, and on one that rolls back: nothing poisons, and nothing is half done.
task<> transacted(sim::world&) {
    using rolling = mutex<pair_of, on_cancel::rollback, sync::on_exception::rollback>;
    mutex<pair_of> plain;
    rolling rolls;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 2; ++i) {
            scope.spawn(transacts(plain, in), on(i % 2, "transacts")).detach();
            scope.spawn(moves(rolls, in), on(i % 2, "rolls")).detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect(!plain.is_poisoned() && !rolls.is_poisoned(), "a section on a copy has poisoned");
    expect_sound(plain);
    expect_sound(rolls);
}

template <on_cancel Policy>
task<> local_by_policy(sim::world&) {
    sync::local_mutex<pair_of, Policy> m;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        const bool at_once = Policy == on_cancel::release;
        for (int i = 0; i < 3; ++i) {
            scope.spawn(moves(m, in, at_once), on(0, "mover")).detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    auto last = spawn(found_sound(m), on(0, "last"));
    co_await last;
    if constexpr (Policy == on_cancel::if_touched) co_return;
    expect(!m.is_poisoned(), "a policy that spares the lock has poisoned it");
}

/// Waits, but not for ever, for somebody else's repair.
task<> waits_for_repair(sync::local_mutex<pair_of>& m, census& in) {
    const counted here(in);
    try {
        auto held = co_await with_timeout(1ms, m.lock(sync::wait_recovery));
        expect(held->sound(), "lock(wait_recovery) has given half-done data");
    } catch (const timeout_error&) {
    }
}
/// Lets the lock go in the middle, with its data sound.
task<> opens_locally(sync::local_mutex<pair_of>& m, census& in) {
    const counted here(in);
    try {
        auto held = co_await m.lock();
        ++held->first;
        ++held->second;
        const auto elsewhere = [] { return yield_now(); };
        co_await held.unlocked(elsewhere);
        expect(held->sound(), "a section goes on with half-done data");
        ++held->first;
        co_await yield_now();
        ++held->second;
    } catch (const poison_error&) {
    }
}

task<> local_mended(sim::world&) {
    sync::local_mutex<pair_of> m;
    census in;
    auto first = spawn(breaks(m), on(0, "breaks"));
    static_cast<void>(co_await first.outcome()); // it may be stopped, too
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(mends(m, in, true), on(0, "fails")).detach();
        scope.spawn(waits_for_repair(m, in), on(0, "waits")).detach();
        scope.spawn(mends(m, in, false), on(0, "mends")).detach();
        scope.spawn(opens_locally(m, in), on(0, "opens")).detach();
        scope.spawn(moves(m, in), on(0, "mover")).detach();
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    auto last = spawn(found_sound(m), on(0, "last"));
    co_await last;
}

task<> local_transacted(sim::world&) {
    using rolling =
        sync::local_mutex<pair_of, on_cancel::rollback, sync::on_exception::rollback>;
    sync::local_mutex<pair_of> plain;
    rolling rolls;
    census in;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 2; ++i) {
            scope.spawn(transacts(plain, in), on(0, "transacts")).detach();
            scope.spawn(moves(rolls, in), on(0, "rolls")).detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect_all_ended(in);
    expect(!plain.is_poisoned() && !rolls.is_poisoned(), "a section on a copy has poisoned");
    auto last = spawn(found_sound(plain), on(0, "last"));
    co_await last;
    auto very_last = spawn(found_sound(rolls), on(0, "very last"));
    co_await very_last;
}

} // namespace

TEST_CASE("cancel: contenders for a lock that poisons, stopped at every await") {
    cancelled_everywhere(contended<on_cancel::poison>, 9);
}
TEST_CASE("cancel: contenders for a lock that defers, stopped at every await") {
    cancelled_everywhere(contended<on_cancel::defer>, 9);
}
TEST_CASE("S169: contenders for a batched lock, stopped at every await") {
    cancelled_everywhere(contended<on_cancel::poison, sync::fairness::batched, 5>, 15);
}
TEST_CASE("cancel: contenders for a lock that releases, stopped at every await") {
    cancelled_everywhere(contended<on_cancel::release>, 9);
}
TEST_CASE("cancel: nested sections, stopped at every await") {
    cancelled_everywhere(nested, 9);
}
TEST_CASE("cancel: recoveries in progress, stopped at every await") {
    cancelled_everywhere(recovered, 6);
}
TEST_CASE("S245: lock_or_recover(), a repair that fails among them, stopped at every await") {
    cancelled_everywhere(mended<sync::fairness::strict>, 8);
    cancelled_everywhere(mended<sync::fairness::batched>, 8);
}
TEST_CASE("S248: transactions, and sections that roll back, stopped at every await") {
    cancelled_everywhere(transacted, 8);
}
TEST_CASE("cancel: races for two locks, stopped at every await") {
    cancelled_everywhere(raced, 8);
}
TEST_CASE("cancel: timed locks at the tie with the hand-off, stopped at every await") {
    cancelled_everywhere(timed, 6);
}
TEST_CASE("cancel: shielded sections, stopped at every await") {
    cancelled_everywhere(shielded, 6);
}
TEST_CASE("cancel: sections with a cleanup that repairs, stopped at every await") {
    cancelled_everywhere(cleaned, 9);
}
TEST_CASE("S151: contenders for a local lock, a repair among them, stopped at every await") {
    cancelled_everywhere(local, 9);
}
TEST_CASE("S395: contenders for a local lock of every policy, stopped at every await") {
    cancelled_everywhere(local_by_policy<on_cancel::defer>, 9);
    cancelled_everywhere(local_by_policy<on_cancel::release>, 9);
    cancelled_everywhere(local_by_policy<on_cancel::if_touched>, 9);
}
TEST_CASE("S395: repairs of a local lock, one that fails among them, who waits for them, and a "
          "section that is open for a while, stopped at every await") {
    cancelled_everywhere(local_mended, 9);
}
TEST_CASE("S395: transactions on a local lock, and sections that roll back, stopped at every "
          "await") {
    cancelled_everywhere(local_transacted, 8);
}
TEST_CASE("cancel: a guard that was given to a child, stopped at every await") {
    cancelled_everywhere(given, 5);
}
} // namespace toadstone::tests
