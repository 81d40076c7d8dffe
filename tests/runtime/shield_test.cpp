// shield: requests from outside stay outside until the inside has ended.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> two_sleeps(event_log& log) {
    traced local(log, "inside");
    co_await sleep_for(10ms);
    const bool told = this_task::token().cancelled();
    log.push_back(told ? "told" : "not told");
    co_await sleep_for(10ms);
    co_return 5;
}
task<int> shielded(event_log& log) {
    traced local(log, "outside");
    const int value = co_await shield(two_sleeps(log));
    log.push_back("got " + std::to_string(value));
    co_await checkpoint();
    log.push_back("after");
    co_return value;
}
task<> gate_then_shield(gate& at, event_log& log) {
    co_await at.pass();
    const int value = co_await shielded(log);
    log.push_back("returned " + std::to_string(value));
}
task<> no_point_after(event_log& log) {
    const int value = co_await shield(two_sleeps(log));
    log.push_back("got " + std::to_string(value));
}
task<int> fails_late() {
    co_await sleep_for(10ms);
    throw std::runtime_error("from inside");
}
task<std::string> catches() {
    std::string text = "nothing";
    try {
        const int value = co_await shield(fails_late());
        text = std::to_string(value);
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    co_return text;
}
task<> sleeps(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
}
task<> shielded_timeout(scope_end& end, event_log& log) {
    co_await checkpoint();
    const auto ended = co_await try_with_timeout(10ms, sleeps(end));
    log.push_back(ended.is_cancelled() ? "timed out" : "?");
}
task<> shields(task<> body, event_log& log) {
    traced local(log, "outside");
    co_await shield(std::move(body));
    log.push_back("shield passed");
    co_await checkpoint();
    log.push_back("after");
}
task<> gate_then(gate& at, task<> body) {
    co_await at.pass();
    co_await std::move(body);
}
task<> under_token(cancellation_token token, scope_end& end) {
    co_await with_token(std::move(token), sleeps(end));
}
task<> shielded_section(poison<int>& data, event_log& log) {
    {
        auto access = data.access();
        *access = 1;
        co_await shield(sleep_for(10ms));
        *access = 2;
    }
    log.push_back("section ended");
    co_await checkpoint();
    log.push_back("after");
}
task<> sections(poison<int>& data, gate& at, bool inside) {
    auto access = std::optional(data.access());
    co_await at.pass();
    if (!inside) access.reset();
    co_await checkpoint();
}

} // namespace

TEST_CASE("S22: a shielded task runs to its end, and the request takes effect right after") {
    event_log log;
    stepped w;
    auto handle = w.spawn(shielded(log));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log.empty());
    w.advance(10ms);
    w.advance(10ms);
    CHECK(log == event_log{"not told", "inside", "got 5", "outside!"});
    CHECK(w.end_of(handle).is_cancelled());
}

TEST_CASE("S22: a section that awaits under a shield is not poisoned by a request") {
    event_log log;
    poison<int> data(0);
    stepped w;
    auto handle = w.spawn(shielded_section(data, log));
    w.settle();
    handle.cancel();
    w.advance(10ms);
    CHECK(log == event_log{"section ended"});
    CHECK(handle.done());
    CHECK_FALSE(data.is_poisoned());
    CHECK(*data.access() == 2);
}

TEST_CASE("S20: a result that came although a request was pending is delivered; the next "
          "cancellation point ends the task, and poisons only what is still open") {
    const bool inside = GENERATE(false, true);
    poison<int> data(0);
    gate at;
    stepped w;
    at.holds_on_cancel = true;
    auto handle = w.spawn(sections(data, at, inside));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK_FALSE(handle.done());
    at.open();
    w.settle();
    CHECK(at.passed == 1);
    CHECK(handle.done());
    CHECK(data.is_poisoned() == inside);
}

TEST_CASE("shield: a request that is pending already is not seen inside") {
    event_log log;
    gate at;
    stepped w;
    auto handle = w.spawn(gate_then_shield(at, log));
    w.settle();
    at.open();
    handle.cancel();
    w.settle();
    CHECK(at.passed == 1);
    w.advance(10ms);
    w.advance(10ms);
    CHECK(log == event_log{"not told", "inside", "got 5", "outside!"});
}

TEST_CASE("shield: a task that returns before its next cancellation point returns its value") {
    event_log log;
    stepped w;
    auto handle = w.spawn(no_point_after(log));
    w.settle();
    handle.cancel();
    w.advance(10ms);
    w.advance(10ms);
    CHECK(log == event_log{"not told", "inside", "got 5"});
    CHECK(w.end_of(handle).has_value());
}

TEST_CASE("shield: an exception passes through it, request or not") {
    const bool cancel = GENERATE(false, true);
    stepped w;
    auto handle = w.spawn(catches());
    w.settle();
    if (cancel) handle.cancel();
    w.advance(10ms);
    CHECK(w.end_of(handle).value() == "from inside");
}

TEST_CASE("shield: timeouts inside it still work") {
    event_log log;
    scope_end end;
    stepped w;
    auto handle = w.spawn(shields(shielded_timeout(end, log), log));
    w.settle();
    handle.cancel();
    w.settle();
    w.advance(10ms);
    CHECK(end.reason == cancel_reason::timeout);
    CHECK(log == event_log{"timed out", "shield passed", "outside!"});
}

TEST_CASE("shield: an inside that is stopped by its own token stops the outside too") {
    event_log log;
    scope_end end;
    stepped w;
    cancellation_source source;
    auto handle = w.spawn(shields(under_token(source.token(), end), log));
    w.settle();
    source.cancel(cancel_reason::lost_race);
    w.settle();
    CHECK(end.times == 1);
    CHECK(log == event_log{"outside!"});
    CHECK(w.end_of(handle).reason() == cancel_reason::lost_race);
}

TEST_CASE("shield: force, and only force, reaches through it") {
    event_log log;
    scope_end end;
    stepped w;
    auto handle = w.spawn(shields(sleeps(end), log));
    w.settle();
    w.worker().stop_roots(cancel_reason::shutdown, false);
    w.settle();
    CHECK(end.times == 0);
    w.worker().stop_roots(cancel_reason::shutdown, true);
    w.settle();
    CHECK(end.times == 1);
    CHECK(end.reason == cancel_reason::shutdown);
    CHECK(log == event_log{"outside!"});
    CHECK(handle.done());
}

TEST_CASE(
    "shield: in a scope that begins when the force has been used already, it is reached") {
    event_log log;
    scope_end end;
    stepped w;
    const auto body = [&](task_scope&) -> task<> { co_await shields(sleeps(end), log); };
    const auto scoped = [&]() -> task<> { co_await with_scope(body); };
    auto handle = w.spawn(scoped());
    w.worker().stop_roots(cancel_reason::shutdown, true);
    w.settle();
    CHECK(handle.done());
    CHECK(end.times == 1);
}

TEST_CASE("shield: begun when the force has been used already, it is reached all the same") {
    const bool before_the_start = GENERATE(false, true);
    event_log log;
    scope_end end;
    gate at;
    stepped w;
    at.holds_on_cancel = true;
    auto handle = w.spawn(before_the_start ? shields(sleeps(end), log)
                                           : gate_then(at, shields(sleeps(end), log)));
    if (!before_the_start) w.settle();
    w.worker().stop_roots(cancel_reason::shutdown, true);
    w.settle();
    at.open();
    w.settle();
    CHECK(handle.done());
    CHECK(end.times == 1);
}
