// with_scope: children that never outlive it, the first failure, cancellation from all sides.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<> notes(event_log& log, std::string name, std::chrono::milliseconds after) {
    traced local(log, name);
    co_await sleep_for(after);
}
task<> waits(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
}
task<int> gives(int value, std::chrono::milliseconds after) {
    co_await sleep_for(after);
    co_return value;
}
task<> fails(std::string text, std::chrono::milliseconds after) {
    co_await sleep_for(after);
    throw std::runtime_error(text);
}
task<> fails_when_cancelled(gate& at, std::string text) {
    at.holds_on_cancel = true;
    co_await at.pass();
    throw std::runtime_error(text);
}
task<> on_worker(std::vector<unsigned>& seen) {
    co_await yield_now();
    seen.push_back(static_cast<detail::worker&>(*detail::executor::current()).index());
}
task<> cancels_scope(task_scope& scope, std::chrono::milliseconds after, cancel_reason why) {
    co_await sleep_for(after);
    scope.cancel(why);
}
task<> spawns_two_more(task_scope& scope, event_log& log) {
    traced local(log, "parent");
    auto first = scope.spawn(notes(log, "grandchild 1", 5ms));
    auto second = scope.spawn(notes(log, "grandchild 2", 10ms));
    co_return;
}
task<> spawns_in_destructor_time(task_scope& scope, scope_end& late, gate& at) {
    at.holds_on_cancel = true;
    co_await at.pass();
    scope.spawn(waits(late)).detach(); // the scope is being cancelled by now
}

// Bodies are functions with their state as parameters; the lambdas only pass it on.

task<> three_children(task_scope& scope, event_log& log) {
    scope.spawn(notes(log, "slow", 20ms)).detach();
    scope.spawn(notes(log, "quick", 10ms)).detach();
    auto kept = scope.spawn(notes(log, "middle", 15ms));
    log.push_back("body " + std::to_string(scope.size()));
    co_return;
}
task<> runs_three(event_log& log) {
    const auto body = [&](task_scope& scope) { return three_children(scope, log); };
    co_await with_scope(body);
    log.push_back("scope ended");
}

task<int> joins_in_body(task_scope& scope) {
    auto a = scope.spawn(gives(3, 10ms));
    auto b = scope.spawn(gives(4, 5ms));
    const int first = co_await a;
    const int second = co_await b;
    co_return first * 10 + second;
}
task<int> runs_joins() {
    const auto body = [](task_scope& scope) { return joins_in_body(scope); };
    const int value = co_await with_scope(body);
    co_return value;
}

