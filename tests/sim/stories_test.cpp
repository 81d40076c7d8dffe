// The stories, cancelled at every await: whatever is stopped wherever, what each of them claims
// of its data holds. And the deadlock of lock_order, which a simulation finds.
#ifndef __clang__ // g++ takes the unnamed namespaces of the stories for those of headers
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif

#include "support/explored.hpp"
#include "support/told.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

// Each in a namespace of its own; what they include has been read before.
#define main example_main
namespace counter_pair {
#include "../../examples/stories/counter_pair.cpp"
}
namespace handmade_error {
#include "../../examples/stories/handmade_error.cpp"
}
namespace lock_order {
#include "../../examples/stories/lock_order.cpp"
}
namespace operations_map {
#include "../../examples/stories/operations_map.cpp"
}
namespace poison_alone {
#include "../../examples/stories/poison_alone.cpp"
}
namespace sentinel {
#include "../../examples/stories/sentinel.cpp"
}
#undef main

namespace toadstone::tests {
namespace {

/// `claim(T&)` of what a lock holds, unless it says itself that it is poisoned. By the
/// scenario, which is never stopped: a lock that nobody releases is a deadlock.
template <class Mutex, class Claim>
task<> holds(Mutex& of, Claim claim) {
    try {
        auto held = co_await of.lock();
        claim(*held);
    } catch (const poison_error&) {
    }
}

void whole(const poison_alone::ledger& books) {
    expect(books.alice + books.bob == 100, "money was lost, and nobody says so");
}

task<> operations_are_not_lost(sim::world&) {
    using namespace operations_map;
    auto& all =
        made_anew<store>(operations{{1, "queued"}, {2, "queued"}}, std::string_view("all"));
    co_await tests::told(story(all));
    const auto both_there = [](const operations& map) {
        expect(map.contains(1) && map.contains(2), "an operation is missing, the lock clean");
    };
    co_await holds(all, both_there);
    co_await next_one(all);
    co_await holds(all, both_there);
    expect(!all.is_poisoned(), "poisoned after the repair");
}

task<> counters_need_no_poison(sim::world&) {
    using namespace counter_pair;
    auto& all = made_anew<traffic>(counters(), "traffic");
    co_await told(story(all));
    const auto held = co_await all.lock();
    expect(held->bytes == 100 * held->messages, "the counters do not belong together");
    expect(held->messages <= 4, "a message was counted that nobody has sent");
}

task<> sentinels_are_found(sim::world&) {
    using namespace sentinel;
    auto& all = made_anew<store>(
        operations{{1, state::queued}, {2, state::queued}, {3, state::queued}}, "operations");
    co_await told(story(all));
    expect(!all.is_poisoned(), "a lock that releases was poisoned");
    co_await sweep(all);
    const auto held = co_await all.lock();
    expect(held->size() == 3, "an operation is missing");
    for (const auto& [id, one] : *held) expect(one != state::moving, "not swept");
    expect(held->at(3) == state::queued, "changed by nobody");
}

struct ledgers {
    poison_alone::own_ledger own{poison_alone::ledger(), "own ledger"};
    poison_alone::shared_ledger all{poison<poison_alone::ledger>(poison_alone::ledger()),
                                    "shared"};
};
task<> ledgers_are_whole_or_say_so(sim::world&) {
    auto& books = made_anew<ledgers>();
    co_await told(poison_alone::story(books.own, books.all));
    if (!books.own.is_poisoned()) whole(books.own.view());
    const auto held = co_await books.all.lock(); // never throws
    if (!held->is_poisoned()) whole(held->view());
}

struct two_numbers {
    sync::mutex<int> first{0, "ledger"};
    sync::mutex<int> second{0, "index"};
};
task<> only_throwing_poisons(sim::world&) {
    auto& data = made_anew<two_numbers>();
    co_await told(handmade_error::story(data.first, data.second));
    for (const auto* each : {&data.first, &data.second}) {
        const poison_cause why = each->cause();
        expect(!why || why.kind() != poison_kind::cancelled,
               "no section of these has an await");
        expect(!each->is_locked(), "a section was left without letting go");
    }
}

struct accounts {
    lock_order::account alice{100, "alice"};
    lock_order::account bob{0, "bob"};
};
task<> no_money_is_lost(sim::world&) {
    auto& money = made_anew<accounts>();
    co_await told(lock_order::story(money.alice, money.bob));
    try {
        auto held = co_await sync::lock_all(money.alice, money.bob);
        expect(*held.get<0>() + *held.get<1>() == 100, "money was lost, the locks are clean");
    } catch (const poison_error&) {
    }
}

task<> waits_for_both(sim::world&, task<> (*moves)(sync::mutex<int>&, sync::mutex<int>&, int)) {
    accounts money;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(moves(money.alice, money.bob, 30), {.name = "one"}).detach();
        scope.spawn(moves(money.bob, money.alice, 20), {.name = "other"}).detach();
        co_return;
    };
    co_await with_scope(body);
    expect(money.alice.get_mut() == 90 && money.bob.get_mut() == 10, "moved wrongly");
}

task<> three_move_money(sim::world& world, sightings& seen) {
    accounts money;
    const auto moves = [&](int worker, bool there) {
        auto moved = there ? lock_order::together(money.alice, money.bob, 30)
                           : lock_order::together(money.bob, money.alice, 10);
        return spawn(std::move(moved), on(worker));
    };
    auto one = moves(0, true);
    auto other = moves(1, false);
    auto third = moves(1, false);
    co_await some_turns(world, 2);
    if (money.alice.waiters() + money.bob.waiters() > 0) seen.note("in each other's way");
    for (auto* each : {&one, &other, &third}) co_await *each;
    expect(money.alice.get_mut() == 90 && money.bob.get_mut() == 10, "moved wrongly");
}

} // namespace

