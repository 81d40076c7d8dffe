// when_any_success: the first value wins; failures count only when there is no value.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> after(std::chrono::milliseconds wait, int value) {
    co_await sleep_for(wait);
    if (value < 0) throw std::runtime_error("failure " + std::to_string(-value));
    co_return value;
}
task<int> probed(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
    co_return 9;
}
task<std::vector<std::string>> failures_of(task<int> body) {
    std::vector<std::string> told;
    try {
        static_cast<void>(co_await std::move(body));
    } catch (const aggregate_error& error) {
        told.emplace_back(error.what());
        for (const auto& each : error.failures()) {
            try {
                std::rethrow_exception(each);
            } catch (const std::exception& one) {
                told.emplace_back(one.what());
            }
        }
    }
    co_return told;
}

} // namespace

TEST_CASE(
    "S203: when_any_success: the first that succeeds wins, whoever has failed before; the "
    "rest is torn down before it returns") {
    stderr_capture caught;
    {
        stepped w;
        scope_end end;
        const int won = w.run([](scope_end& to) -> task<int> {
            auto race = when_any_success(after(1ms, -1), after(3ms, 3), after(2ms, -2),
                                         probed(to), after(5ms, -5));
            const auto first = co_await std::move(race);
            co_return first.value * 10 + static_cast<int>(first.index) + 100 * to.times;
        }(end));
        CHECK(won == 131);
        CHECK(end.reason == cancel_reason::lost_race);
    }
    CHECK(caught.text().empty());
}

TEST_CASE("when_any_success: when all have failed, one exception with all, in their order") {
    stepped w;
    const auto told = w.run(failures_of([]() -> task<int> {
        const auto first =
            co_await when_any_success(after(3ms, -3), after(1ms, -1), after(2ms, -2));
        co_return first.value;
    }()));
    CHECK(told == std::vector<std::string>{
                      "3 tasks failed: std::runtime_error: failure 1; std::runtime_error: "
                      "failure 2; std::runtime_error: failure 3",
                      "failure 1", "failure 2", "failure 3"});
}

TEST_CASE("when_any_success: a branch that was cancelled by itself is among the failures") {
    stepped w;
    cancellation_source source;
    source.cancel(cancel_reason::timeout);
    const auto told = w.run(failures_of([](cancellation_token token) -> task<int> {
        auto own = with_token(std::move(token), after(1h, 1));
        const auto first = co_await when_any_success(std::move(own), after(1ms, -1));
        co_return first.value;
    }(source.token())));
    REQUIRE(told.size() == 3);
    CHECK(told[1] == "the task was cancelled (timeout)");
    CHECK(told[2] == "failure 1");
}

TEST_CASE(
    "when_any_success: a request to the caller reaches all, and ends it without a value") {
    stderr_capture caught;
    {
        stepped w;
        scope_end end;
        scope_end outer;
        auto handle = w.spawn([](scope_end& to, scope_end& own) -> task<int> {
            scope_probe probe(own);
            const auto first = co_await when_any_success(after(1ms, -1), probed(to));
            co_return first.value;
        }(end, outer));
        w.settle();
        w.advance(1ms);
        CHECK(end.times == 0);
        handle.cancel(cancel_reason::shutdown);
        w.settle();
        CHECK(end.reason == cancel_reason::shutdown);
        CHECK(outer.reason == cancel_reason::shutdown);
    }
    CHECK(count_of(caught.text(), "a branch of when_any_success failed") == 1);
}

TEST_CASE("when_any_success: one that succeeds although the caller was asked is delivered") {
    stepped w;
    gate at;
    int got = 0;
    auto passes = [](gate& through) -> task<int> {
        co_await through.pass();
        co_return 4;
    };
    at.holds_on_cancel = true;
    auto handle = w.spawn([](task<int> body, int& to) -> task<> {
        const auto first = co_await when_any_success(std::move(body), after(1h, 1));
        to = first.value;
        co_await checkpoint();
        to = 0;
    }(passes(at), got));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(!handle.done());
    at.open();
    w.settle();
    CHECK(handle.done());
    CHECK(got == 4);
}

TEST_CASE("when_any_success: of different types, of void, and of a number known at run time") {
    stepped w;
    const std::size_t sum = w.run([]() -> task<std::size_t> {
        auto text = []() -> task<std::string> { co_return "text"; };
        auto mixed = co_await when_any_success(after(1ms, -1), text(), sleep_for(1h));
        std::vector<task<int>> many;
        for (int i = 0; i < 5; ++i) {
            many.push_back(after(std::chrono::milliseconds(i), i < 3 ? -1 : i));
        }
        const auto first = co_await when_any_success(std::move(many));
        co_return mixed.index * 10 + std::get<1>(mixed.value).size() + first.index;
    }());
    CHECK(sum == 17);
    CHECK_THROWS_AS(when_any_success(std::vector<task<int>>()), std::invalid_argument);
}
