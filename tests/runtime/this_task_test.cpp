// this_task: id, name and token, as seen from inside, from below, and from a plain thread.
#include <toadstone/runtime.hpp>

#include <toadstone/sync/mutex.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

struct identity {
    std::uint64_t id = 0;
    std::string name;
    void fill() {
        id = this_task::id();
        name = this_task::name();
    }
};

task<> below(identity& seen) {
    seen.fill();
    co_return;
}
task<> asks(identity& itself, identity& child, identity& inside, identity& after) {
    itself.fill();
    co_await below(child);
    co_await with_timeout(1s, shield(below(inside)));
    co_await yield_now();
    after.fill();
}
class asks_at_end {
public:
    explicit asks_at_end(identity& to) noexcept : to_(to) {}
    asks_at_end(const asks_at_end&) = delete;
    asks_at_end& operator=(const asks_at_end&) = delete;
    ~asks_at_end() { to_.fill(); }

private:
    identity& to_;
};
task<> asks_in_teardown(identity& inner) {
    asks_at_end local(inner);
    co_await sleep_for(1h);
}
task<> in_boundary(identity& outer, identity& inner) {
    asks_at_end local(outer);
    static_cast<void>(co_await when_any(asks_in_teardown(inner), sleep_for(1h)));
}
task<> hands_out(cancellation_token& token, cancellation_token& again) {
    token = this_task::token();
    again = this_task::token();
    co_await sleep_for(1h);
}
task<> shielded_hands_out(cancellation_token& inside, cancellation_token& outside) {
    const auto body = [](cancellation_token& to) -> task<> {
        to = this_task::token();
        co_await sleep_for(10ms);
    };
    outside = this_task::token();
    co_await shield(body(inside));
    co_await checkpoint();
}
task<> asks_late(gate& at, cancellation_token& token) {
    co_await at.pass();
    token = this_task::token();
    co_await checkpoint();
}
task<> sleeps_an_hour(std::chrono::steady_clock::duration& slept) {
    const auto begun = this_task::now();
    co_await sleep_for(1h);
    slept = this_task::now() - begun;
}

task<> below_nothing() {
    co_return;
}
task<> cancels_after_a_turn(task_scope& scope) {
    co_await yield_now();
    scope.cancel();
}

/// Computes until it is asked to stop, and never awaits; its worker is busy meanwhile.
struct computation {
    std::atomic<bool> begun{false};
    std::atomic<bool> seen{false};
    void wait() { begun.wait(false); }
    void begin() {
        begun = true;
        begun.notify_all();
    }
};
task<> polls(computation& self) {
    self.begin();
    while (!this_task::stop_requested()) std::this_thread::yield();
    self.seen = true;
    co_return;
}
task<> polls_token(computation& self) {
    const cancellation_token token = this_task::token();
    self.begin();
    while (!token.cancelled()) std::this_thread::yield();
    self.seen = true;
    co_return;
}
using computing = task<> (*)(computation&);

/// The ways in which a request may have to come in to a computation.
task<> plainly(computing work, computation& self) {
    co_await work(self);
}
task<> in_boundaries(computing work, computation& self) {
    static_cast<void>(co_await as_outcome(with_timeout(1h, work(self))));
}
task<> in_a_race(computing work, computation& self) {
    static_cast<void>(co_await when_any(work(self), sleep_for(1h)));
}
task<> in_a_scope_body(computing work, computation& self) {
    co_await with_scope([&](task_scope&) -> task<> { return work(self); });
}
task<> in_a_scope_child(computing work, computation& self) {
    co_await with_scope([&](task_scope& scope) -> task<> {
        scope.spawn(in_boundaries(work, self)).detach();
        return below_nothing();
    });
}
task<> in_a_child_elsewhere(computing work, computation& self) {
    co_await with_scope([&](task_scope& scope) -> task<> {
        scope.spawn(in_a_scope_child(work, self), {.where = placement::worker(1)}).detach();
        return below_nothing();
    });
}
task<> under_a_deferral(computing work, computation& self) {
    sync::mutex<int, sync::on_cancel::defer> mutex(0);
    auto held = co_await mutex.lock();
    co_await in_boundaries(work, self);
    held.unlock();
}
using wrapping = task<> (*)(computing, computation&);
constexpr wrapping wrappings[] = {
    plainly,          in_boundaries,        in_a_race,        in_a_scope_body,
    in_a_scope_child, in_a_child_elsewhere, under_a_deferral,
};

