// spawn(fn, args...) cancelled at every await, once and twice: a guard among the arguments is
// judged as one in a frame, whatever is stopped wherever.
#include <toadstone/runtime.hpp>
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
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

/// Writes down its number when it goes.
class numbered {
public:
    numbered(std::vector<int>& in, int number) noexcept : in_(&in), number_(number) {}
    numbered(numbered&& other) noexcept
        : in_(std::exchange(other.in_, nullptr)), number_(other.number_) {}
    numbered& operator=(numbered&&) = delete;
    ~numbered() {
        if (in_) in_->push_back(number_);
    }

private:
    std::vector<int>* in_;
    int number_;
};

/// What one call in a task of its own leaves behind. Room for all, so that no end needs memory.
struct trail {
    trail() { order.reserve(8); }
    std::vector<int> order; ///< arguments and captures, as they died
    bool finished = false;
};

task<> changes(const lock::guard& held) {
    *held = half;
    co_await yield_now();
    *held = whole;
}
task<> inherits(const lock::guard& held, const numbered&, const numbered&, trail& to) {
    co_await changes(held);
    co_await yield_now();
    to.finished = true;
}

/// Order, and that all of it died before anybody was told.
void expect_all_gone(const trail& left) {
    expect(left.order == std::vector<int>{3, 2, 1},
           "arguments and captures did not die in order, or not before the joiner learnt");
}
void expect_judged(lock& m, const trail& left) {
    const int value = m.get_mut(sync::ignore_poison);
    expect(value != half || m.is_poisoned(), "half-done data, and the lock does not say so");
    if (left.finished && m.is_poisoned()) {
        expect(m.cause().task_name() == "visitor" || m.cause().state()->incomplete,
               "a call that returned has poisoned");
    }
    bool told = false;
    try {
        auto held = m.try_lock();
        expect(held.has_value(), "the lock is not free although nobody is left");
    } catch (const poison_error&) {
        told = true;
    }
    expect(told == m.is_poisoned(), "try_lock() and is_poisoned() contradict each other");
}

/// Hands its guard to a call on the other worker, and joins it.
task<> gives_away(lock& m, trail& left, bool& spawned) {
    auto got = co_await as_outcome(m.lock());
    if (!got.has_value()) co_return; // the visitor has poisoned it
    auto held = std::move(got).value();
    auto heir = spawn(
        on(1, "heir"),
        [keeps = numbered(left.order, 1)](const lock::guard& guard, const numbered& second,
                                          const numbered& third, trail& to) {
            return inherits(guard, second, third, to);
        },
        std::move(held), numbered(left.order, 2), numbered(left.order, 3), std::ref(left));
    spawned = true;
    auto end = co_await heir.outcome();
    expect_all_gone(left);
    expect(end.has_value() == left.finished, "the call's end is not what the joiner was told");
}

template <class Body>
task<> all_of(Body& body) {
    try {
        co_await with_scope(body);
    } catch (const std::bad_alloc&) {
    }
}

task<> s140(sim::world&) {
    lock m;
    trail left;
    visit other;
    bool spawned = false;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(on(0, "giver"), gives_away, std::ref(m), std::ref(left), std::ref(spawned));
        scope.spawn(visits(m, other), on(1, "visitor"));
        co_return;
    };
    co_await all_of(body);
    // The giver may be gone before its heir.
    while (spawned && left.order.size() < 3) co_await yield_now();
    if (spawned) expect_all_gone(left);
    expect_judged(m, left);
}

