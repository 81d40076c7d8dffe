// current_deadline: the first of the limits around the place that asks.
#include <toadstone/runtime.hpp>

#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using point = std::chrono::steady_clock::time_point;
using deadline = std::optional<point>;

task<deadline> asks() {
    co_return this_task::current_deadline();
}
task<deadline> asks_later(std::chrono::milliseconds wait) {
    co_await sleep_for(wait);
    co_return this_task::current_deadline();
}

} // namespace

TEST_CASE("current_deadline: nothing on a plain thread, nor in a task without a limit") {
    stepped w;
    CHECK(!this_task::current_deadline());
    CHECK(!w.run(asks()));
    CHECK(!w.run(as_outcome(asks())).value());
}

TEST_CASE("current_deadline: of a length, a point of the worker's clock, and of the calendar") {
    stepped w;
    const point now = w.kernel().time;
    CHECK(w.run(with_timeout(250ms, asks())) == now + 250ms);
    CHECK(w.run(with_deadline(now + 3s, asks())) == now + 3s);
    CHECK(w.run(try_with_timeout(250ms, asks())).value() == now + 250ms);
    w.kernel().calendar = std::chrono::system_clock::time_point(24h);
    CHECK(w.run(with_deadline(w.kernel().calendar + 5min, asks())) == now + 5min);
}

TEST_CASE("current_deadline: it stays where it is while time passes") {
    stepped w;
    const point now = w.kernel().time;
    CHECK(w.run(with_timeout(250ms, asks_later(100ms))) == now + 250ms);
}

TEST_CASE("current_deadline: the nearest of all that enclose the place, through boundaries") {
    stepped w;
    const point now = w.kernel().time;
    CHECK(w.run(with_timeout(1s, with_timeout(2s, as_outcome(asks())))).value() == now + 1s);
    CHECK(w.run(with_timeout(2s, with_timeout(1s, as_outcome(asks())))).value() == now + 1s);
    const auto both = w.run(with_timeout(1s, when_all(asks(), with_timeout(5ms, asks()))));
    CHECK(std::get<0>(both) == now + 1s);
    CHECK(std::get<1>(both) == now + 5ms);
}

TEST_CASE("current_deadline: a shield hides what is around it, not what is inside") {
    stepped w;
    const point now = w.kernel().time;
    CHECK(!w.run(with_timeout(1s, shield(asks()))));
    CHECK(w.run(with_timeout(1s, shield(with_timeout(2s, asks())))) == now + 2s);
}

TEST_CASE("current_deadline: the children of a scope have its owner's, on any worker") {
    stepped w(2);
    const point now = w.kernel().time;
    deadline seen;
    auto body = [&](task_scope& scope) -> task<> {
        auto child = scope.spawn(asks(), {.where = placement::worker(1)});
        seen = co_await child;
    };
    w.run(with_timeout(1s, with_scope(body)));
    CHECK(seen == now + 1s);
}

TEST_CASE("current_deadline: a spawned task has none of its spawner's") {
    stepped w;
    deadline seen = point();
    w.run(with_timeout(1s, [](deadline& to) -> task<> {
        auto other = spawn(asks());
        to = co_await other;
    }(seen)));
    CHECK(!seen);
}

TEST_CASE("current_deadline: for ever is the end of time, and what was past is now") {
    stepped w;
    const point now = w.kernel().time;
    CHECK(w.run(with_timeout(std::chrono::hours::max(), asks())) >= now + 24h * 365 * 100);
    CHECK(w.run(with_deadline(point::max(), asks())) == point::max());
    CHECK(w.run(with_timeout(0s, asks())) == now);
    CHECK(w.run(with_timeout(-1s, asks())) == now);
    CHECK(w.run(with_deadline(now - 1s, asks())) == now - 1s);
}

TEST_CASE("current_deadline: who has missed it, and computes on, sees that it is past") {
    stepped w;
    const point now = w.kernel().time;
    const auto seen = w.run(with_timeout(1s, [](stepped& in) -> task<deadline> {
        co_await shield(sleep_for(0s));
        in.kernel().time += 2s; // it computes
        co_return this_task::current_deadline();
    }(w)));
    CHECK(seen == now + 1s);
}
