// as_outcome: the end of an awaitable as a value, and the boundary that it is.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> gives(int value) {
    co_return value;
}
task<std::unique_ptr<int>> boxes(int value) {
    co_return std::make_unique<int>(value);
}
task<> does_nothing() {
    co_return;
}
task<int> fails() {
    throw std::runtime_error("broken");
    co_return 0;
}
task<int> sleeps(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
    co_return 1;
}
task<std::string> describes(task<int> body) {
    std::string text;
    const auto end = co_await as_outcome(std::move(body));
    if (end.has_value()) text = std::to_string(end.value());
    if (end.has_exception()) text = "exception";
    if (end.is_cancelled()) text = "cancelled " + std::string(to_string(end.reason()));
    co_return text;
}
task<int> other_kinds() {
    int sum = 0;
    const auto nothing = co_await as_outcome(does_nothing());
    sum += nothing.has_value() ? 1 : 0;
    auto box = co_await as_outcome(boxes(10));
    sum += *box.value();
    const auto slept = co_await as_outcome(sleep_for(1s));
    sum += slept.has_value() ? 100 : 0;
    co_return sum;
}
task<> awaits_boundaries(bool& ended) {
    static_cast<void>(co_await as_outcome(as_outcome(does_nothing())));
    co_await shield(does_nothing());
    co_await with_timeout(1h, does_nothing());
    co_await with_token(cancellation_token(), does_nothing());
    ended = true;
}
task<> awaits_boundaries_until(const bool& stop, int& count) {
    while (!stop) {
        static_cast<void>(co_await as_outcome(does_nothing()));
        ++count;
    }
}
task<> sets(bool& flag) {
    flag = true;
    co_return;
}
task<int> under_token(cancellation_token token, scope_end& end) {
    const int value = co_await with_token(token, sleeps(end));
    co_return value;
}
task<> outside(scope_end& inside, scope_end& end, event_log& log) {
    scope_probe probe(end);
    const auto ended = co_await as_outcome(sleeps(inside));
    log.push_back(ended.is_cancelled() ? "went on: cancelled" : "went on");
}
task<> gate_inside(gate& at, int& passed) {
    co_await at.pass();
    ++passed;
}
task<> around_gate(gate& at, int& passed, event_log& log) {
    traced local(log, "local");
    const auto ended = co_await as_outcome(gate_inside(at, passed));
    log.push_back(ended.has_value() ? "value" : "other");
    co_await checkpoint();
    log.push_back("after");
}

} // namespace

TEST_CASE("as_outcome: a value or an exception becomes a value") {
    stepped w;
    CHECK(w.run(describes(gives(5))) == "5");
    CHECK(w.run(describes(fails())) == "exception");
}

TEST_CASE("as_outcome: takes void, move-only results and plain awaitables") {
    stepped w;
    CHECK(w.run(other_kinds()) == 111);
}

TEST_CASE("as_outcome: what cancels only the inside ends there, with its reason") {
    stepped w;
    cancellation_source source;
    scope_end end;
    auto handle = w.spawn(describes(under_token(source.token(), end)));
    w.settle();
    CHECK(end.times == 0);
    source.cancel(cancel_reason::lost_race);
    CHECK(w.end_of(handle).value() == "cancelled lost_race");
    CHECK(end.times == 1);
    CHECK(end.torn_down);
}

TEST_CASE("as_outcome: a request to the caller tears down the inside, then the caller") {
    scope_end inside;
    scope_end end;
    event_log log;
    stepped w;
    auto handle = w.spawn(outside(inside, end, log));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(inside.reason == cancel_reason::timeout);
    CHECK(end.reason == cancel_reason::timeout);
    CHECK(log.empty());
    CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
}

TEST_CASE("as_outcome: an inside that finished all the same is delivered, then the task ends") {
    gate at;
    stepped w;
    at.holds_on_cancel = true;
    int passed = 0;
    event_log log;
    auto handle = w.spawn(around_gate(at, passed, log));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log.empty()); // still in flight: nothing is destroyed
    at.open();
    w.settle();
    CHECK(passed == 1);
    CHECK(log == event_log{"value", "local!"});
}

TEST_CASE("S181: what a boundary runs begins, and goes on outside, in the run of its task") {
    stepped w;
    bool ended = false;
    bool neighbour = false;
    w.spawn(awaits_boundaries(ended)).detach();
    w.spawn(sets(neighbour)).detach();
    w.worker().step(false, 20);
    CHECK(ended);
    CHECK(neighbour);
}

TEST_CASE("S181: told to run one context, a turn does not go on with another") {
    stepped w;
    bool ended = false;
    w.spawn(awaits_boundaries(ended)).detach();
    for (int turns = 0; turns < 4; ++turns) w.worker().step(false, 1);
    CHECK_FALSE(ended);
    w.settle();
    CHECK(ended);
}

TEST_CASE("S182: a task that awaits boundaries for ever lets its neighbours run") {
    stepped w;
    bool stop = false;
    int count = 0;
    auto greedy = w.spawn(awaits_boundaries_until(stop, count));
    auto neighbour = w.spawn(sets(stop));
    w.step(0);
    CHECK(neighbour.done());
    CHECK(count > 10);
    CHECK(count < 1000);
    w.settle();
    CHECK(greedy.done());
}
