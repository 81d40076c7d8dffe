// task_local: values that belong to what a task does.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

constinit task_local<std::string> name_of_request;
constinit task_local<int> depth;
constinit task_local<std::shared_ptr<int>> kept;

std::string seen() {
    const std::string* const found = name_of_request.get();
    return found ? *found : "none";
}
task<std::string> asks() {
    co_await yield_now();
    co_return seen();
}

} // namespace

TEST_CASE("S376: a value is found by all that runs inside: functions, coroutines, boundaries, "
          "branches, shields; not outside") {
    stepped w;
    CHECK(seen() == "none");
    CHECK(w.run(asks()) == "none");
    CHECK(w.run(name_of_request.with("a", asks())) == "a");
    CHECK(w.run(name_of_request.with("a", with_timeout(1s, asks()))) == "a");
    CHECK(w.run(name_of_request.with("a", shield(as_outcome(asks())))).value() == "a");
    CHECK(w.run(with_timeout(1s, name_of_request.with("a", asks()))) == "a");
    const auto both = w.run(name_of_request.with(
        "a", when_all(asks(), name_of_request.with("b", asks()), depth.with(3, asks()))));
    CHECK(std::get<0>(both) == "a");
    CHECK(std::get<1>(both) == "b");
    CHECK(std::get<2>(both) == "a");
    auto around = []() -> task<std::string> {
        std::string all = seen();
        all += co_await name_of_request.with("x", asks());
        all += seen();
        co_return all;
    };
    CHECK(w.run(name_of_request.with("o", around())) == "oxo");
    CHECK(seen() == "none");
}

TEST_CASE("S377: the children of a scope find it, on any worker; a spawned task does not, but "
          "by inherit()") {
    stepped w(2);
    std::string child;
    std::string spawned;
    std::string inherited;
    std::string none;
    auto body = [&](task_scope& scope) -> task<> {
        auto one = scope.spawn(asks(), {.where = placement::worker(1)});
        auto two = spawn(asks());
        auto three = spawn(name_of_request.inherit(asks()), {.where = placement::worker(1)});
        child = co_await one;
        spawned = co_await two;
        inherited = co_await three;
    };
    w.run(name_of_request.with("a", with_scope(body)));
    CHECK(child == "a");
    CHECK(spawned == "none");
    CHECK(inherited == "a");
    CHECK(w.run(name_of_request.inherit(asks())) == "none");
}

TEST_CASE("S377: what was handed on lives as long as what it was handed to") {
    auto value = std::make_shared<int>(7);
    gate until;
    int got = 0;
    stepped w;
    auto later = [&]() -> task<> {
        co_await until.pass();
        got = **kept.get();
    };
    auto gives = [&]() -> task<> {
        auto body = later();
        spawn(kept.inherit(std::move(body))).detach();
        co_return;
    };
    w.run(kept.with(value, gives()));
    CHECK(value.use_count() == 2);
    until.open();
    w.settle();
    CHECK(got == 7);
    CHECK(value.use_count() == 1);
}

TEST_CASE("S378: a stop, a failure and a result pass through; the value goes with what runs "
          "inside") {
    auto value = std::make_shared<int>(7);
    gate never;
    stepped w;
    bool found = false;
    auto waits = [&]() -> task<> {
        auto last = [&](void*) { found = kept.get() && **kept.get() == 7; };
        std::unique_ptr<void, decltype(last)> at_end(&found, last);
        co_await never.pass();
    };
    auto inside = waits();
    auto handle = w.spawn(kept.with(value, std::move(inside)));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
    CHECK(found);
    CHECK(value.use_count() == 1);
    auto fails = []() -> task<> { throw std::runtime_error("boom"); };
    CHECK_THROWS_AS(w.run(kept.with(value, fails())), std::runtime_error);
    CHECK(value.use_count() == 1);
    auto adds = []() -> task<int> { co_return *depth.get() + 1; };
    CHECK(w.run(depth.with(4, adds())) == 5);
}

TEST_CASE("S378: a generator finds what its consumer does") {
    stepped w;
    auto counts = []() -> async_generator<int> {
        for (int i = 0; i < 2; ++i) co_yield depth.get() ? *depth.get() : -1;
    };
    auto consumes = [&]() -> task<int> {
        auto from = counts();
        int all = 0;
        while (auto next = co_await from.next()) all += *next;
        co_return all;
    };
    CHECK(w.run(depth.with(5, consumes())) == 10);
}
