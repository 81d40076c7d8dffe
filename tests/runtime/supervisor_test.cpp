// with_supervisor: children that do not answer for each other, and all failures together.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
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
task<> probed(std::chrono::milliseconds wait, scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(wait);
}
template <class T>
std::vector<std::string> failures_of(const outcome<T>& end) {
    std::vector<std::string> told;
    try {
        if (end.has_exception()) std::rethrow_exception(end.exception());
    } catch (const aggregate_error& error) {
        for (const auto& each : error.failures()) {
            try {
                std::rethrow_exception(each);
            } catch (const std::exception& one) {
                told.emplace_back(one.what());
            }
        }
    } catch (const std::exception& other) {
        told.push_back(std::string("not together: ") + other.what());
    }
    return told;
}

} // namespace

TEST_CASE(
    "S204: with_supervisor: a child that fails cancels none; all failures come together") {
    stderr_capture caught;
    {
        stepped w(2);
        scope_end end;
        auto body = [&](task_scope& scope) -> task<> {
            scope.spawn(after(2ms, -2));
            scope.spawn(after(1ms, -1), {.where = placement::worker(1)});
            scope.spawn(probed(5ms, end));
            co_return;
        };
        auto handle = w.spawn(with_supervisor(body));
        w.settle();
        for (int i = 0; i < 5; ++i) w.advance(1ms);
        const auto told = failures_of(w.end_of(handle));
        CHECK(told == std::vector<std::string>{"failure 1", "failure 2"});
        CHECK(end.times == 1);
        CHECK(!end.torn_down);
    }
    CHECK(caught.text().empty());
}

TEST_CASE("with_supervisor: without a failure it gives what its body returns") {
    stepped w;
    auto body = [](task_scope& scope) -> task<int> {
        scope.spawn(after(2ms, 2));
        co_return 7;
    };
    CHECK(w.run(with_supervisor(body)) == 7);
}

TEST_CASE(
    "with_supervisor: a body that fails cancels the children, and is among the failures") {
    stepped w;
    scope_end end;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(probed(1000ms, end));
        co_await sleep_for(1ms);
        throw std::runtime_error("body");
    };
    const auto told = failures_of(w.run(as_outcome(with_supervisor(body))));
    CHECK(told == std::vector<std::string>{"body"});
    CHECK(end.reason == cancel_reason::sibling_failed);
}

TEST_CASE("with_supervisor: what the body rethrows of a child is one failure with it") {
    stepped w;
    auto body = [](task_scope& scope) -> task<> {
        auto child = scope.spawn(after(1ms, -1));
        static_cast<void>(co_await child);
    };
    const auto told = failures_of(w.run(as_outcome(with_supervisor(body))));
    CHECK(told == std::vector<std::string>{"failure 1"});
}

TEST_CASE("with_supervisor: a request to the caller reaches all; a failure that came before is "
          "thrown, else it stops there") {
    stepped w;
    scope_end child;
    scope_end outer;
    const bool failed_before = GENERATE(false, true);
    event_log log;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(probed(1000ms, child));
        if (failed_before) scope.spawn(after(1ms, -1));
        co_return;
    };
    auto handle = w.spawn([](auto& of, scope_end& own, event_log& to) -> task<> {
        scope_probe probe(own);
        try {
            co_await with_supervisor(of);
            to.emplace_back("went on");
        } catch (const aggregate_error&) {
            to.emplace_back("failed");
        }
        co_await checkpoint();
        to.emplace_back("not stopped");
    }(body, outer, log));
    w.settle();
    w.advance(1ms);
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(child.reason == cancel_reason::timeout);
    CHECK(outer.reason == cancel_reason::timeout);
    CHECK(log == (failed_before ? event_log{"failed"} : event_log{}));
}