task<> shielded(computation& self, std::atomic<bool>& stop) {
    const auto looks = [](computation& here, std::atomic<bool>& until) -> task<> {
        here.begin();
        while (!until) std::this_thread::yield();
        here.seen = this_task::stop_requested() || this_task::token().cancelled();
        co_return;
    };
    co_await shield(looks(self, stop));
}
task<> shielded_polls(computing work, computation& self) {
    co_await shield(work(self));
}
/// A task that asks itself to stop.
task<> cancels_itself(join_handle<void>& own, bool (&seen)[4]) {
    seen[0] = this_task::stop_requested();
    const cancellation_token token = this_task::token();
    own.cancel(cancel_reason::timeout);
    seen[1] = this_task::stop_requested();
    seen[2] = token.cancelled();
    seen[3] = this_task::token().cancelled();
    co_await checkpoint();
}
task<> keeps_token_of_inside(std::vector<cancellation_token>& tokens) {
    const auto inside = [](std::vector<cancellation_token>& to) -> task<> {
        to.push_back(this_task::token());
        co_return;
    };
    tokens.push_back(this_task::token());
    static_cast<void>(co_await as_outcome(inside(tokens)));
    co_await sleep_for(1h);
}
task<> spawns_until_asked(task_scope& scope, std::atomic<bool>& called) {
    const std::stop_callback callback(this_task::token().to_stop_token(), [&] {
        called = scope.size() > 0; // takes the scope's lock
    });
    co_await sleep_for(1h);
}
task<> cancels_its_scope(std::atomic<bool>& called) {
    co_await with_scope([&](task_scope& scope) -> task<> {
        scope.spawn(spawns_until_asked(scope, called)).detach();
        return cancels_after_a_turn(scope);
    });
}

task<> looks_now_and_then(cancellation_token token, bool& asked, bool& told) {
    while (!asked || !told) {
        co_await sleep_for(1ms);
        asked = this_task::stop_requested();
        told = token.cancelled();
    }
}
task<> looks_under_a_deferral(bool& asked, bool& told) {
    sync::mutex<int, sync::on_cancel::defer> mutex(0);
    auto held = co_await mutex.lock();
    static_cast<void>(co_await as_outcome(looks_now_and_then(this_task::token(), asked, told)));
    held.unlock();
}
task<> limited_deferral(bool& asked, bool& told) {
    static_cast<void>(co_await try_with_timeout(10ms, looks_under_a_deferral(asked, told)));
}

runtime_options two_workers() {
    runtime_options options;
    options.workers = 2;
    options.grace = 0ms;
    return options;
}

} // namespace

TEST_CASE(
    "S92: a computation that polls is told at once, wherever it stands, by a busy worker's "
    "handle") {
    for (const computing work : {polls, polls_token}) {
        for (const wrapping wrapped : wrappings) {
            runtime here(two_workers());
            computation self;
            auto handle = here.spawn(wrapped(work, self));
            self.wait();
            handle.cancel();
            while (!handle.done()) std::this_thread::yield();
            CHECK(self.seen);
        }
    }
}

TEST_CASE("S93: a computation that polls is told of a shutdown at once, its busy worker is not "
          "waited for") {
    for (const computing work : {polls, polls_token}) {
        for (const wrapping wrapped : wrappings) {
            computation self;
            runtime here(two_workers());
            here.spawn(wrapped(work, self)).detach();
            self.wait();
            CHECK(here.shutdown(1h).clean());
            CHECK(self.seen);
        }
    }
}

TEST_CASE("S94: a computation in a shield is told of the force of a shutdown, and of nothing "
          "before") {
    for (const computing work : {polls, polls_token}) {
        computation self;
        {
            runtime here(two_workers());
            here.spawn(shielded_polls(work, self)).detach();
            self.wait();
            CHECK_FALSE(here.shutdown(0ms).clean());
            CHECK_FALSE(self.seen);
        }
        CHECK(self.seen);
    }
}

TEST_CASE("this_task: no request is seen through a shield") {
    runtime here(two_workers());
    computation self;
    std::atomic<bool> stop{false};
    auto handle = here.spawn(shielded(self, stop));
    self.wait();
    handle.cancel();
    stop = true;
    while (!handle.done()) std::this_thread::yield();
    CHECK_FALSE(self.seen);
}

TEST_CASE("this_task: a timeout is seen through a deferral, by the token and by who asks") {
    stepped w;
    bool asked = false;
    bool told = false;
    auto handle = w.spawn(limited_deferral(asked, told));
    w.settle();
    w.advance(5ms);
    CHECK_FALSE(asked);
    CHECK_FALSE(told);
    for (int i = 0; i < 10; ++i) w.advance(1ms);
    CHECK(asked);
    CHECK(told);
    w.advance(1ms);
    CHECK(handle.done());
}

TEST_CASE("this_task: a task that cancels itself knows at once") {
    stepped w;
    bool seen[4] = {};
    join_handle<void> handle;
    handle = w.spawn(cancels_itself(handle, seen));
    w.settle();
    CHECK(handle.done());
    CHECK_FALSE(seen[0]);
    CHECK(seen[1]);
    CHECK(seen[2]);
    CHECK(seen[3]);
}

