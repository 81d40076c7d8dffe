// task_scope::cancel() by who is no task of the scope: what it asks may end at once, and the
// scope stays until the call has returned.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// What the test sees of a scope from outside.
struct view {
    task_scope* scope = nullptr;
    cancellation_token first; ///< of the oldest child or, if there is none, of the body
    gate body_waits;
    int children_ended = 0;
    std::string failure;
    bool went_on = false;
};

task<> child(view& v, bool first, std::chrono::milliseconds takes) {
    if (first) v.first = this_task::token();
    const scope_exit count([&v] { ++v.children_ended; });
    co_await sleep_for(takes);
}
task<> fails(gate& at) {
    at.holds_on_cancel = true;
    co_await at.pass();
    throw std::runtime_error("child failed");
}

task<> body_of(view& v, task_scope& scope, int children, bool waits) {
    v.scope = &scope;
    for (int i = 0; i < children; ++i) scope.spawn(child(v, i == 0, 1ms)).detach();
    if (children == 0) v.first = this_task::token();
    if (waits) co_await v.body_waits.pass();
}
task<> has_scope(view& v, int children, bool waits) {
    const auto body = [&](task_scope& scope) { return body_of(v, scope, children, waits); };
    co_await with_scope(body);
    v.went_on = true;
}

task<> body_of_failing(view& v, task_scope& scope, gate& at) {
    v.scope = &scope;
    scope.spawn(child(v, true, 1h)).detach();
    scope.spawn(fails(at)).detach();
    co_return;
}
task<> has_failing_child(view& v, gate& at) {
    const auto body = [&](task_scope& scope) { return body_of_failing(v, scope, at); };
    try {
        co_await with_scope(body);
    } catch (const std::runtime_error& error) {
        v.failure = error.what();
    }
    v.went_on = true;
}

} // namespace

// Outside a step this thread is worker 1's, and the scope is on worker 0. Both run in a
// callback of the first that is asked, as worker 0 does at any time beside another thread.

TEST_CASE("S186: a scope whose body ends while another thread asks its children stays for it") {
    view v;
    stepped w(2);
    auto handle = w.spawn(has_scope(v, 1, true));
    w.settle();
    const cancellation_callback on_request(v.first, [&](cancel_reason) {
        v.body_waits.open();
        w.settle();
        CHECK(v.children_ended == 1);
        CHECK(v.body_waits.passed == 1);
        CHECK_FALSE(handle.done());
    });
    v.scope->cancel();
    w.settle();
    CHECK(v.went_on);
    CHECK(w.end_of(handle).has_value());
}

TEST_CASE("S186: a scope whose children all end while another thread asks the oldest of them "
          "stays for the younger") {
    view v;
    stepped w(2);
    auto handle = w.spawn(has_scope(v, 40, false));
    w.settle();
    const cancellation_callback on_request(v.first, [&](cancel_reason) {
        w.advance(1ms);
        CHECK(v.children_ended == 40);
        CHECK_FALSE(handle.done());
        CHECK(v.scope->size() == 0);
        v.scope->cancel(); // it is there, and has nobody to ask
    });
    v.scope->cancel();
    w.settle();
    CHECK(v.went_on);
    CHECK(w.end_of(handle).has_value());
}

TEST_CASE("S186: a scope whose body ends while another thread tells its token stays for it") {
    view v;
    stepped w(2);
    auto handle = w.spawn(has_scope(v, 0, true));
    w.settle();
    bool told = false;
    const cancellation_callback on_request(v.first, [&](cancel_reason) {
        told = true;
        w.settle();
        CHECK_FALSE(handle.done());
    });
    v.scope->cancel();
    CHECK(told);
    w.settle();
    CHECK(v.went_on);
}

TEST_CASE(
    "S186: a child that fails as the last while another thread asks fails the scope, once "
    "that has done") {
    view v;
    gate at;
    stepped w(2);
    auto handle = w.spawn(has_failing_child(v, at));
    w.settle();
    const cancellation_callback on_request(v.first, [&](cancel_reason) {
        at.open();
        w.settle();
        CHECK_FALSE(v.went_on);
    });
    v.scope->cancel();
    w.settle();
    CHECK(v.went_on);
    CHECK(v.failure == "child failed");
}

TEST_CASE(
    "S186: a scope that has ended is cancelled before its caller goes on, and ends once") {
    view v;
    stepped w(2);
    auto handle = w.spawn(has_scope(v, 0, true));
    w.settle();
    v.body_waits.open();
    w.step(0);
    REQUIRE(v.body_waits.passed == 1);
    REQUIRE_FALSE(v.went_on);
    v.scope->cancel();
    w.settle();
    CHECK(v.went_on);
    CHECK(w.end_of(handle).has_value());
}

namespace {

struct race {
    std::atomic<task_scope*> scope{nullptr};
    std::atomic<bool> asked{false};
    task_scope* scope_to_be = nullptr;
    int children = 0;
    bool went_on = false;
};

/// Cancels, from another worker, the scope of others.
task<> cancels(race& r) {
    while (!r.scope.load(std::memory_order_acquire)) co_await yield_now();
    r.scope.load(std::memory_order_acquire)->cancel();
}
task<> runs_until_one_is_asked(race& r) {
    while (!r.asked.load(std::memory_order_relaxed)) co_await yield_now();
}
task<> runs_until_asked(race& r) {
    const cancellation_callback on_request(this_task::token(), [&r](cancel_reason) {
        r.asked.store(true, std::memory_order_relaxed);
        for (int i = 0; i < 3; ++i) std::this_thread::yield(); // to those that end by that
    });
    r.scope.store(r.scope_to_be, std::memory_order_release);
    for (;;) co_await yield_now();
}
task<> races(race& r, task_scope& scope) {
    r.scope_to_be = &scope;
    if (r.children > 0) scope.spawn(runs_until_asked(r)).detach();
    for (int i = 1; i < r.children; ++i) {
        scope.spawn(runs_until_one_is_asked(r), {.where = placement::any()}).detach();
    }
    if (r.children == 0) co_await runs_until_asked(r);
    if (r.children % 2 == 0) co_await runs_until_one_is_asked(r);
}
task<> has_race(race& r) {
    const auto body = [&](task_scope& scope) { return races(r, scope); };
    co_await with_scope(body);
    r.went_on = true;
}

} // namespace

TEST_CASE("S186: a thread or task outside cancels a scope that ends while it does") {
    constexpr int rounds = TOADSTONE_ASAN || TOADSTONE_TSAN ? 120 : 400;
    const bool plain = GENERATE(true, false);
    runtime rt({.workers = 3});
    for (int i = 0; i < rounds; ++i) {
        race r;
        r.children = i % 4 == 0 ? 0 : i % 50;
        auto whole = rt.spawn({.where = placement::worker(0)}, has_race, std::ref(r));
        join_handle<> other;
        if (plain) {
            while (!r.scope.load(std::memory_order_acquire)) std::this_thread::yield();
            r.scope.load(std::memory_order_acquire)->cancel();
        } else {
            other = rt.spawn({.where = placement::worker(1)}, cancels, std::ref(r));
        }
        const auto joins = [&]() -> task<> {
            co_await whole;
            if (other.valid()) co_await other;
        };
        rt.block_on(joins);
        CHECK(r.went_on);
    }
}
