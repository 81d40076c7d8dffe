// Fibers, cancelled at every await, once and twice, with failing allocations: their stacks are
// unwound, sections that were cut say so, and all memory comes back.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/fiber/stack.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/cancelled.hpp"
#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <functional>
#include <new>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

void no_stack_is_left() {
    expect(detail::live_fiber_stacks() == 0, "a fiber's stack is left");
}
void data_or_poison(lock& m) {
    const int value = m.get_mut(sync::ignore_poison);
    expect(value != half || m.is_poisoned(), "half-done data, and the lock does not say so");
}

/// A section on a fiber, deep in its stack.
void in_section(lock& m, int depth) {
    if (depth > 0) {
        in_section(m, depth - 1);
        return;
    }
    auto held = fiber::await(m.lock());
    *held = half;
    fiber::await(yield_now());
    fiber::await(sleep_for(1ms));
    *held = whole;
    held.unlock();
    fiber::await(yield_now());
}
task<> works_on_fiber(lock& m, bool& finished) {
    auto body = [&] {
        try {
            in_section(m, 5);
            finished = true;
        } catch (const poison_error&) {
        }
    };
    co_await run_fiber(body);
}
task<> section_scenario(sim::world&) {
    lock m;
    visit other;
    bool finished[2] = {};
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(works_on_fiber(m, finished[0]), on(0, "on a fiber"));
        scope.spawn(works_on_fiber(m, finished[1]), on(1, "on a fiber"));
        scope.spawn(visits(m, other), on(1, "visitor"));
        co_return;
    };
    co_await all_of(body);
    data_or_poison(m);
    no_stack_is_left();
}

/// Blocking forms, and a boundary around a fiber around a boundary.
task<> nested(lock& m, sync::semaphore& room, int& last) {
    auto inner = [&] {
        auto permit = room.blocking_acquire();
        auto held = m.blocking_lock();
        *held = half;
        fiber::await(yield_now());
        *held = whole;
        last = 1;
    };
    auto outer = [&] {
        try {
            fiber::await(with_timeout(5ms, run_fiber(inner)));
        } catch (const timeout_error&) {
            last = 2;
        } catch (const poison_error&) {
            last = 3;
        } catch (const std::bad_alloc&) {
        }
        fiber::await(yield_now());
    };
    co_await run_fiber(outer);
}
task<> nested_scenario(sim::world&) {
    lock m;
    sync::semaphore room(1);
    int last[2] = {};
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(nested(m, room, last[0]), on(0, "nested"));
        scope.spawn(nested(m, room, last[1]), on(1, "nested"));
        co_return;
    };
    co_await all_of(body);
    data_or_poison(m);
    expect(room.available() == 1, "a permit is lost");
    no_stack_is_left();
}

/// Waits on a fiber until it is its turn, and passes the turn on.
void takes_turn(lock& m, sync::condition_variable& changed, int mine) {
    auto held = m.blocking_lock();
    while (*held % 2 != mine) changed.blocking_wait(held);
    const int seen = *held;
    *held = half;
    fiber::await(yield_now());
    *held = seen + 1;
    held.unlock();
    changed.notify_all();
}
task<> takes_turns(lock& m, sync::condition_variable& changed, int mine, int& taken) {
    auto body = [&] {
        try {
            takes_turn(m, changed, mine);
            takes_turn(m, changed, mine);
            taken = 2;
        } catch (const poison_error&) {
        } catch (const std::bad_alloc&) {
        }
    };
    try {
        co_await with_timeout(5ms, run_fiber(body));
    } catch (const timeout_error&) { // the other was cancelled
    } catch (const std::bad_alloc&) {
    }
}
task<> turns_scenario(sim::world&) {
    lock m;
    sync::condition_variable changed;
    int taken[2] = {};
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(takes_turns(m, changed, 0, taken[0]), on(0, "even"));
        scope.spawn(takes_turns(m, changed, 1, taken[1]), on(1, "odd"));
        co_return;
    };
    co_await all_of(body);
    data_or_poison(m);
    const int turns = m.get_mut(sync::ignore_poison);
    if (taken[0] + taken[1] == 4) expect(turns == 4 && !m.is_poisoned(), "a turn is lost");
    no_stack_is_left();
}

/// As a callback of C code, which must return.
int calls_back(lock& m, int& entered, int& left) {
    const fiber::no_unwind keep;
    ++entered;
    const auto waited = fiber::try_await(sleep_for(1ms));
    const auto locked = fiber::try_await(m.lock());
    ++left;
    return waited.is_cancelled() || locked.is_cancelled() ? -1 : 0;
}
task<> through_c(lock& m, int& entered, int& left, bool& went_on) {
    auto body = [&] {
        const int code = calls_back(m, entered, left);
        fiber::await(checkpoint());
        expect(code == 0, "the fiber went on although its task was to stop");
        went_on = true;
    };
    co_await run_fiber(body);
}
task<> callback_scenario(sim::world&) {
    lock m;
    int entered = 0;
    int left = 0;
    bool went_on = false;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(through_c(m, entered, left, went_on), on(0, "calls back"));
        co_return;
    };
    co_await all_of(body);
    expect(entered == left, "a frame of C was unwound");
    expect(!m.is_poisoned(), "a lock that was handed back says that it was cut");
    no_stack_is_left();
}

} // namespace

TEST_CASE("S476: sections on fibers are cancelled at every await, in pairs, and out of memory",
          "[fiber]") {
    cancelled_everywhere(section_scenario, 8);
}
TEST_CASE("S477: blocking forms and boundaries on fibers are cancelled at every await",
          "[fiber]") {
    cancelled_everywhere(nested_scenario, 6);
}
TEST_CASE("S477: condition variables on fibers are cancelled at every await", "[fiber]") {
    cancelled_everywhere(turns_scenario, 6);
}
TEST_CASE("S478: callbacks of C code on a fiber return, wherever they are cancelled",
          "[fiber]") {
    cancelled_everywhere(callback_scenario, 3);
}

} // namespace toadstone::tests