struct failing {
    event_log& log;
    scope_end& sibling;
    scope_end& body;
    gate& other;
};
task<> failing_child(task_scope& scope, failing& state) {
    scope_probe probe(state.body);
    scope.spawn(waits(state.sibling)).detach();
    scope.spawn(fails("child failed", 10ms)).detach();
    scope.spawn(fails_when_cancelled(state.other, "second failure"), {.name = "second"})
        .detach();
    co_await sleep_for(1h);
}
task<> failing_body(task_scope& scope, failing& state) {
    scope_probe probe(state.body);
    scope.spawn(waits(state.sibling)).detach();
    co_await sleep_for(10ms);
    throw std::runtime_error("body failed");
}
task<> catches_joined_child(task_scope& scope, failing& state) {
    auto child = scope.spawn(fails("joined child failed", 10ms));
    scope.spawn(waits(state.sibling)).detach();
    try {
        co_await child;
    } catch (const std::runtime_error& error) {
        state.log.push_back(error.what());
    }
}
task<std::string> runs_failing(task<> (*which)(task_scope&, failing&), failing& state) {
    std::string text = "ended";
    const auto body = [&](task_scope& scope) { return which(scope, state); };
    try {
        co_await with_scope(body);
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    co_return text;
}

struct cancelling {
    scope_end body;
    scope_end child[3];
    gate at;
    cancel_reason why = cancel_reason::requested;
    bool end_body = false;
    bool from_child = false;
    placement child_place{};
};
task<int> cancelled_body(task_scope& scope, cancelling& state) {
    scope_probe probe(state.body);
    scope.spawn(waits(state.child[0]), {.where = state.child_place}).detach();
    scope.spawn(waits(state.child[1])).detach();
    if (state.from_child) {
        scope.spawn(cancels_scope(scope, 10ms, state.why), {.where = state.child_place})
            .detach();
    }
    if (!state.end_body) co_await sleep_for(1h);
    co_return 5;
}
task<int> spawning_while_cancelled(task_scope& scope, cancelling& state) {
    scope_probe probe(state.body);
    scope.spawn(spawns_in_destructor_time(scope, state.child[2], state.at)).detach();
    co_await sleep_for(1h);
    co_return 5;
}
task<std::string> runs_bounded(task<int> (*which)(task_scope&, cancelling&),
                               cancelling& state) {
    std::string text;
    const auto body = [&](task_scope& scope) { return which(scope, state); };
    try {
        const int value = co_await with_scope(body);
        text = std::to_string(value);
    } catch (const task_cancelled& error) {
        text = "task_cancelled: " + std::string(to_string(error.reason()));
    }
    co_return text;
}

task<> cancels_and_looks(task_scope& scope, cancelling& state, bool& early) {
    co_await sleep_for(10ms);
    scope.cancel();
    early = state.body.torn_down || state.child[0].torn_down;
}
task<> cancelled_by_who_looks(task_scope& scope, cancelling& state, bool& early) {
    scope_probe probe(state.body);
    scope.spawn(waits(state.child[0])).detach();
    scope.spawn(cancels_and_looks(scope, state, early)).detach();
    co_await sleep_for(1h);
}
task<> runs_cancelled_by_who_looks(cancelling& state, bool& early) {
    const auto body = [&](task_scope& scope) {
        return cancelled_by_who_looks(scope, state, early);
    };
    co_await with_scope(body);
}

task<> cancelled_without_value(task_scope& scope, cancelling& state) {
    static_cast<void>(co_await cancelled_body(scope, state));
}
task<> goes_on_after_cancel(poison<int>& outside, cancelling& state) {
    auto access = outside.access();
    const auto body = [&](task_scope& scope) { return cancelled_without_value(scope, state); };
    co_await with_scope(body);
    *access = 2;
}
task<int> runs_function() {
    const int value = co_await with_scope(joins_in_body);
    co_return value;
}

task<> spreads(task_scope& scope, std::vector<unsigned>& seen) {
    // One worker after the other appends: the test steps all of them on one thread.
    for (unsigned i = 0; i < 4; ++i) {
        scope.spawn(on_worker(seen), {.where = placement::worker(i)}).detach();
    }
    co_return;
}
task<> runs_spread(std::vector<unsigned>& seen, bool& ended) {
    const auto body = [&](task_scope& scope) { return spreads(scope, seen); };
    co_await with_scope(body);
    ended = true;
}
task<> grows(task_scope& scope, event_log& log) {
    scope.spawn(spawns_two_more(scope, log)).detach();
    co_return;
}
task<> runs_growing(event_log& log) {
    const auto body = [&](task_scope& scope) { return grows(scope, log); };
    co_await with_scope(body);
    log.push_back("scope ended");
}
task<> nested_body(task_scope& scope, scope_end& inner, scope_end& child) {
    const auto nested = [&](task_scope& within) -> task<> {
        within.spawn(waits(inner)).detach();
        co_await sleep_for(1h);
    };
    scope.spawn(waits(child)).detach();
    co_await with_scope(nested);
}
task<> runs_nested(scope_end& inner, scope_end& child, event_log& log) {
    traced local(log, "outside");
    const auto body = [&](task_scope& scope) { return nested_body(scope, inner, child); };
    co_await with_scope(body);
    log.push_back("went on");
}

} // namespace

TEST_CASE("task_scope: ends when every child has, whether its handle was kept or dropped") {
    event_log log;
    stepped w;
    auto handle = w.spawn(runs_three(log));
    w.settle();
    CHECK(log == event_log{"body 3"});
    w.advance(20ms - 1us);
    CHECK(log == event_log{"body 3", "quick", "middle"});
    w.advance(1us);
    CHECK(log == event_log{"body 3", "quick", "middle", "slow", "scope ended"});
    CHECK(handle.done());
}

TEST_CASE("task_scope: children can be joined in the body, whose value is the scope's") {
    stepped w;
    CHECK(w.run(runs_joins()) == 34);
}

