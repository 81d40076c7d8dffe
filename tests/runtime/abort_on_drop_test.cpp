// abort_on_drop: a task that is asked to stop when its handle goes, whatever the reason.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> sleeps(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1s);
    co_return 5;
}
task<> keeps(scope_end& end, bool throws) {
    abort_on_drop handle(spawn(sleeps(end)));
    co_await sleep_for(1ms);
    if (throws) throw std::runtime_error("broken");
    co_await sleep_for(1h);
}
task<int> joins(scope_end& end) {
    abort_on_drop handle(spawn(sleeps(end)));
    const int value = co_await handle;
    co_return value;
}

} // namespace

TEST_CASE("S192: abort_on_drop: dropped, by a return, a throw or a teardown, it cancels") {
    scope_end end;
    stepped w;
    SECTION("dropped") {
        auto handle = std::make_optional<abort_on_drop<int>>(w.spawn(sleeps(end)));
        w.settle();
        handle.reset();
    }
    SECTION("thrown past") {
        auto owner = w.spawn(keeps(end, true));
        w.settle();
        w.advance(1ms);
        CHECK(w.end_of(owner).has_exception());
    }
    SECTION("torn down") {
        auto owner = w.spawn(keeps(end, false));
        w.settle();
        w.advance(1ms);
        owner.cancel(cancel_reason::timeout);
    }
    SECTION("torn down in a join") {
        auto owner = w.spawn(joins(end));
        w.settle();
        owner.cancel(cancel_reason::timeout);
    }
    w.settle();
    CHECK(end.times == 1);
    CHECK(end.reason == cancel_reason::abandoned);
}

TEST_CASE("abort_on_drop: awaited it gives the result, and cancels nothing any more") {
    scope_end end;
    stepped w;
    CHECK(w.run(joins(end)) == 5);
    CHECK(!end.torn_down);
}

TEST_CASE("abort_on_drop: in a boundary that runs out of time it takes its task with it") {
    scope_end end;
    stepped w;
    bool late = false;
    w.run([](scope_end& to, bool& timed_out) -> task<> {
        abort_on_drop handle(spawn(sleeps(to)));
        try {
            static_cast<void>(co_await with_timeout(1ms, std::move(handle)));
        } catch (const timeout_error&) {
            timed_out = true;
        }
    }(end, late));
    w.settle();
    CHECK(late);
    CHECK(end.reason == cancel_reason::abandoned);
}

TEST_CASE("abort_on_drop: release() gives the handle back, and moving moves the duty") {
    scope_end first;
    scope_end second;
    stepped w;
    abort_on_drop a(w.spawn(sleeps(first)), cancel_reason::lost_race);
    abort_on_drop b(w.spawn(sleeps(second)));
    abort_on_drop c(std::move(b));
    w.settle();
    CHECK(!b.valid());
    a = std::move(c);
    w.settle();
    CHECK(first.reason == cancel_reason::lost_race); // its own reason
    CHECK(second.times == 0);
    auto plain = a.release();
    CHECK(!a.valid());
    w.advance(1s);
    CHECK(w.end_of(plain).value() == 5);
}

TEST_CASE("abort_on_drop: an empty one is refused as an empty handle is") {
    stepped w;
    const auto end = w.run(as_outcome([]() -> task<int> {
        abort_on_drop<int> none;
        const int value = co_await none;
        co_return value;
    }()));
    REQUIRE(end.has_exception());
    CHECK_THROWS_AS(std::rethrow_exception(end.exception()), std::logic_error);
}
