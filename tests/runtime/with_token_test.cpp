// with_token: an awaitable under a token as well as under the caller's own cancellation.
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> sleeps(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(10ms);
    co_return 5;
}
task<int> never_suspends() {
    co_return 6;
}
task<int> fails() {
    co_await sleep_for(10ms);
    throw std::runtime_error("broken");
}
task<int> under(cancellation_token token, task<int> body, scope_end& end) {
    scope_probe probe(end);
    const int value = co_await with_token(std::move(token), std::move(body));
    co_return value;
}
task<std::string> bounded(cancellation_token token, task<int> body, scope_end& end) {
    const auto ended = co_await as_outcome(under(std::move(token), std::move(body), end));
    std::string text = "exception";
    if (ended.has_value()) text = std::to_string(ended.value());
    if (ended.is_cancelled()) text = to_string(ended.reason());
    co_return text;
}
task<std::string> while_deferring(sync::mutex<int, sync::on_cancel::defer>& mutex,
                                  cancellation_token token, scope_end& end) {
    std::string text;
    auto held = co_await mutex.lock();
    *held = 1;
    try {
        const int value = co_await with_token(std::move(token), sleeps(end));
        text = std::to_string(value);
    } catch (const task_cancelled& stopped) {
        text = "thrown: " + std::string(to_string(stopped.reason()));
    }
    *held = 2;
    co_return text;
}
task<int> cancels_and_returns(cancellation_source& source) {
    source.cancel();
    co_return 8;
}
task<int> at_gate(gate& at) {
    co_await at.pass();
    co_return 7;
}

} // namespace

TEST_CASE("with_token: untouched, it gives the value or the exception") {
    stepped w;
    cancellation_source source;
    scope_end inside;
    scope_end outside;
    CHECK(w.run(bounded(source.token(), sleeps(inside), outside)) == "5");
    CHECK(w.run(bounded(source.token(), fails(), outside)) == "exception");
    CHECK(w.run(bounded({}, never_suspends(), outside)) == "6");
    CHECK(outside.times == 3);
}

TEST_CASE("with_token: its request stops the inside, and the caller up to a boundary") {
    stepped w;
    cancellation_source source;
    scope_end inside;
    scope_end outside;
    auto handle = w.spawn(bounded(source.token(), sleeps(inside), outside));
    w.settle();
    source.cancel(cancel_reason::lost_race);
    CHECK(inside.times == 0); // nothing is destroyed inside cancel()
    w.settle();
    CHECK(inside.reason == cancel_reason::lost_race);
    CHECK(outside.reason == cancel_reason::lost_race);
    CHECK(w.end_of(handle).value() == "lost_race");
}

TEST_CASE("with_token: without a boundary the whole task ends, cancelled") {
    stepped w;
    cancellation_source source;
    scope_end inside;
    scope_end outside;
    auto handle = w.spawn(under(source.token(), sleeps(inside), outside));
    w.settle();
    source.cancel(cancel_reason::timeout);
    CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
}

TEST_CASE(
    "with_token: a token that is cancelled already acts at the first cancellation point") {
    stepped w;
    cancellation_source source;
    source.cancel();
    scope_end inside;
    scope_end outside;
    CHECK(w.run(bounded(source.token(), sleeps(inside), outside)) == "requested");
    CHECK(inside.times == 1);
    CHECK(w.run(bounded(source.token(), never_suspends(), outside)) == "6");
}

TEST_CASE("with_token: a request to the caller reaches the inside with its own reason") {
    stepped w;
    cancellation_source source;
    scope_end inside;
    scope_end outside;
    auto handle = w.spawn(under(source.token(), sleeps(inside), outside));
    w.settle();
    handle.cancel(cancel_reason::shutdown);
    w.settle();
    CHECK(inside.reason == cancel_reason::shutdown);
    CHECK(outside.reason == cancel_reason::shutdown);
}

TEST_CASE("with_token: a token cancelled on another thread is carried to the worker") {
    stepped w;
    cancellation_source source;
    scope_end inside;
    scope_end outside;
    auto handle = w.spawn(bounded(source.token(), sleeps(inside), outside));
    w.settle();
    std::thread([&] { source.cancel(cancel_reason::timeout); }).join();
    CHECK(inside.times == 0);
    w.settle();
    CHECK(w.end_of(handle).value() == "timeout");
}

TEST_CASE("with_token: cancelled after the inside has ended, it changes nothing") {
    stepped w;
    cancellation_source source;
    scope_end inside;
    scope_end outside;
    auto handle = w.spawn(bounded(source.token(), sleeps(inside), outside));
    w.settle();
    w.advance(10ms);
    source.cancel();
    CHECK(w.end_of(handle).value() == "5");
    CHECK_FALSE(outside.torn_down);
}

TEST_CASE("with_token: cancelled when the inside has its result already, delivers the result") {
    stepped w;
    cancellation_source source;
    gate at;
    scope_end outside;
    auto handle = w.spawn(bounded(source.token(), at_gate(at), outside));
    w.settle();
    at.open();
    source.cancel();
    CHECK(w.end_of(handle).value() == "7");
}

TEST_CASE("with_token: cancelled by the inside right before it returns, delivers the result") {
    stepped w;
    cancellation_source source;
    scope_end outside;
    auto handle = w.spawn(bounded(source.token(), cancels_and_returns(source), outside));
    CHECK(w.end_of(handle).value() == "8");
    w.settle(); // the request, which is on its way to the worker, finds nobody
    CHECK_FALSE(outside.torn_down);
}

TEST_CASE("with_token: a caller that defers cannot be torn down, it gets task_cancelled") {
    stepped w;
    sync::mutex<int, sync::on_cancel::defer> mutex(0);
    cancellation_source source;
    scope_end inside;
    auto handle = w.spawn(while_deferring(mutex, source.token(), inside));
    w.settle();
    source.cancel(cancel_reason::timeout);
    CHECK(w.end_of(handle).value() == "thrown: timeout");
    CHECK(inside.reason == cancel_reason::timeout);
    CHECK_FALSE(mutex.is_poisoned());
    CHECK(mutex.get_mut() == 2);
}