TEST_CASE("task_scope: a child may spawn children, the scope waits for them too") {
    event_log log;
    stepped w;
    w.run(runs_growing(log));
    CHECK(log == event_log{"parent", "grandchild 1", "grandchild 2", "scope ended"});
}

TEST_CASE("S27: the first child that fails cancels siblings and body; its exception is "
          "rethrown, a second one is reported") {
    event_log log;
    scope_end sibling;
    scope_end body;
    gate other;
    stepped w;
    failing state{log, sibling, body, other};
    const stderr_capture err;
    auto handle = w.spawn(runs_failing(failing_child, state));
    w.settle();
    w.advance(10ms);
    CHECK(sibling.reason == cancel_reason::sibling_failed);
    CHECK(body.reason == cancel_reason::sibling_failed);
    CHECK_FALSE(handle.done()); // one child is still in flight
    other.open();
    CHECK(w.end_of(handle).value() == "child failed");
    CHECK(count_of(err.text(), "second failure") == 1);
    CHECK(count_of(err.text(), "'second'") == 1);
    CHECK(count_of(err.text(), "child failed") == 0);
}

TEST_CASE(
    "task_scope: a body that is a function, and throws when it has spawned, fails as any") {
    scope_end end;
    std::string said;
    stepped w;
    auto outer = [](scope_end& of_child, std::string& what) -> task<> {
        const auto function = [&of_child](task_scope& scope) -> task<> {
            scope.spawn(waits(of_child)).detach();
            throw std::runtime_error("no task"); // and no coroutine
        };
        try {
            co_await with_scope(function);
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
    };
    auto handle = w.spawn(outer(end, said));
    w.settle();
    CHECK(handle.done());
    CHECK(said == "no task");
    CHECK(end.reason.value_or(cancel_reason::sibling_failed) == cancel_reason::sibling_failed);
}

TEST_CASE("task_scope: a body that fails cancels the children, and its exception is rethrown") {
    event_log log;
    scope_end sibling;
    scope_end body;
    gate other;
    stepped w;
    failing state{log, sibling, body, other};
    const stderr_capture err;
    CHECK(w.run(runs_failing(failing_body, state)) == "body failed");
    CHECK(sibling.reason == cancel_reason::sibling_failed);
    CHECK(err.text().empty());
}

TEST_CASE(
    "task_scope: a failure that the body caught by joining fails the scope all the same") {
    event_log log;
    scope_end sibling;
    scope_end body;
    gate other;
    stepped w;
    failing state{log, sibling, body, other};
    const stderr_capture err;
    CHECK(w.run(runs_failing(catches_joined_child, state)) == "joined child failed");
    CHECK(sibling.reason == cancel_reason::sibling_failed);
    CHECK(err.text().empty());
}

TEST_CASE("task_scope: children run on other workers, and the scope still ends on its own") {
    std::vector<unsigned> seen;
    bool ended = false;
    stepped w(3);
    auto handle = w.spawn(runs_spread(seen, ended));
    w.settle();
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector{0U, 0U, 1U, 2U});
    CHECK(ended);
    CHECK(handle.done());
}

TEST_CASE("task_scope: a request to the caller reaches body and children, here and elsewhere") {
    cancelling state;
    stepped w(2);
    state.child_place = placement::worker(1);
    auto handle = w.spawn(runs_bounded(cancelled_body, state));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(state.body.reason == cancel_reason::timeout);
    CHECK(state.child[0].reason == cancel_reason::timeout);
    CHECK(state.child[1].reason == cancel_reason::timeout);
    CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
}

TEST_CASE(
    "task_scope: cancel() by a child, on this worker or another, stops body and siblings; "
    "without the value that it owes, the scope throws task_cancelled") {
    const unsigned place = GENERATE(0U, 1U);
    cancelling state;
    stepped w(2);
    state.from_child = true;
    state.why = cancel_reason::lost_race;
    state.child_place = placement::worker(place);
    auto handle = w.spawn(runs_bounded(cancelled_body, state));
    w.settle();
    w.advance(10ms);
    CHECK(state.body.reason == cancel_reason::lost_race);
    CHECK(state.child[0].reason == cancel_reason::lost_race);
    CHECK(state.child[1].reason == cancel_reason::lost_race);
    CHECK(w.end_of(handle).value() == "task_cancelled: lost_race");
}

