// Semaphores, events, barriers, cells and condition variables, cancelled at every await, once
// and twice: whatever is stopped wherever, nothing is lost and nobody waits for ever.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/cancelled.hpp"
#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

task<> borrows(sync::semaphore& from, std::size_t count) {
    auto held = co_await from.acquire(count);
    co_await yield_now();
}
task<> borrows_in_time(sync::semaphore& from) {
    auto held = co_await from.try_acquire_for(1ms, 2);
    co_await sleep_for(1ms);
}

task<> borrowed(sim::world&) {
    sync::semaphore permits(2);
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(borrows(permits, 1), on(0, "one")).detach();
        scope.spawn(borrows(permits, 2), on(1, "two")).detach();
        scope.spawn(borrows_in_time(permits), on(0, "in time")).detach();
        scope.spawn(borrows(permits, 1), on(1, "one")).detach();
        co_return;
    };
    co_await all_of(body);
    expect(permits.available() == 2, "a permit is lost, or one is new");
    expect(permits.try_acquire(2).has_value(), "somebody still waits");
}

task<> passes_on(sync::auto_reset_event& signal, int& passed) {
    co_await signal.wait();
    ++passed;
    signal.set();
    co_await yield_now();
}

/// One signal goes from hand to hand, and is there in the end.
task<> handed_on(sim::world&) {
    sync::auto_reset_event signal(true);
    int passed = 0;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 3; ++i) {
            scope.spawn(passes_on(signal, passed), on(i % 2, "passes")).detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect(signal.try_wait(), "the signal is lost");
    expect(passed <= 3, "a signal was taken twice");
}

task<> meets(sync::barrier& at, int& passed) {
    try {
        static_cast<void>(co_await at.arrive_and_wait());
        ++passed;
        co_await yield_now();
    } catch (const sync::barrier_broken&) {
    }
}

/// All of a round pass, or none.
task<> met(sim::world&) {
    sync::barrier at(3);
    int passed = 0;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 3; ++i) {
            // A party that never comes breaks it, too.
            auto comes = [&at, &passed]() -> task<> {
                const scope_exit gone([&] {
                    if (passed == 0) at.break_now();
                });
                co_await meets(at, passed);
            };
            scope.spawn(on(i % 2, "meets"), comes).detach();
        }
        co_return;
    };
    co_await all_of(body);
    expect(at.waiting() == 0, "somebody still waits");
}

task<> fills(sync::once_cell<int>& cell, int& made) {
    const auto fn = [&]() -> task<int> {
        co_await yield_now();
        ++made;
        co_return 7;
    };
    const int& value = co_await cell.get_or_init(fn);
    expect(value == 7, "a cell has another value than it was given");
    co_await yield_now();
}

task<> filled(sim::world&) {
    sync::once_cell<int> cell;
    int made = 0;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 3; ++i) scope.spawn(fills(cell, made), on(i % 2, "fills")).detach();
        co_return;
    };
    co_await all_of(body);
    expect(made <= 1, "a value was made twice");
    expect((cell.get() != nullptr) == (made == 1), "a cell is full without a value");
}

/// A bounded queue of numbers, by a mutex and two condition variables: a section always leaves
/// its count right.
struct store {
    int there = 0;
    int put = 0;
    int got = 0;
    [[nodiscard]] bool sound() const noexcept { return there == put - got; }
};
struct shop {
    mutex<store> goods;
    sync::condition_variable filled;
    sync::condition_variable emptied;
};

task<> puts(shop& in) {
    auto held = co_await in.goods.lock();
    co_await in.emptied.wait(held, [&] { return held->there < 1; });
    ++held->there;
    ++held->put;
    in.filled.notify_one();
}
task<> gets(shop& in) {
    auto held = co_await in.goods.lock();
    co_await in.filled.wait(held, [&] { return held->there > 0; });
    --held->there;
    ++held->got;
    in.emptied.notify_one();
}

task<> traded(sim::world&) {
    shop one;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 2; ++i) {
            scope.spawn(puts(one), on(i % 2, "puts")).detach();
            scope.spawn(gets(one), on((i + 1) % 2, "gets")).detach();
        }
        co_await sleep_for(1ms);
        scope.cancel(); // whoever waits for one that was stopped
    };
    try {
        co_await all_of(body);
    } catch (const poison_error&) {
    }
    if (one.goods.is_poisoned()) { // no memory for a wait with a predicate
        const bool failed = one.goods.cause().kind() == poison_kind::exception;
        expect(failed, "a cancelled wait has poisoned");
        co_return;
    }
    auto held = one.goods.try_lock();
    expect(held.has_value(), "the lock is not free although nobody is left");
    expect((*held)->sound(), "a wait has left the data half-way");
}

} // namespace

TEST_CASE("S261: permits, stopped at every await") {
    cancelled_everywhere(borrowed, 7);
}
TEST_CASE("S267: a signal from hand to hand, stopped at every await") {
    cancelled_everywhere(handed_on, 5);
}
TEST_CASE("S270: parties of a barrier, stopped at every await") {
    cancelled_everywhere(met, 3);
}
TEST_CASE("S272: a cell that several want to fill, stopped at every await") {
    cancelled_everywhere(filled, 5);
}
TEST_CASE("S43: a shop with two condition variables, stopped at every await") {
    cancelled_everywhere(traded, 5);
}

} // namespace toadstone::tests
