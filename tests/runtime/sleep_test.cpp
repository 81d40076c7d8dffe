// sleep_for and sleep_until, in virtual time.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ratio>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using clock_point = std::chrono::steady_clock::time_point;

namespace {

template <class Duration>
task<> sleeps(Duration length, event_log& log, std::string name) {
    traced local(log, name + " gone");
    co_await sleep_for(length);
    log.push_back(name);
}
task<> sleeps_until(clock_point when, event_log& log) {
    co_await sleep_until(when);
    log.push_back("woke");
}
task<> sleeps_until_calendar(std::chrono::system_clock::time_point when, event_log& log) {
    co_await sleep_until(when);
    log.push_back("woke");
}
task<> gate_then_sleep(gate& at, event_log& log) {
    traced local(log, "gone");
    co_await at.pass();
    co_await sleep_for(1h);
    log.push_back("woke");
}
task<> other_work(event_log& log) {
    log.push_back("other");
    co_return;
}

} // namespace

TEST_CASE("sleep: wakes at its time, not a microsecond before") {
    event_log log;
    stepped w;
    auto handle = w.spawn(sleeps(10ms, log, "slept"));
    w.settle();
    w.advance(10ms - 1us);
    CHECK(log.empty());
    w.advance(1us);
    CHECK(log == event_log{"slept", "slept gone"});
    CHECK(handle.done());
}

TEST_CASE("sleep: a part of a microsecond is rounded up, never down") {
    event_log log;
    stepped w;
    auto handle = w.spawn(sleeps(std::chrono::duration<double, std::micro>(2.5), log, "slept"));
    w.settle();
    w.advance(2us);
    CHECK(log.empty());
    w.advance(499ns);
    CHECK(log.empty());
    w.advance(501ns);
    CHECK(log.size() == 2);
}

TEST_CASE("sleep: tasks wake in the order of their deadlines") {
    event_log log;
    stepped w;
    auto c = w.spawn(sleeps(30s, log, "c"));
    auto a = w.spawn(sleeps(10us, log, "a"));
    auto d = w.spawn(sleeps(40h, log, "d"));
    auto b = w.spawn(sleeps(20ms, log, "b"));
    w.settle();
    w.advance(100h);
    CHECK(log == event_log{"a", "a gone", "b", "b gone", "c", "c gone", "d", "d gone"});
}

TEST_CASE("sleep: of no time, or into the past, lets others run once and goes on") {
    const int kind = GENERATE(0, 1, 2);
    event_log log;
    stepped w;
    const auto now = w.worker().now();
    auto handle = kind == 0   ? w.spawn(sleeps(0ms, log, "slept"))
                  : kind == 1 ? w.spawn(sleeps(-5h, log, "slept"))
                              : w.spawn(sleeps_until(now - 1h, log));
    auto other = w.spawn(other_work(log));
    w.settle();
    w.advance(1us);
    CHECK(handle.done());
    REQUIRE_FALSE(log.empty());
    CHECK(log.front() == "other");
}

TEST_CASE("sleep: lengths beyond any clock do not overflow and do not end") {
    const int kind = GENERATE(0, 1, 2, 3);
    event_log log;
    stepped w;
    auto handle = kind == 0   ? w.spawn(sleeps(std::chrono::hours::max(), log, "slept"))
                  : kind == 1 ? w.spawn(sleeps(std::chrono::nanoseconds::max(), log, "slept"))
                  : kind == 2
                      ? w.spawn(sleeps(std::chrono::duration<double>(1e300), log, "slept"))
                      : w.spawn(sleeps_until(clock_point::max(), log));
    w.settle();
    w.advance(1000000h);
    CHECK(log.empty());
    CHECK_FALSE(handle.done());
    CHECK(w.worker().next_timer() > w.worker().now());
    handle.cancel();
    w.settle();
    CHECK(handle.done());
}