TEST_CASE("this_task: stop callbacks run on the thread that asks, before the call returns") {
    std::atomic<bool> begun{false};
    std::atomic<bool> told{false};
    std::optional<std::thread::id> where;
    runtime here(two_workers()); // ends first: its tasks use what stands above
    auto handle = here.spawn([](std::atomic<bool>& there, std::atomic<bool>& asked,
                                std::optional<std::thread::id>& caller) -> task<> {
        const std::stop_callback callback(this_task::token().to_stop_token(), [&] {
            caller = std::this_thread::get_id();
            asked = true;
        });
        there = true;
        there.notify_all();
        while (!asked) std::this_thread::yield(); // at no cancellation point
        co_await checkpoint();
    }(begun, told, where));
    begun.wait(false);
    handle.cancel();
    CHECK(where == std::this_thread::get_id());
}

TEST_CASE(
    "this_task: a callback of a scope's child may use the scope while that is cancelled") {
    stepped w;
    std::atomic<bool> called{false};
    auto handle = w.spawn(cancels_its_scope(called));
    w.settle();
    CHECK(handle.done());
    CHECK(called);
}

TEST_CASE("this_task: the token of an inside that has ended is told of nothing any more") {
    stepped w;
    std::vector<cancellation_token> tokens;
    auto handle = w.spawn(keeps_token_of_inside(tokens));
    w.settle();
    handle.cancel();
    w.settle();
    REQUIRE(tokens.size() == 2);
    CHECK(tokens[0].cancelled());
    CHECK_FALSE(tokens[1].cancelled());
}

TEST_CASE("this_task: on a plain thread nothing asks to stop") {
    CHECK_FALSE(this_task::stop_requested());
}

TEST_CASE("this_task: a plain thread has no id, no name and a token that is never cancelled") {
    stepped w;
    CHECK(this_task::id() == 0);
    CHECK(this_task::name().empty());
    CHECK_FALSE(this_task::token().can_be_cancelled());
}

TEST_CASE("this_task: one id and one name in the task, its children and boundaries") {
    stepped w;
    identity itself;
    identity child;
    identity inside;
    identity after;
    auto handle = w.spawn(asks(itself, child, inside, after), {.name = "who am I"});
    w.settle();
    CHECK(handle.done());
    CHECK(itself.id == handle.id());
    CHECK(itself.id != 0);
    CHECK(itself.name == "who am I");
    for (const identity* each : {&child, &inside, &after}) {
        CHECK(each->id == itself.id);
        CHECK(each->name == itself.name);
    }
}

TEST_CASE("this_task: every spawned task has an id of its own; a name is optional") {
    stepped w;
    identity first;
    identity second;
    auto a = w.spawn(below(first));
    auto b = w.spawn(below(second));
    w.settle();
    CHECK(first.id != second.id);
    CHECK(first.name.empty());
}

TEST_CASE("this_task: a name is copied, and kept to one line") {
    stepped w;
    identity seen;
    std::string name = "two\nlines\tand a tab";
    auto handle = w.spawn(below(seen), {.name = name});
    name = "overwritten";
    w.settle();
    CHECK(seen.name == "two lines and a tab");
    CHECK(handle.done());
}

TEST_CASE("this_task: destructors in a teardown know whose they are") {
    stepped w;
    identity outer;
    identity inner;
    auto handle = w.spawn(in_boundary(outer, inner), {.name = "torn down"});
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(outer.id == handle.id());
    CHECK(inner.id == handle.id());
    CHECK(outer.name == "torn down");
    CHECK(inner.name == "torn down");
}

TEST_CASE("this_task: its token is cancelled with the task, and can outlive it") {
    stepped w;
    cancellation_token token;
    cancellation_token again;
    {
        auto handle = w.spawn(hands_out(token, again));
        w.settle();
        CHECK(token.can_be_cancelled());
        CHECK(token == again);
        CHECK_FALSE(token.cancelled());
        handle.cancel(cancel_reason::timeout);
        w.settle();
        CHECK(handle.done());
    }
    CHECK(token.reason() == cancel_reason::timeout);
}

TEST_CASE("this_task: inside a shield the token is not cancelled, outside it is") {
    stepped w;
    cancellation_token inside;
    cancellation_token outside;
    auto handle = w.spawn(shielded_hands_out(inside, outside));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(outside.cancelled());
    CHECK_FALSE(inside.cancelled());
    w.advance(10ms);
    CHECK(handle.done());
    CHECK_FALSE(inside.cancelled());
}

TEST_CASE("this_task: a token first asked for after the request is cancelled already") {
    gate at;
    stepped w;
    cancellation_token token;
    auto handle = w.spawn(asks_late(at, token));
    w.settle();
    at.open();
    handle.cancel(cancel_reason::shutdown);
    w.settle();
    CHECK(handle.done());
    CHECK(token.reason() == cancel_reason::shutdown);
}

TEST_CASE("this_task: the time is that of the worker's timers") {
    stepped w;
    std::chrono::steady_clock::duration slept{};
    auto handle = w.spawn(sleeps_an_hour(slept));
    w.settle();
    w.advance(1h);
    CHECK(handle.done());
    CHECK(slept == 1h);
}

TEST_CASE("this_task: on a plain thread the time is that of the steady clock") {
    const auto before = std::chrono::steady_clock::now();
    const auto now = this_task::now();
    CHECK(now >= before);
    CHECK(now <= std::chrono::steady_clock::now());
}