TEST_CASE(
    "S605: operations of a map, stopped at every await: none is missing and the lock clean") {
    cancelled(operations_are_not_lost, 20);
}
TEST_CASE(
    "S606: two counters that need no poison, stopped at every await: they belong together") {
    cancelled(counters_need_no_poison, 6);
}
TEST_CASE("S607: operations with a sentinel, stopped at every await: who was moving is found") {
    cancelled(sentinels_are_found, 6);
}
TEST_CASE(
    "S608: poison<T> alone and in a lock that releases, stopped at every await: whole, or "
    "it says so, and the lock is free") {
    cancelled(ledgers_are_whole_or_say_so, 6);
}
TEST_CASE("S609: errors made by hand, stopped at every await: only what throws poisons") {
    cancelled(only_throwing_poisons, 4);
}
TEST_CASE("S610: a deadlock by lock order, stopped at every await: its money is there, or the "
          "locks say so") {
    cancelled(no_money_is_lost, 6);
}
TEST_CASE("S610: a simulation finds the deadlock by lock order, and names who waits") {
    const auto one_by_one = [](sim::world& world) {
        return waits_for_both(world, lock_order::one_by_one);
    };
    const auto run = sim::simulate(one_by_one);
    CHECK_FALSE(run.ok);
    INFO(run.failure);
    CHECK(run.failure.find("nobody can go on") != std::string::npos);
    for (const char* name : {"'one'", "'other'", "lock_order.cpp:"}) {
        CHECK(run.failure.find(name) != std::string::npos);
    }
}
TEST_CASE("S611: with lock_all nobody waits for ever, in whatever order the locks are named "
          "(explored)") {
    const auto together = [](sim::world& world) {
        return waits_for_both(world, lock_order::together);
    };
    CHECK(sim::simulate(together));
    explored(schedules(3, 2), three_move_money, {"in each other's way"});
}

} // namespace toadstone::tests
