// when_all: all results or the first failure, and nobody left behind.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using clock_point = std::chrono::steady_clock::time_point;

namespace {

task<int> gives(int value, std::chrono::milliseconds after) {
    co_await sleep_for(after);
    co_return value;
}
task<std::unique_ptr<std::string>> boxes(std::string text) {
    co_return std::make_unique<std::string>(std::move(text));
}
task<> notes(event_log& log, std::string text) {
    log.push_back(text + " began");
    co_await yield_now();
    log.push_back(text + " ended");
}
task<int> fails(std::chrono::milliseconds after, std::string text) {
    co_await sleep_for(after);
    throw std::runtime_error(text);
}
task<int> holds(poison<int>& data, scope_end& end) {
    scope_probe probe(end);
    auto access = data.access();
    *access = 1;
    co_await sleep_for(1h);
    co_return 0;
}
task<int> fails_when_cancelled(scope_end& end, gate& at) {
    scope_probe probe(end);
    at.holds_on_cancel = true;
    co_await at.pass();
    throw std::runtime_error("second failure");
}
task<int> cleans_up(event_log& log) {
    const auto cleanup = [](event_log& into) -> task<> {
        co_await sleep_for(10ms);
        into.push_back("cleaned");
    };
    const int value = co_await finally(gives(1, 3600000ms), cleanup(log));
    co_return value;
}
task<int> stops_itself(cancellation_token token) {
    const int value = co_await with_token(std::move(token), gives(1, 3600000ms));
    co_return value;
}

task<std::string> tuple_of_kinds(event_log& log) {
    auto [number, box, nothing] =
        co_await when_all(gives(7, 5ms), boxes("seven"), notes(log, "void"));
    static_assert(std::is_same_v<decltype(nothing), std::monostate>);
    co_return std::to_string(number) + *box;
}
task<std::vector<int>> vector_of(std::vector<task<int>> bodies) {
    auto values = co_await when_all(std::move(bodies));
    co_return values;
}
task<> vector_of_void(event_log& log, int count) {
    std::vector<task<>> bodies;
    for (int i = 0; i < count; ++i) bodies.push_back(notes(log, std::to_string(i)));
    co_await when_all(std::move(bodies));
    log.push_back("all");
}
task<std::string> caught(task<int> a, task<int> b, event_log& log) {
    std::string text;
    try {
        const auto values = co_await when_all(std::move(a), std::move(b));
        text = std::to_string(std::get<0>(values) + std::get<1>(values));
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    log.push_back("caught");
    co_return text;
}
task<std::string> caught_in_vector(std::vector<task<int>> bodies) {
    std::string text = "none";
    try {
        const auto values = co_await when_all(std::move(bodies));
        text = std::to_string(values.size());
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    co_return text;
}
task<> outside(task<int> a, task<int> b, event_log& log) {
    traced local(log, "outside");
    static_cast<void>(co_await when_all(std::move(a), std::move(b)));
    log.push_back("went on");
}
task<> bounded(task<int> a, task<int> b, event_log& log) {
    const auto end = co_await as_outcome(when_all(std::move(a), std::move(b)));
    log.push_back(end.is_cancelled() ? std::string(to_string(end.reason())) : "not cancelled");
}
task<int> awaitables(join_handle<int>& other) {
    auto [slept, end] = co_await when_all(sleep_for(1ms), other.outcome());
    static_cast<void>(slept);
    co_return std::move(end).value();
}
task<> gate_then_all(gate& at, scope_end& end, poison<int>& data, event_log& log) {
    co_await at.pass();
    co_await outside(holds(data, end), gives(1, 1ms), log);
}
task<int> passes(gate& at) {
    co_await at.pass();
    co_return 3;
}

} // namespace

TEST_CASE("when_all: gives the results in the order given, of any kinds, void as monostate") {
    event_log log;
    stepped w;
    CHECK(w.run(tuple_of_kinds(log)) == "7seven");
    CHECK(log == event_log{"void began", "void ended"});
}

TEST_CASE("when_all: of a vector gives a vector, in the order given") {
    std::vector<task<int>> bodies;
    stepped w;
    for (int i = 0; i < 5; ++i) bodies.push_back(gives(i, std::chrono::milliseconds(5 - i)));
    CHECK(w.run(vector_of(std::move(bodies))) == std::vector{0, 1, 2, 3, 4});
}

TEST_CASE("when_all: they run at the same time, and all begin before the first goes on") {
    event_log log;
    stepped w;
    w.run(vector_of_void(log, 3));
    CHECK(log ==
          event_log{"0 began", "1 began", "2 began", "0 ended", "1 ended", "2 ended", "all"});
}

TEST_CASE("when_all: of nothing is done") {
    event_log log;
    stepped w;
    w.run(vector_of_void(log, 0));
    CHECK(log == event_log{"all"});
    CHECK(w.run(vector_of({})).empty());
}

TEST_CASE("when_all: takes plain awaitables and joins") {
    stepped w;
    auto other = w.spawn(gives(4, 10ms));
    CHECK(w.run(awaitables(other)) == 4);
}

TEST_CASE("S27: the first exception cancels the siblings, poisons what they hold, and is "
          "rethrown when they are gone") {
    event_log log;
    poison<int> data(0);
    scope_end end;
    stepped w;
    auto handle = w.spawn(caught(fails(10ms, "first failure"), holds(data, end), log));
    w.settle();
    CHECK(end.times == 0);
    w.advance(10ms);
    CHECK(end.times == 1);
    CHECK(end.reason == cancel_reason::sibling_failed);
    REQUIRE(data.is_poisoned());
    CHECK(data.cause().reason() == cancel_reason::sibling_failed);
    CHECK(w.end_of(handle).value() == "first failure");
}

TEST_CASE("when_all: a failure in a vector cancels those before and behind it") {
    poison<int> before(0);
    poison<int> behind(0);
    scope_end ends[2];
    std::vector<task<int>> bodies;
    stepped w;
    bodies.push_back(holds(before, ends[0]));
    bodies.push_back(fails(10ms, "middle"));
    bodies.push_back(holds(behind, ends[1]));
    CHECK(w.run(caught_in_vector(std::move(bodies))) == "middle");
    CHECK(ends[0].reason == cancel_reason::sibling_failed);
    CHECK(ends[1].reason == cancel_reason::sibling_failed);
}

TEST_CASE("S27: a second exception is not lost in silence: stderr names it") {
    event_log log;
    scope_end end;
    gate at;
    stepped w;
    const stderr_capture err;
    auto handle =
        w.spawn(caught(fails(10ms, "first failure"), fails_when_cancelled(end, at), log),
                {.name = "two failures"});
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(handle.done());
    at.open();
    CHECK(w.end_of(handle).value() == "first failure");
    CHECK(count_of(err.text(), "second failure") == 1);
    CHECK(count_of(err.text(), "'two failures'") == 1);
    CHECK(count_of(err.text(), "first failure") == 0);
}

TEST_CASE("when_all: waits for the cleanup of a sibling before it throws") {
    event_log log;
    stepped w;
    auto handle = w.spawn(caught(fails(10ms, "failed"), cleans_up(log), log));
    w.settle();
    w.advance(10ms);
    CHECK(log.empty());
    w.advance(10ms);
    CHECK(log == event_log{"cleaned", "caught"});
    CHECK(w.end_of(handle).value() == "failed");
}

TEST_CASE("when_all: a request to the caller reaches all, then the caller is torn down") {
    event_log log;
    stepped w;
    poison<int> data[2] = {poison<int>(0), poison<int>(0)};
    scope_end ends[2];
    auto handle = w.spawn(outside(holds(data[0], ends[0]), holds(data[1], ends[1]), log));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    for (int i = 0; i < 2; ++i) {
        CHECK(ends[i].times == 1);
        CHECK(ends[i].reason == cancel_reason::timeout);
        CHECK(data[i].cause().reason() == cancel_reason::timeout);
    }
    CHECK(log == event_log{"outside!"});
    CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
}

TEST_CASE("when_all: a request that is pending already acts at the children's first points") {
    event_log log;
    gate at;
    scope_end end;
    poison<int> data(0);
    stepped w;
    auto handle = w.spawn(gate_then_all(at, end, data, log));
    w.settle();
    at.open();
    handle.cancel();
    w.settle();
    CHECK(end.times == 1);
    CHECK(log == event_log{"outside!"});
    CHECK(handle.done());
}

TEST_CASE("when_all: of children that all finished although cancelled, the results arrive") {
    event_log log;
    gate a;
    gate b;
    stepped w;
    a.holds_on_cancel = b.holds_on_cancel = true;
    auto handle = w.spawn(caught(passes(a), passes(b), log));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK_FALSE(handle.done());
    a.open();
    w.settle();
    b.open();
    w.settle();
    CHECK(log == event_log{"caught"});
    CHECK(w.end_of(handle).value() == "6");
}

TEST_CASE("when_all: a child that its own token stopped stops the others and the caller") {
    event_log log;
    stepped w;
    cancellation_source source;
    poison<int> data(0);
    scope_end end;
    auto handle = w.spawn(bounded(holds(data, end), stops_itself(source.token()), log));
    w.settle();
    source.cancel(cancel_reason::lost_race);
    w.settle();
    CHECK(end.reason == cancel_reason::sibling_failed);
    CHECK(log == event_log{"lost_race"});
    CHECK(handle.done());
}

TEST_CASE("when_all: leaves no frame and no timer behind, however it ends") {
    stepped w;
    const auto frames = detail::live_frames();
    {
        event_log log;
        poison<int> data(0);
        scope_end end;
        CHECK(w.run(caught(gives(1, 1ms), gives(2, 2ms), log)) == "3");
        CHECK(w.run(caught(gives(1, 1h), fails(1ms, "x"), log)) == "x");
        auto handle = w.spawn(outside(holds(data, end), gives(1, 1h), log));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(handle.done());
    }
    CHECK(detail::live_frames() == frames);
    CHECK(w.worker().next_timer() == clock_point::max());
}