/// A child of a scope that is called with the scope's own guard, while others come by.
task<> s141(sim::world&) {
    lock m;
    trail left;
    visit other;
    bool spawned = false;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(visits(m, other), on(1, "visitor"));
        auto got = co_await as_outcome(m.lock());
        if (!got.has_value()) co_return; // the visitor has poisoned it
        auto held = std::move(got).value();
        scope.spawn(
            on(0, "child"),
            [&left, keeps = numbered(left.order, 1)](lock::guard guard, const numbered&,
                                                     const numbered&) -> task<> {
                *guard = half;
                co_await yield_now();
                *guard = whole;
                co_await yield_now();
                left.finished = true;
            },
            std::move(held), numbered(left.order, 2), numbered(left.order, 3));
        spawned = true;
    };
    co_await all_of(body);
    if (spawned) expect_all_gone(left);
    expect_judged(m, left);
}

/// Hands its guard to a function that fails before it has made its task.
task<> gives_to_thrower(task_scope& scope, lock& m, trail& left, bool& spawned) {
    try {
        auto held = co_await m.lock();
        *held = half;
        co_await yield_now();
        scope.spawn(
            on(1, "thrower"),
            [keeps = numbered(left.order, 1)](const lock::guard&, const numbered&,
                                              const numbered&, bool fails) -> task<> {
                if (fails) throw boom();
                return []() -> task<> { co_return; }();
            },
            std::move(held), numbered(left.order, 2), numbered(left.order, 3), true);
        spawned = true;
    } catch (const poison_error&) { // of the visitor
    }
    co_await yield_now();
}
task<> s142(sim::world&) {
    lock m;
    trail left;
    visit other;
    bool spawned = false;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(on(0, "giver"), gives_to_thrower, std::ref(scope), std::ref(m),
                    std::ref(left), std::ref(spawned));
        scope.spawn(visits(m, other), on(1, "visitor"));
        co_return;
    };
    bool failed = false;
    try {
        co_await all_of(body);
    } catch (const boom&) {
        failed = true;
    }
    if (spawned) {
        expect_all_gone(left);
        expect(failed, "what the function threw was lost");
        expect(m.is_poisoned(), "half-done data, and the lock does not say so");
        expect(m.cause().kind() == poison_kind::exception, "the cause is of another kind");
        expect(m.cause().task_name() == "thrower" || m.cause().state()->incomplete,
               "the cause names another task");
    }
    expect_judged(m, left);
}

task<> s143(sim::world& world, sightings& seen) {
    lock m;
    trail left;
    visitors others;
    const bool in_time = pick(world, 2) == 1;
    auto body = [&](task_scope& scope) -> task<> {
        auto held = co_await m.lock();
        others.come(scope, m);
        auto heir =
            scope.spawn(on(1, "heir"), inherits, std::move(held), numbered(left.order, 3),
                        numbered(left.order, 2), std::ref(left));
        co_await some_turns(world, 4);
        if (!in_time) heir.cancel(cancel_reason::timeout);
        auto end = co_await heir.outcome();
        expect(left.order == std::vector<int>{2, 3}, "the joiner was told too early");
        expect(end.has_value() == left.finished, "the joiner was told something else");
        expect(m.is_poisoned() != left.finished,
               "the guard was judged otherwise than the task");
        seen.note(!end.has_value() ? "cancelled" : in_time ? "returned" : "asked too late");
    };
    co_await with_scope(body);
    if (m.is_poisoned()) expect_cancelled(m.cause(), cancel_reason::timeout, "heir");
    others.check(m, seen);
}

} // namespace

TEST_CASE("S140: a guard among the arguments of spawn(), cancelled at every await: poisoned or "
          "whole, and all arguments gone, the last first, before the joiner learns") {
    cancelled_everywhere(s140, 4);
}
TEST_CASE("S141: the same in a scope, with a lambda that takes the guard on") {
    cancelled_everywhere(s141, 4);
}
TEST_CASE(
    "S142: a function that throws before it has made its task poisons what it was given") {
    cancelled_everywhere(s142, 3);
}
TEST_CASE("S143: a call is judged once for its frames and its arguments (explored)") {
    explored(schedules(3), s143, {"cancelled", "returned", "asked too late"});
}

} // namespace toadstone::tests