TEST_CASE("task_scope: a request that is pending already reaches body and children") {
    cancelling state;
    stepped w;
    auto handle = w.spawn(runs_bounded(cancelled_body, state));
    handle.cancel(); // before its first turn
    w.settle();
    CHECK(handle.done());
    CHECK(state.body.reason == cancel_reason::requested);
    CHECK(state.child[0].reason == cancel_reason::requested);
    CHECK(state.child[1].reason == cancel_reason::requested);
    CHECK(w.end_of(handle).is_cancelled());
}

TEST_CASE("S69: cancel() of a scope by its child destroys nothing inside the call") {
    cancelling state;
    bool early = true;
    stepped w;
    auto handle = w.spawn(runs_cancelled_by_who_looks(state, early));
    w.settle();
    w.advance(10ms);
    CHECK(w.end_of(handle).has_value());
    CHECK_FALSE(early);
    CHECK(state.body.torn_down);
    CHECK(state.child[0].torn_down);
}

TEST_CASE("task_scope: cancel() tears down the inside, the outside goes on and what it guards "
          "stays clean") {
    cancelling state;
    stepped w;
    state.from_child = true;
    poison<int> outside(1);
    w.run(goes_on_after_cancel(outside, state));
    CHECK(state.body.torn_down);
    CHECK(state.child[0].torn_down);
    CHECK_FALSE(outside.is_poisoned());
    CHECK(*outside.access() == 2);
}

TEST_CASE("task_scope: a function is a body, too") {
    stepped w;
    CHECK(w.run(runs_function()) == 34);
}

TEST_CASE("task_scope: cancel() after the body has returned stops the children, the body's "
          "value is delivered") {
    cancelling state;
    stepped w;
    state.from_child = true;
    state.end_body = true;
    auto handle = w.spawn(runs_bounded(cancelled_body, state));
    w.settle();
    CHECK(state.body.times == 1);
    CHECK_FALSE(handle.done());
    w.advance(10ms);
    CHECK(state.child[0].torn_down);
    CHECK(state.child[1].torn_down);
    CHECK(w.end_of(handle).value() == "5");
}

TEST_CASE("task_scope: a child spawned while the scope is being cancelled is cancelled too") {
    cancelling state;
    stepped w;
    auto handle = w.spawn(runs_bounded(spawning_while_cancelled, state));
    w.settle();
    handle.cancel(cancel_reason::shutdown);
    w.settle();
    CHECK(state.body.times == 1);
    CHECK_FALSE(handle.done()); // the child is in flight
    state.at.open();
    w.settle();
    CHECK(state.child[2].times == 1);
    CHECK(state.child[2].reason == cancel_reason::shutdown);
    CHECK(handle.done());
}

TEST_CASE("task_scope: a request goes through nested scopes, innermost down first") {
    scope_end inner;
    scope_end child;
    event_log log;
    stepped w;
    const auto frames = detail::live_frames();
    {
        auto handle = w.spawn(runs_nested(inner, child, log));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(handle.done());
    }
    CHECK(inner.times == 1);
    CHECK(child.times == 1);
    CHECK(log == event_log{"outside!"});
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("contract: spawning into a scope that has ended is an error, and nothing is left") {
    stepped w;
    task_scope* leaked = nullptr;
    bool ended = false;
    auto body = [&](task_scope& scope) -> task<> {
        leaked = &scope;
        co_await yield_now();
        ended = true;
    };
    auto outer = [](auto& inside) -> task<> { co_await with_scope(inside); };
    // Runs after the body and before the caller of with_scope(), when the scope is still there.
    auto late = [](task_scope*& scope, const bool& over) -> task<std::string> {
        std::string text = "it is none";
        while (!over) co_await yield_now();
        try {
            scope->spawn(checkpoint(), {.name = "too late"}).detach();
        } catch (const std::logic_error& error) {
            text = error.what();
        }
        co_return text;
    };
    auto whole = w.spawn(outer(body));
    auto spawner = w.spawn(late(leaked, ended));
    const std::string text = w.end_of(spawner).value();
    CHECK(text.find("a scope that has ended takes no children: task ") == 0);
    CHECK(text.find("'too late'") != std::string::npos);
    CHECK(whole.done());
}
