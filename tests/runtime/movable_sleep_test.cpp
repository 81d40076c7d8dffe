// movable_sleep: its end is moved while a task sleeps, in both directions.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/movable_sleep.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<> sleeps(movable_sleep& until, event_log& log) {
    traced local(log, "ended");
    co_await until;
    log.push_back("woke");
}
task<bool> moves(movable_sleep& sleep, std::chrono::milliseconds length) {
    co_return sleep.reset(length);
}

} // namespace

TEST_CASE("S195: movable_sleep: its end is moved later, and earlier, while a task sleeps") {
    stepped w;
    event_log log;
    movable_sleep sleep(w.kernel().time + 10ms);
    auto handle = w.spawn(sleeps(sleep, log));
    w.settle();
    w.advance(9ms);
    CHECK(w.run(moves(sleep, 10ms)));
    w.advance(9ms);
    CHECK(log.empty());
    CHECK(w.run(moves(sleep, 100ms)));
    w.advance(50ms);
    CHECK(log.empty());
    CHECK(w.run(moves(sleep, 1ms)));
    w.advance(1ms);
    CHECK(log == event_log{"woke", "ended"});
}

TEST_CASE("movable_sleep: not early by a tick, and an end that is past wakes at once") {
    stepped w;
    event_log log;
    movable_sleep sleep(w.kernel().time + 1h);
    auto handle = w.spawn(sleeps(sleep, log));
    w.settle();
    CHECK(w.run(moves(sleep, 1ms)));
    w.advance(1ms - 1ns);
    CHECK(log.empty());
    w.advance(1ns);
    CHECK(log.size() == 2);
    auto again = w.spawn(sleeps(sleep, log)); // the same end
    w.settle();
    w.advance(1us);
    CHECK(again.done());
}

TEST_CASE(
    "movable_sleep: moved as its sleeper is about to go on, it says so, and keeps the end") {
    stepped w;
    event_log log;
    movable_sleep sleep(w.kernel().time + 1ms);
    std::optional<bool> in_time;
    // Wakes in the same turn, before the sleeper does.
    auto other = w.spawn([](movable_sleep& of, std::optional<bool>& to) -> task<> {
        co_await sleep_until(of.end());
        to = of.reset(1h);
    }(sleep, in_time));
    auto handle = w.spawn(sleeps(sleep, log));
    w.settle();
    w.advance(1ms);
    CHECK(log == event_log{"woke", "ended"});
    CHECK(in_time == false);
    CHECK(sleep.end() == w.kernel().time + 1h);
}

TEST_CASE("movable_sleep: a cancelled sleeper wakes at once, and another may sleep") {
    stepped w;
    event_log log;
    movable_sleep sleep(w.kernel().time + 1ms);
    auto handle = w.spawn(sleeps(sleep, log));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log == event_log{"ended!"});
    auto again = w.spawn(sleeps(sleep, log));
    w.settle();
    w.advance(1ms);
    CHECK(again.done());
    CHECK(log.back() == "ended");
}

TEST_CASE("movable_sleep: in a race and under a time limit") {
    stepped w;
    const bool both = w.run([]() -> task<bool> {
        movable_sleep sleep(10ms);
        const auto end = co_await try_with_timeout(
            1ms, [](movable_sleep& of) -> task<> { co_await of; }(sleep));
        const bool limited = end.is_cancelled();
        sleep.reset(1ms);
        const auto race = co_await when_any(
            [](movable_sleep& of) -> task<> { co_await of; }(sleep), sleep_for(1h));
        co_return limited&& race.index == 0;
    }());
    CHECK(both);
}

TEST_CASE("movable_sleep: a second sleeper, and one who moves it elsewhere, get a sentence") {
    stepped w(2);
    event_log log;
    movable_sleep sleep(w.kernel().time + 1h);
    auto first = w.spawn(sleeps(sleep, log));
    w.settle();
    auto second = w.spawn(sleeps(sleep, log));
    auto elsewhere = w.spawn(moves(sleep, 1ms), {.where = placement::worker(1)});
    w.settle();
    const auto end = w.end_of(second);
    REQUIRE(end.has_exception());
    CHECK_THROWS_AS(std::rethrow_exception(end.exception()), std::logic_error);
    const auto moved = w.end_of(elsewhere);
    REQUIRE(moved.has_exception());
    CHECK_THROWS_AS(std::rethrow_exception(moved.exception()), std::logic_error);
    first.cancel();
    w.settle();
}
