// interval: ticks without drift, and the three ways to deal with those that were missed.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/interval.hpp>

#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using point = std::chrono::steady_clock::time_point;
using ms = std::vector<long>;

/// When each tick was due, and came, in milliseconds since the start; busy for `works` after
/// the first one.
struct seen {
    ms due;
    ms came;
};
task<> ticks(stepped& w, missed_tick missed, std::chrono::milliseconds works, int count,
             seen& to) {
    const point start = this_task::now();
    const auto since = [start](point when) {
        return static_cast<long>(
            std::chrono::duration_cast<std::chrono::milliseconds>(when - start).count());
    };
    interval every(10ms, missed);
    for (int i = 0; i < count; ++i) {
        const point due = co_await every.tick();
        to.due.push_back(since(due));
        to.came.push_back(since(this_task::now()));
        if (i == 0) w.kernel().time += works; // it computes
    }
}
seen run(missed_tick missed, std::chrono::milliseconds works, int count) {
    stepped w;
    seen to;
    w.run(ticks(w, missed, works, count, to));
    return to;
}

} // namespace

TEST_CASE("S194: interval: the first tick is due at once, the others a period apart") {
    const auto all = run(missed_tick::burst, 0ms, 4);
    CHECK(all.due == ms{0, 10, 20, 30});
    CHECK(all.came == ms{0, 10, 20, 30});
}

TEST_CASE(
    "interval: a tick that is awaited late is no drift, whatever is done with missed ones") {
    for (const auto missed : {missed_tick::burst, missed_tick::delay, missed_tick::skip}) {
        const auto all = run(missed, 7ms, 3);
        CHECK(all.came == ms{0, 10, 20});
    }
}

TEST_CASE("interval: missed ticks come in a burst, delay the others, or are left out") {
    const auto burst = run(missed_tick::burst, 35ms, 6);
    CHECK(burst.due == ms{0, 10, 20, 30, 40, 50});
    CHECK(burst.came == ms{0, 35, 35, 35, 40, 50});
    const auto delay = run(missed_tick::delay, 35ms, 4);
    CHECK(delay.due == ms{0, 10, 45, 55});
    CHECK(delay.came == ms{0, 35, 45, 55});
    const auto skip = run(missed_tick::skip, 35ms, 4);
    CHECK(skip.due == ms{0, 10, 40, 50});
    CHECK(skip.came == ms{0, 35, 40, 50});
}

TEST_CASE("interval: exactly a period late is one tick missed") {
    const auto skip = run(missed_tick::skip, 20ms, 3);
    CHECK(skip.due == ms{0, 10, 30});
    CHECK(skip.came == ms{0, 20, 30});
}

TEST_CASE("interval: never early, whatever the fractions") {
    stepped w;
    w.run([]() -> task<> {
        using third = std::chrono::duration<double, std::ratio<1, 3000000>>;
        interval every(third(1000.1));
        const point start = this_task::now();
        for (int i = 0; i < 100; ++i) {
            const point due = co_await every.tick();
            CHECK(this_task::now() >= due);
            CHECK(due >= start + i * 333366ns);
        }
    }());
}

TEST_CASE("interval: a tick that was not delivered is still to come") {
    stepped w;
    const auto late = w.run([]() -> task<std::chrono::nanoseconds> {
        interval every(10ms);
        const point start = co_await every.tick();
        for (int i = 0; i < 3; ++i) {
            static_cast<void>(co_await try_with_timeout(3ms, every.tick()));
        }
        const point due = co_await every.tick();
        co_return due - start;
    }());
    CHECK(late == 10ms);
}

TEST_CASE("interval: reset() starts anew, and a start may be given") {
    stepped w;
    const auto times = w.run([](stepped& in) -> task<ms> {
        const point now = this_task::now();
        interval every(now + 5ms, 10ms);
        std::vector<point> all;
        all.push_back(co_await every.tick());
        in.kernel().time += 2ms;
        every.reset();
        all.push_back(co_await every.tick());
        every.reset(this_task::now() + 1ms);
        all.push_back(co_await every.tick());
        ms since;
        for (const point each : all) {
            since.push_back(static_cast<long>((each - now) / 1ms));
        }
        co_return since;
    }(w));
    CHECK(times == ms{5, 17, 18});
}

TEST_CASE("interval: a period that is none is refused, and one for ever does not overflow") {
    stepped w;
    CHECK_THROWS_AS(interval(0ms), std::invalid_argument);
    CHECK_THROWS_AS(interval(-1s), std::invalid_argument);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(interval(std::chrono::duration<double>(nan)), std::invalid_argument);
    const bool timed_out = w.run([]() -> task<bool> {
        interval every(std::chrono::hours::max());
        static_cast<void>(co_await every.tick());
        const auto end = co_await try_with_timeout(1h, every.tick());
        co_return end.is_cancelled();
    }());
    CHECK(timed_out);
}

TEST_CASE("interval: a second task that awaits the tick gets a sentence") {
    stepped w;
    const auto end = w.run(as_outcome([]() -> task<> {
        interval every(10ms);
        static_cast<void>(co_await every.tick());
        co_await when_all(every.tick(), every.tick());
    }()));
    REQUIRE(end.has_exception());
    CHECK_THROWS_WITH(std::rethrow_exception(end.exception()), Catch::Contains("one task"));
}