TEST_CASE("S95: a time that is not a number is an error, before anything has happened") {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    using seconds = std::chrono::duration<double>;
    using point = std::chrono::time_point<std::chrono::steady_clock, seconds>;
    using date = std::chrono::time_point<std::chrono::system_clock, seconds>;
    CHECK_THROWS_WITH(sleep_for(seconds(none)), Catch::Contains("not a number"));
    CHECK_THROWS_AS(sleep_for(std::chrono::duration<float>(std::nanf(""))),
                    std::invalid_argument);
    CHECK_THROWS_AS(sleep_until(point(seconds(none))), std::invalid_argument);
    CHECK_THROWS_AS(sleep_until(date(seconds(none))), std::invalid_argument);
}

TEST_CASE("time_limit: whatever the type, too long is the longest and negative is no time") {
    using detail::to_nanoseconds;
    constexpr double infinite = std::numeric_limits<double>::infinity();
    CHECK(to_nanoseconds(std::chrono::duration<double>(infinite)) == detail::longest_wait);
    CHECK(to_nanoseconds(std::chrono::duration<double>(-infinite)) == 0ns);
    CHECK(to_nanoseconds(std::chrono::years::max()) == detail::longest_wait);
    CHECK(to_nanoseconds(std::chrono::years::min()) == 0ns);
    CHECK(to_nanoseconds(std::chrono::nanoseconds::min()) == 0ns);
    CHECK(to_nanoseconds(std::chrono::duration<std::uint64_t>::max()) == detail::longest_wait);
    CHECK(to_nanoseconds(std::chrono::duration<std::int8_t>(127)) == 127s);
    CHECK(to_nanoseconds(std::chrono::duration<std::int64_t, std::pico>(1001)) == 2ns);
    CHECK(to_nanoseconds(std::chrono::duration<long double>(1e-12L)) == 1ns);
}

TEST_CASE("sleep: until a date it follows the calendar, set back and set forward") {
    event_log log;
    stepped w;
    w.kernel().calendar = std::chrono::system_clock::time_point(1000h);
    auto handle = w.spawn(sleeps_until_calendar(w.kernel().calendar + 1min, log));
    w.settle();
    w.kernel().calendar += 50s;
    w.advance(50s);
    w.kernel().calendar -= 30s; // set back
    w.advance(10s);
    w.advance(20s);
    CHECK(log.empty());
    w.kernel().calendar += 40s - 1ns; // set forward
    w.advance(10s);
    CHECK(log.empty());
    w.kernel().calendar += 1ns;
    w.advance(10s);
    CHECK(log == event_log{"woke"});
    CHECK(handle.done());
    auto far = w.spawn(sleeps_until_calendar(w.kernel().calendar + 1h, log));
    w.settle();
    w.kernel().calendar += 1h; // at once, while it sleeps
    w.advance(10s);
    CHECK(far.done());
    auto late = w.spawn(sleeps_until_calendar(w.kernel().calendar - 1h, log));
    w.settle();
    w.advance(1us);
    CHECK(late.done());
    auto never =
        w.spawn(sleeps_until_calendar(std::chrono::system_clock::time_point::max(), log));
    w.settle();
    w.advance(1000h);
    CHECK_FALSE(never.done());
}

TEST_CASE("sleep: cancelled, it ends at once and its timer is gone") {
    event_log log;
    stepped w;
    auto handle = w.spawn(sleeps(1h, log, "slept"));
    auto other = w.spawn(sleeps(2h, log, "other"));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log == event_log{"slept gone!"});
    other.cancel();
    w.settle();
    CHECK(w.worker().next_timer() == clock_point::max());
}

TEST_CASE("sleep: cancelled when the time is up but before it ran, it ends all the same") {
    event_log log;
    stepped w;
    auto handle = w.spawn(sleeps(10ms, log, "slept"));
    w.settle();
    handle.cancel(); // carried out in the next turn, before the timers
    w.kernel().time += 10ms;
    w.settle();
    CHECK(log == event_log{"slept gone!"});
    CHECK(handle.done());
}

TEST_CASE("sleep: a request that is pending already leaves no timer behind") {
    event_log log;
    gate at;
    stepped w;
    auto handle = w.spawn(gate_then_sleep(at, log));
    w.settle();
    at.open();
    handle.cancel();
    w.settle();
    CHECK(handle.done());
    CHECK(log == event_log{"gone!"});
    CHECK(w.worker().next_timer() == clock_point::max());
}
