// Doors to code outside, cancelled at every await, once and twice, with failing allocations.
#ifndef __clang__ // g++ takes the unnamed namespaces of the examples for those of headers
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif

#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/cancelled.hpp"
#include "support/doors.hpp"
#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#define main example_main
namespace own_awaitable {
#include "../../examples/own_awaitable.cpp"
}
#undef main

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

/// In a section: what it leaves half-done says so.
task<> asks(desk& at, lock& m, bool withdraws, int& delivered) {
    auto got = co_await as_outcome(m.lock());
    if (!got.has_value()) co_return; // somebody has poisoned it
    auto held = std::move(got).value();
    *held = half;
    std::size_t number = 0;
    const auto start = [&](completion<int> c) { number = at.ask(std::move(c)); };
    const auto on_cancel = [&] { return withdraws && at.withdraw(number); };
    try {
        delivered += co_await with_completion<int>(start, on_cancel);
    } catch (const broken_completion&) {
    }
    *held = whole;
}
task<> asks_hastily(desk& at, int& delivered) {
    std::size_t number = 0;
    const auto start = [&](completion<int> c) { number = at.ask(std::move(c)); };
    const auto on_cancel = [&] { return at.withdraw(number); };
    try {
        delivered += co_await with_timeout(1ms, with_completion<int>(start, on_cancel));
    } catch (const timeout_error&) {
    } catch (const broken_completion&) {
    }
}
task<> answers(desk& at) {
    const scope_exit closes([&at] { at.close(); });
    for (int i = 0; i < 4; ++i) {
        co_await yield_now();
        completion<int> c = at.take();
        co_await yield_now();
        if (c && c.complete(1)) ++at.answers;
    }
}
void expect_judged(lock& m) {
    const int value = m.get_mut(sync::ignore_poison);
    expect(value != half || m.is_poisoned(), "half-done data, and the lock does not say so");
}
task<> s410(sim::world&) {
    desk at;
    lock m;
    visit other;
    int delivered = 0;
    auto body = [&](task_scope& scope) -> task<> {
        const scope_exit closes([&at] { at.close(); }); // of a desk that was not even opened
        scope.spawn(asks(at, m, true, delivered), on(0, "asker"));
        scope.spawn(asks(at, m, false, delivered), on(1, "asker"));
        scope.spawn(asks_hastily(at, delivered), on(0, "hasty"));
        scope.spawn(visits(m, other), on(1, "visitor"));
        co_await answers(at);
    };
    co_await all_of(body);
    expect(delivered == at.answers, "an answer was lost, or came twice");
    expect_judged(m);
}

task<> parks(car_park& at, lock& m, int& delivered) {
    auto got = co_await as_outcome(m.lock());
    if (!got.has_value()) co_return; // somebody has poisoned it
    auto held = std::move(got).value();
    *held = half;
    try {
        delivered += co_await foreign(at.park()) == 7 ? 1 : 0;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception&) { // closed
    }
    *held = whole;
}
task<> attends(car_park& at, int& resumed) {
    for (int i = 0; i < 4; ++i) {
        co_await yield_now();
        if (at.resume_one()) ++resumed;
    }
}
task<> s419(sim::world&) {
    car_park at;
    lock m;
    visit other;
    int delivered = 0;
    int resumed = 0;
    auto body = [&](task_scope& scope) -> task<> {
        const scope_exit closes([&at] { at.close(); });
        scope.spawn(parks(at, m, delivered), on(0, "guest"));
        scope.spawn(parks(at, m, delivered), on(1, "guest"));
        scope.spawn(visits(m, other), on(1, "visitor"));
        co_await attends(at, resumed);
    };
    co_await all_of(body);
    expect(delivered == resumed, "a result was lost, or came twice");
    expect_judged(m);
}

/// The example's operation: no ticket is lost, nobody is left in the line.
task<> takes_ticket(own_awaitable::ticket_office& office, int& taken) {
    co_await office.ticket();
    ++taken;
    co_await yield_now();
}
task<> takes_ticket_hastily(own_awaitable::ticket_office& office, int& taken) {
    try {
        co_await with_timeout(1ms, office.ticket());
        ++taken;
    } catch (const timeout_error&) {
    }
}
task<> brings(own_awaitable::ticket_office& office, int& brought) {
    for (int i = 0; i < 3; ++i) {
        co_await yield_now();
        ++brought;
        office.add(1);
    }
}
task<> s422(sim::world&) {
    own_awaitable::ticket_office office;
    int taken = 0;
    int brought = 0;
    auto body = [&](task_scope& scope) -> task<> {
        // Whatever is left in the line has its ticket at last.
        const scope_exit opens([&] {
            brought += 8;
            office.add(8);
        });
        scope.spawn(takes_ticket(office, taken), on(0, "visitor"));
        scope.spawn(takes_ticket(office, taken), on(1, "visitor"));
        scope.spawn(takes_ticket_hastily(office, taken), on(0, "hasty"));
        scope.spawn(takes_ticket(office, taken), on(1, "visitor"));
        co_await brings(office, brought);
    };
    co_await all_of(body);
    expect(office.waiting() == 0, "somebody is left in the line");
    expect(taken + office.tickets() == brought, "a ticket is lost, or there twice");
}

} // namespace

TEST_CASE(
    "S410: askers of a desk outside, cancelled at every await: no answer is lost, nothing is "
    "left, and the section says what was cut") {
    cancelled_everywhere(s410, 6);
}
TEST_CASE("S419: guests of another library, cancelled at every await") {
    cancelled_everywhere(s419, 4);
}
TEST_CASE("S422: the tickets of the example, cancelled at every await: none is lost") {
    cancelled_everywhere(s422, 5);
}

} // namespace toadstone::tests
