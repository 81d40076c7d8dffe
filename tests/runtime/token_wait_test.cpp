// co_await token: waiting for a request to somebody else, from whatever thread it comes.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<cancel_reason> waits(cancellation_token token) {
    const cancel_reason why = co_await token;
    co_return why;
}
task<> waits_probed(cancellation_token token, scope_end& end, int& got) {
    scope_probe probe(end);
    static_cast<void>(co_await token);
    ++got;
}

} // namespace

TEST_CASE(
    "S191: co_await token: gives the reason, of a request that came before or comes later") {
    stepped w;
    cancellation_source source;
    auto early = w.spawn(waits(source.token()));
    w.settle();
    CHECK(!early.done());
    source.cancel(cancel_reason::timeout);
    auto late = w.spawn(waits(source.token()));
    CHECK(w.end_of(early).value() == cancel_reason::timeout);
    CHECK(w.end_of(late).value() == cancel_reason::timeout);
}

TEST_CASE("co_await token: all who wait are told, whatever worker they are on") {
    stepped w(2);
    cancellation_source source;
    int told = 0;
    scope_end ends[4];
    for (unsigned i = 0; i < 4; ++i) {
        w.spawn(waits_probed(source.token(), ends[i], told),
                {.where = placement::worker(i % 2)})
            .detach();
    }
    w.settle();
    source.cancel();
    w.settle();
    CHECK(told == 4);
}

TEST_CASE("co_await token: a cancelled waiter leaves at once, and is not told later") {
    stepped w;
    cancellation_source source;
    int told = 0;
    scope_end end;
    auto handle = w.spawn(waits_probed(source.token(), end, told));
    w.settle();
    handle.cancel(cancel_reason::lost_race);
    w.settle();
    CHECK(end.reason == cancel_reason::lost_race);
    source.cancel();
    w.settle();
    CHECK(told == 0);
}

TEST_CASE(
    "co_await token: with a request of its own pending it never returns; nor at the tie") {
    stepped w;
    cancellation_source source;
    int told = 0;
    scope_end end;
    SECTION("before") {
        source.cancel();
    }
    auto handle = w.spawn(waits_probed(source.token(), end, told));
    if (!source.cancelled()) w.settle();
    SECTION("the token first") {
        source.cancel();
        handle.cancel(cancel_reason::timeout);
    }
    SECTION("the task first") {
        handle.cancel(cancel_reason::timeout);
        source.cancel();
    }
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(told == 0);
    CHECK(end.times == (end.times ? 1 : 0)); // asked before its first run, it does not begin
    CHECK(handle.done());
}

TEST_CASE("co_await token: the task's own token ends it as its request does") {
    stepped w;
    int told = 0;
    scope_end end;
    auto handle = w.spawn([](scope_end& to, int& got) -> task<> {
        scope_probe probe(to);
        static_cast<void>(co_await this_task::token());
        ++got;
    }(end, told));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(handle.done());
    CHECK(told == 0);
    CHECK(end.reason == cancel_reason::timeout);
}

TEST_CASE("co_await token: of an empty one it waits until it is cancelled itself") {
    stepped w;
    int told = 0;
    scope_end end;
    auto handle = w.spawn(waits_probed({}, end, told));
    w.advance(1h);
    CHECK(!handle.done());
    handle.cancel();
    w.settle();
    CHECK(end.torn_down);
}

TEST_CASE("co_await token: a branch of when_any, and within a time limit") {
    stepped w;
    cancellation_source source;
    bool late = false;
    const auto won = w.run([](cancellation_token token, bool& timed_out) -> task<std::size_t> {
        try {
            static_cast<void>(co_await with_timeout(1ms, cancellation_token(token)));
        } catch (const timeout_error&) {
            timed_out = true;
        }
        const auto first = co_await when_any(std::move(token), sleep_for(1s));
        co_return first.index;
    }(source.token(), late));
    CHECK(late);
    CHECK(won == 1);
}

TEST_CASE("co_await token: told by another thread while the task is asked by a third") {
    runtime rt({.workers = 1});
    for (int i = 0; i < 200; ++i) {
        cancellation_source source;
        auto handle = rt.spawn(waits(source.token()));
        std::thread tells([&] { source.cancel(cancel_reason::shutdown); });
        std::thread asks([&] { handle.cancel(cancel_reason::lost_race); });
        tells.join();
        asks.join();
        const auto end = rt.block_on([](join_handle<cancel_reason>& from) -> task<bool> {
            const auto how = co_await from.outcome();
            co_return how.has_value() ? how.value() == cancel_reason::shutdown
                                      : how.reason() == cancel_reason::lost_race;
        }(handle));
        CHECK(end);
    }
}
