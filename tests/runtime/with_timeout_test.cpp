// with_timeout, with_deadline and try_with_timeout: the boundary, the ties, the extremes.
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/pipe.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using clock_point = std::chrono::steady_clock::time_point;

namespace {

task<int> sleeps(std::chrono::nanoseconds length, scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(length);
    co_return 5;
}
task<int> never_suspends() {
    co_return 6;
}
task<int> fails() {
    co_await sleep_for(1ms);
    throw std::runtime_error("broken");
}

template <class Limit>
auto limited(Limit limit, task<int> body) {
    if constexpr (std::is_same_v<Limit, clock_point>) {
        return with_deadline(limit, std::move(body));
    } else {
        return with_timeout(limit, std::move(body));
    }
}
template <class Limit>
task<std::string> described(Limit limit, task<int> body, scope_end& outside) {
    scope_probe probe(outside);
    std::string text;
    try {
        const int value = co_await limited(limit, std::move(body));
        text = std::to_string(value);
    } catch (const timeout_error&) {
        text = "timeout";
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    co_return text;
}
template <class Point>
task<std::string> tried_until(Point limit, task<int> body) {
    std::string text = "exception";
    const auto end = co_await try_with_deadline(limit, std::move(body));
    if (end.has_value()) text = std::to_string(end.value());
    if (end.is_cancelled()) text = to_string(end.reason());
    co_return text;
}
task<> sleeps_below(unsigned& line) {
    line = __LINE__ + 1;
    co_await sleep_for(1h);
}
task<std::pair<unsigned, std::string>> told_of_a_length(unsigned& limit_line) {
    std::pair<unsigned, std::string> told;
    try {
        limit_line = __LINE__ + 1;
        co_await with_timeout(1500ms, sleeps_below(told.first));
    } catch (const timeout_error& error) {
        told.second = error.what();
    }
    co_return told;
}
task<std::pair<unsigned, std::string>> told_of_a_leaf() {
    std::pair<unsigned, std::string> told;
    try {
        told.first = __LINE__ + 1;
        co_await with_deadline(this_task::now() + 1s, sleep_for(1h));
    } catch (const timeout_error& error) {
        told.second = error.what();
    }
    co_return told;
}
task<std::pair<unsigned, std::string>>
told_of_a_date(std::chrono::system_clock::time_point when) {
    std::pair<unsigned, std::string> told;
    try {
        told.first = __LINE__ + 1;
        co_await with_deadline(when, sleep_for(1h));
    } catch (const timeout_error& error) {
        told.second = error.what();
    }
    co_return told;
}
template <class Limit>
task<std::string> tried(Limit limit, task<int> body) {
    std::string text = "exception";
    const auto end = co_await try_with_timeout(limit, std::move(body));
    if (end.has_value()) text = std::to_string(end.value());
    if (end.is_cancelled()) text = "cancelled " + std::string(to_string(end.reason()));
    co_return text;
}

task<> holds_outside(poison<int>& outer, poison<int>& inner, event_log& log) {
    auto access = outer.access();
    *access = 1;
    try {
        co_await with_timeout(10ms, [](poison<int>& data, event_log& into) -> task<> {
            traced local(into, "inside");
            auto held = data.access();
            *held = 1;
            co_await sleep_for(1h);
        }(inner, log));
        log.push_back("returned");
    } catch (const timeout_error&) {
        log.push_back("timeout");
    }
    *access = 2;
}

task<int> nested(std::chrono::milliseconds outer, std::chrono::milliseconds inner,
                 scope_end& end) {
    int result = 0;
    try {
        const int value =
            co_await with_timeout(outer, [](auto limit, scope_end& to) -> task<int> {
                int inside = 0;
                try {
                    inside = co_await with_timeout(limit, sleeps(1h, to));
                } catch (const timeout_error&) {
                    inside = 1;
                }
                co_return inside;
            }(inner, end));
        result = value;
    } catch (const timeout_error&) {
        result = 2;
    }
    co_return result;
}

task<int> reads(int fd, char& to) {
    const int count = co_await read_op(fd, &to, 1);
    co_return count;
}
task<int> joins(join_handle<int>& other) {
    const int value = co_await other;
    co_return value;
}
task<int> shielded(scope_end& end) {
    const int value = co_await shield(sleeps(50ms, end));
    co_return value;
}
task<> asks_token(cancellation_token& token) {
    token = this_task::token();
    co_await sleep_for(1h);
}
task<> hands_out_token(cancellation_token& inside, cancellation_token& outside) {
    outside = this_task::token();
    static_cast<void>(co_await try_with_timeout(10ms, asks_token(inside)));
}
task<int> plain_awaitables(join_handle<int>& other) {
    int sum = 0;
    co_await with_timeout(1s, sleep_for(1ms));
    const auto ended = co_await try_with_timeout(1ms, sleep_for(1s));
    sum += ended.is_cancelled() ? 100 : 0;
    auto joined = co_await with_timeout(1s, other.outcome());
    sum += joined.value();
    co_return sum;
}

} // namespace

TEST_CASE("with_timeout: in time, it gives the value or the exception, and its timer goes") {
    scope_end inside;
    scope_end outside;
    stepped w;
    CHECK(w.run(described(1s, sleeps(10ms, inside), outside)) == "5");
    CHECK(w.run(described(1s, fails(), outside)) == "broken");
    CHECK(w.run(described(1s, never_suspends(), outside)) == "6");
    CHECK(w.worker().next_timer() == clock_point::max());
    CHECK_FALSE(inside.torn_down);
}

TEST_CASE("with_timeout: out of time, the inside is torn down first, then timeout_error") {
    scope_end inside;
    scope_end outside;
    stepped w;
    auto handle = w.spawn(described(10ms, sleeps(1h, inside), outside));
    w.settle();
    w.advance(10ms - 1us);
    CHECK(inside.times == 0);
    w.advance(1us);
    CHECK(inside.times == 1);
    CHECK(inside.reason == cancel_reason::timeout);
    CHECK(w.end_of(handle).value() == "timeout");
    CHECK_FALSE(outside.torn_down);
}

TEST_CASE("with_timeout: the error says what did not finish and the limit") {
    stepped w;
    const std::string here = "with_timeout_test.cpp:";
    const auto told = [&](task<std::pair<unsigned, std::string>> body) {
        auto handle = w.spawn(std::move(body));
        w.settle();
        w.advance(1h);
        return w.end_of(handle).value();
    };
    unsigned limit_line = 0;
    const auto [inner, length] = told(told_of_a_length(limit_line));
    CHECK(length == "not finished within 1.5 s: the co_await at " + here +
                        std::to_string(inner) + ", under the limit set at " + here +
                        std::to_string(limit_line));
    const auto [line, leaf] = told(told_of_a_leaf());
    CHECK(leaf ==
          "not finished by its deadline: the co_await at " + here + std::to_string(line));
    w.kernel().calendar += 2h;
    const auto [date_line, date] = told(told_of_a_date(w.kernel().calendar - 1h));
    CHECK(date == "not finished by its deadline by the calendar: the co_await at " + here +
                      std::to_string(date_line));
}

TEST_CASE("with_timeout: lengths are told in the largest unit that fits") {
    const auto told = [](auto length) { return detail::time_limit(length).to_string(); };
    CHECK(told(2h) == "7200 s");
    CHECK(told(1250us) == "1.25 ms");
    CHECK(told(10ms) == "10 ms");
    CHECK(told(1005ns) == "1.005 us");
    CHECK(told(0ns) == "0 ns");
    CHECK(told(std::chrono::hours::max()) == "the longest time");
}

TEST_CASE("try_with_deadline: value, exception, or cancelled(timeout), by either clock") {
    scope_end inside;
    stepped w;
    const auto soon = w.kernel().time + 10ms;
    CHECK(w.run(tried_until(soon, never_suspends())) == "6");
    CHECK(w.run(tried_until(soon, fails())) == "exception");
    CHECK(w.run(tried_until(soon, sleeps(1h, inside))) == "timeout");
    CHECK(inside.reason == cancel_reason::timeout);
    const auto date = w.kernel().calendar + 5s;
    CHECK(w.run(tried_until(date, sleeps(1s, inside))) == "5");
    auto handle = w.spawn(tried_until(date, sleeps(1h, inside)));
    w.settle();
    w.advance(30s);
    CHECK_FALSE(handle.done()); // the calendar stands still
    w.kernel().calendar = date;
    w.advance(10s);
    CHECK(w.end_of(handle).value() == "timeout");
}

TEST_CASE("S95: a limit that is not a number is an error at the call") {
    constexpr std::chrono::duration<double> none(std::numeric_limits<double>::quiet_NaN());
    sync::mutex<int> m(0);
    CHECK_THROWS_AS(with_timeout(none, never_suspends()), std::invalid_argument);
    CHECK_THROWS_AS(try_with_timeout(none, never_suspends()), std::invalid_argument);
    CHECK_THROWS_AS(m.try_lock_for(none), std::invalid_argument);
}

TEST_CASE("S29: data held outside a timeout stays clean, data held inside is poisoned") {
    poison<int> outer(0);
    poison<int> inner(0);
    event_log log;
    stepped w;
    auto handle = w.spawn(holds_outside(outer, inner, log));
    w.settle();
    w.advance(10ms);
    CHECK(handle.done());
    CHECK(log == event_log{"inside!", "timeout"});
    CHECK_FALSE(outer.is_poisoned());
    CHECK(*outer.access() == 2);
    REQUIRE(inner.is_poisoned());
    CHECK(inner.cause().kind() == poison_kind::cancelled);
    CHECK(inner.cause().reason() == cancel_reason::timeout);
}

TEST_CASE("with_timeout: of no time, the inside runs up to its first cancellation point") {
    scope_end inside;
    scope_end outside;
    stepped w;
    for (const auto limit : {0ms, -1ms, -1000000ms}) {
        CHECK(w.run(described(limit, sleeps(1ms, inside), outside)) == "timeout");
        CHECK(w.run(described(limit, never_suspends(), outside)) == "6");
        CHECK(w.run(tried(limit, sleeps(1ms, inside))) == "cancelled timeout");
    }
    CHECK(inside.times == 6);
}

TEST_CASE("with_timeout: limits beyond any clock are no limits") {
    scope_end inside;
    scope_end outside;
    stepped w;
    CHECK(w.run(described(std::chrono::hours::max(), sleeps(1h, inside), outside)) == "5");
    CHECK(w.run(described(std::chrono::nanoseconds::max(), sleeps(1h, inside), outside)) ==
          "5");
    CHECK(w.run(described(std::chrono::duration<double>(1e300), sleeps(1h, inside), outside)) ==
          "5");
    CHECK(w.run(described(clock_point::max(), sleeps(1h, inside), outside)) == "5");
}

TEST_CASE("with_deadline: limits by a point in time, past ones too") {
    scope_end inside;
    scope_end outside;
    stepped w;
    const auto now = w.worker().now();
    CHECK(w.run(described(now + 10ms, sleeps(1ms, inside), outside)) == "5");
    CHECK(w.run(described(now + 10ms, sleeps(1s, inside), outside)) == "timeout");
    CHECK(w.worker().now() == now + 10ms);
    CHECK(w.run(described(now - 1h, sleeps(1s, inside), outside)) == "timeout");
    CHECK(w.run(described(clock_point::min(), sleeps(1s, inside), outside)) == "timeout");
}

TEST_CASE("try_with_timeout: gives value, exception or cancelled(timeout)") {
    scope_end inside;
    stepped w;
    CHECK(w.run(tried(1s, sleeps(10ms, inside))) == "5");
    CHECK(w.run(tried(1s, fails())) == "exception");
    CHECK(w.run(tried(1ms, sleeps(10ms, inside))) == "cancelled timeout");
}

TEST_CASE("with_timeout: a sleep that would end in the same tick is ended by one of the two") {
    scope_end inside;
    scope_end outside;
    stepped w;
    const auto text = w.run(described(10ms, sleeps(10ms, inside), outside));
    CHECK((text == "5" || text == "timeout"));
    CHECK(inside.times == 1);
    CHECK(inside.torn_down == (text == "timeout"));
}

TEST_CASE("S59: a result that the kernel delivered before the time was up is not lost") {
    stepped w;
    test_pipe pipe;
    scope_end outside;
    char letter = 0;
    auto handle = w.spawn(described(10ms, reads(pipe.reader(), letter), outside));
    w.settle();
    pipe.write("x");
    w.step(); // the completion is there, the task has not run
    w.kernel().time += 10ms;
    w.settle(); // the time is up first
    CHECK(w.end_of(handle).value() == "1");
    CHECK(letter == 'x');
}

TEST_CASE("with_timeout: a join that is cut off leaves the result to the next who joins") {
    scope_end inside;
    scope_end outside;
    stepped w;
    auto other = w.spawn(sleeps(10ms, inside));
    auto handle = w.spawn(described(10ms, joins(other), outside));
    w.settle();
    w.advance(10ms);
    const auto text = w.end_of(handle).value();
    CHECK(text == "timeout"); // the join had not been told when the time was up
    CHECK(w.end_of(other).value() == 5);
}

TEST_CASE("with_timeout: an inside that finishes although time was up delivers its result") {
    scope_end inside;
    scope_end outside;
    stepped w;
    auto handle = w.spawn(described(10ms, shielded(inside), outside));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(handle.done());
    w.advance(40ms);
    CHECK(w.end_of(handle).value() == "5");
    CHECK_FALSE(inside.torn_down);
}

TEST_CASE("with_timeout: nested, the shorter one fires and only its own inside is torn down") {
    scope_end inside;
    stepped w;
    CHECK(w.run(nested(1000ms, 10ms, inside)) == 1);
    CHECK(w.run(nested(10ms, 1000ms, inside)) == 2);
    CHECK(inside.times == 2);
    CHECK(w.worker().next_timer() == clock_point::max());
}

TEST_CASE("with_timeout: a request that is pending already reaches the inside") {
    stepped w;
    scope_end inside;
    scope_end outside;
    auto handle = w.spawn(described(2h, sleeps(1h, inside), outside));
    handle.cancel(); // before its first turn
    w.settle();
    CHECK(handle.done());
    CHECK(inside.reason == cancel_reason::requested);
    CHECK(outside.reason == cancel_reason::requested);
    CHECK(w.end_of(handle).is_cancelled());
}

TEST_CASE("with_timeout: a request to the caller tears down inside and outside, its reason") {
    const bool time_is_up_too = GENERATE(false, true);
    scope_end inside;
    scope_end outside;
    stepped w;
    auto handle = w.spawn(described(10ms, sleeps(1h, inside), outside));
    w.settle();
    handle.cancel(cancel_reason::shutdown);
    if (time_is_up_too) w.kernel().time += 10ms;
    w.settle();
    CHECK(inside.reason == cancel_reason::shutdown);
    CHECK(outside.reason == cancel_reason::shutdown);
    CHECK(w.end_of(handle).reason() == cancel_reason::shutdown);
    CHECK(w.worker().next_timer() == clock_point::max());
}

TEST_CASE("with_timeout: a request to the caller after the time was up wins over the error") {
    scope_end inside;
    scope_end outside;
    stepped w;
    auto handle = w.spawn(described(10ms, sleeps(1h, inside), outside));
    w.settle();
    w.kernel().time += 10ms;
    w.worker().step(false, 1); // the time is up, the inside is asked to stop, and has stopped
    handle.cancel(cancel_reason::shutdown);
    w.settle();
    CHECK(inside.reason == cancel_reason::timeout);
    CHECK(outside.torn_down);
    CHECK(w.end_of(handle).reason() == cancel_reason::shutdown);
}

TEST_CASE("with_timeout: the token inside is cancelled by the time, the one outside is not") {
    stepped w;
    cancellation_token inside;
    cancellation_token outside;
    auto handle = w.spawn(hands_out_token(inside, outside));
    w.settle();
    w.advance(10ms);
    CHECK(handle.done());
    CHECK(inside.reason() == cancel_reason::timeout);
    CHECK_FALSE(outside.cancelled());
}

TEST_CASE("with_timeout: takes any awaitable of the library") {
    scope_end inside;
    stepped w;
    auto other = w.spawn(sleeps(1ms, inside));
    CHECK(w.run(plain_awaitables(other)) == 105);
}
