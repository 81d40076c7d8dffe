// this_task: id, name and token, as seen from inside, from below, and from a plain thread.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

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

} // namespace

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
