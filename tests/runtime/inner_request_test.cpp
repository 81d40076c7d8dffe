// Promise 2 inside a boundary: once a request to the task has been made, on whatever thread, no
// await inside goes through any more, however deep, unless a shield is between.
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Makes the request on this thread or on another; it has been made when this returns.
void make(bool elsewhere, const std::function<void()>& request) {
    if (elsewhere) {
        std::thread(request).join();
    } else {
        request();
    }
}

struct attempt {
    bool elsewhere = false;
    join_handle<void> handle;
    cancellation_source source;
    sync::mutex<int> data;
    bool went_on = false;
    std::optional<cancel_reason> seen; ///< by the token of the inside, when the await ended it
    scope_end end;
};

// The await would be ready at once: nothing but the request can keep it from going on.
task<> requests_and_awaits(attempt& in, std::function<void()> request) {
    scope_probe probe(in.end);
    const cancellation_token own = this_task::token();
    const cancellation_callback told(own, [&in](cancel_reason why) { in.seen = why; });
    make(in.elsewhere, request);
    co_await checkpoint();
    in.went_on = true;
}
task<> inside(attempt& in) {
    co_await requests_and_awaits(in, [&in] { in.handle.cancel(cancel_reason::timeout); });
}

task<> under_as_outcome(attempt& in) {
    static_cast<void>(co_await as_outcome(inside(in)));
}
task<> under_timeout(attempt& in) {
    co_await with_timeout(1h, inside(in));
}
task<> under_when_all(attempt& in) {
    co_await when_all(inside(in), sleep_for(1h));
}
task<> under_when_any(attempt& in) {
    co_await when_any(sleep_for(1h), inside(in));
}
task<> under_scope(attempt& in) {
    const auto body = [&in](task_scope&) -> task<> { co_await inside(in); };
    co_await with_scope(body);
}
task<> does_nothing() {
    co_return;
}
task<> under_finally(attempt& in) {
    co_await finally(inside(in), does_nothing());
}
task<> under_token(attempt& in) {
    co_await with_token(in.source.token(), inside(in));
}
task<> deep(attempt& in) {
    const auto body = [&in](task_scope&) -> task<> {
        co_await when_all(under_as_outcome(in), does_nothing());
    };
    co_await with_timeout(1h, with_scope(body));
}

task<> under_shield(attempt& in) {
    co_await shield(inside(in));
}
task<> shield_further_out(attempt& in) {
    static_cast<void>(co_await shield(as_outcome(inside(in))));
}
task<> shield_inside(attempt& in) {
    static_cast<void>(co_await as_outcome(shield(inside(in))));
}
task<> as_cleanup(attempt& in) {
    co_await finally(does_nothing(), inside(in));
}
task<> under_a_guard_that_defers(attempt& in) {
    const auto held = co_await in.data.lock(sync::on_cancel::defer);
    static_cast<void>(co_await as_outcome(inside(in)));
}

task<> own_token(attempt& in) {
    const auto request = [&in] { in.source.cancel(cancel_reason::timeout); };
    co_await with_token(in.source.token(), requests_and_awaits(in, request));
}
task<> own_scope(attempt& in) {
    const auto body = [&in](task_scope& scope) -> task<> {
        co_await requests_and_awaits(in, [&] { scope.cancel(cancel_reason::timeout); });
    };
    co_await with_scope(body);
}
task<> token_further_out(attempt& in) {
    const auto request = [&in] { in.source.cancel(cancel_reason::timeout); };
    auto body = as_outcome(requests_and_awaits(in, request));
    static_cast<void>(co_await with_token(in.source.token(), std::move(body)));
}

/// Suspended beside one that sees the request first.
task<> waits(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
}
task<> first_of_all(attempt& in, scope_end& other) {
    co_await when_all(waits(other), inside(in));
}
task<> second_of_all(attempt& in, scope_end& other) {
    co_await when_all(inside(in), waits(other));
}

/// Loses its race before it has begun: the request is there, and to nobody further out.
task<> scope_of_a_loser(bool& went_on) {
    const auto body = [&went_on](task_scope&) -> task<> {
        co_await checkpoint();
        went_on = true;
    };
    co_await with_scope(body);
}
task<> goes_on(bool& went_on) {
    co_await checkpoint();
    went_on = true;
}
task<> boundary_of_a_loser(bool& went_on) {
    static_cast<void>(co_await as_outcome(goes_on(went_on)));
}
task<> races(bool& went_on, task<> (*loser)(bool&)) {
    static_cast<void>(co_await when_any(does_nothing(), loser(went_on)));
}

void run_in(stepped& w, attempt& in, task<> (*what)(attempt&)) {
    in.handle = w.spawn(what(in));
    w.settle();
    REQUIRE(in.handle.done());
}

} // namespace

TEST_CASE("cancellation: a request that has been made stops the next await inside a boundary") {
    const auto elsewhere = GENERATE(false, true);
    const auto what =
        GENERATE(&under_as_outcome, &under_timeout, &under_when_all, &under_when_any,
                 &under_scope, &under_finally, &under_token, &deep);
    attempt in;
    stepped w;
    in.elsewhere = elsewhere;
    run_in(w, in, what);
    CHECK_FALSE(in.went_on);
    CHECK(in.end.torn_down);
    CHECK(in.end.reason == cancel_reason::timeout);
    CHECK(in.seen == cancel_reason::timeout);
    CHECK(w.end_of(in.handle).is_cancelled());
}

TEST_CASE(
    "cancellation: a request that is seen early has its reason for all that stand inside") {
    const auto elsewhere = GENERATE(false, true);
    const auto what = GENERATE(&first_of_all, &second_of_all);
    attempt in;
    scope_end other;
    stepped w;
    in.elsewhere = elsewhere;
    in.handle = w.spawn(what(in, other));
    w.settle();
    CHECK(in.end.reason == cancel_reason::timeout);
    CHECK(other.times == 1);
    CHECK((other.reason == cancel_reason::timeout || !other.torn_down));
    CHECK(w.end_of(in.handle).is_cancelled());
}

TEST_CASE("cancellation: what begins in what was cancelled before is cancelled, too") {
    const auto loser = GENERATE(&scope_of_a_loser, &boundary_of_a_loser);
    bool went_on = false;
    stepped w;
    auto handle = w.spawn(races(went_on, loser));
    w.settle();
    CHECK(handle.done());
    CHECK_FALSE(went_on);
}

TEST_CASE("cancellation: a token's and a scope's request stops the next await of its inside") {
    const auto elsewhere = GENERATE(false, true);
    const auto what = GENERATE(&own_token, &own_scope, &token_further_out);
    attempt in;
    stepped w;
    in.elsewhere = elsewhere;
    run_in(w, in, what);
    CHECK_FALSE(in.went_on);
    CHECK(in.end.reason == cancel_reason::timeout);
    CHECK(in.seen == cancel_reason::timeout);
}

TEST_CASE("cancellation: a shield or a guard outside keeps a request from an await inside") {
    const auto elsewhere = GENERATE(false, true);
    const auto what = GENERATE(&under_shield, &shield_further_out, &shield_inside, &as_cleanup,
                               &under_a_guard_that_defers);
    attempt in;
    stepped w;
    in.elsewhere = elsewhere;
    run_in(w, in, what);
    CHECK(in.went_on);
    CHECK_FALSE(in.end.torn_down);
}
