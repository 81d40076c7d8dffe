// spawn and join_handle: a task of its own, its end, and requests made to it.
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> gives(int value) {
    co_await yield_now();
    co_return value;
}
task<> spawns_here(std::optional<join_handle<int>>& one, std::optional<join_handle<int>>& other,
                   bool joins) {
    int value = 0;
    one = spawn(gives(1));
    other = spawn(gives(2));
    if (joins) value = co_await *other;
    CHECK(value == (joins ? 2 : 0));
}
task<std::unique_ptr<int>> boxes(int value) {
    co_return std::make_unique<int>(value);
}
task<> fails(std::string text) {
    co_await yield_now();
    throw std::runtime_error(text);
}
task<> waits(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
}
task<> notes(event_log& log, std::string text) {
    log.push_back(std::move(text));
    co_return;
}

template <class T>
task<std::string> joins(join_handle<T>& other, scope_end& end) {
    scope_probe probe(end);
    std::string text = "joined";
    try {
        if constexpr (std::is_void_v<T>) {
            co_await other;
        } else {
            const int value = co_await other;
            text = std::to_string(value);
        }
    } catch (const task_cancelled& stopped) {
        text = "cancelled " + std::string(to_string(stopped.reason()));
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    co_return text;
}
task<int> spawns_inside(event_log& log) {
    int sum = 0;
    auto child = spawn(notes(log, "child"));
    log.push_back("parent goes on");
    co_await child;
    auto box = spawn(boxes(5), {.name = "box"});
    const auto taken = co_await box;
    sum += *taken;
    auto awaitable = spawn(sleep_for(1ms));
    co_await awaitable;
    co_return sum;
}
task<> spawns_and_waits(scope_end& own, scope_end& child) {
    scope_probe probe(own);
    spawn(waits(child)).detach();
    co_await sleep_for(1h);
}
task<> cancels_itself(std::optional<join_handle<void>>& self, event_log& log) {
    traced local(log, "local");
    self->cancel(cancel_reason::timeout);
    self->cancel(cancel_reason::shutdown);
    log.push_back("after the request");
    co_await checkpoint();
    log.push_back("after the checkpoint");
}
task<> never_suspends(event_log& log) {
    log.push_back("ran");
    co_return;
}
task<> first_point(event_log& log) {
    traced local(log, "local");
    log.push_back("ran");
    co_await checkpoint();
    log.push_back("went on");
}
task<> cancels_holding(sync::mutex<int>& mutex, join_handle<void>& other, scope_end& seen) {
    auto held = co_await mutex.lock();
    *held = seen.times;
    other.cancel();
    *held += seen.times; // nothing was destroyed inside cancel()
}
task<unsigned> home_index() {
    co_await yield_now();
    co_return static_cast<detail::worker&>(*detail::executor::current()).index();
}

} // namespace

TEST_CASE("spawn: the task runs later, never inside the call; handles take any awaitable") {
    event_log log;
    stepped w;
    CHECK(w.run(spawns_inside(log)) == 5);
    CHECK(log == event_log{"parent goes on", "child"});
}

TEST_CASE("join: gives the value, rethrows the exception, throws task_cancelled") {
    scope_end end;
    stepped w;
    auto value = w.spawn(gives(7));
    CHECK(w.run(joins(value, end)) == "7");
    auto failure = w.spawn(fails("broken"));
    CHECK(w.run(joins(failure, end)) == "broken");
    scope_end stopped;
    auto cancelled = w.spawn(waits(stopped));
    auto joiner = w.spawn(joins(cancelled, end));
    w.settle();
    cancelled.cancel(cancel_reason::lost_race);
    CHECK(w.end_of(joiner).value() == "cancelled lost_race");
    CHECK(stopped.times == 1);
}

TEST_CASE("join: a task that has ended long ago is joined at once") {
    scope_end end;
    stepped w;
    auto value = w.spawn(gives(7));
    w.settle();
    CHECK(value.done());
    auto joiner = w.spawn(joins(value, end));
    w.step();
    CHECK(joiner.done());
    CHECK(w.end_of(joiner).value() == "7");
}

TEST_CASE("join: outcome() gives the end as a value and does not throw") {
    scope_end end;
    stepped w;
    auto value = w.spawn(gives(7));
    CHECK(w.end_of(value).value() == 7);
    auto failure = w.spawn(fails("broken"));
    CHECK(w.end_of(failure).has_exception());
    auto stopped = w.spawn(waits(end));
    w.settle();
    stopped.cancel(cancel_reason::timeout);
    CHECK(w.end_of(stopped).reason() == cancel_reason::timeout);
}

TEST_CASE("join: across workers, the joiner resumes on its own") {
    scope_end end;
    stepped w(2);
    auto there = w.spawn(home_index(), {.where = placement::worker(1)});
    CHECK(w.end_of(there).value() == 1);
    auto value = w.spawn(gives(7), {.where = placement::worker(1)});
    auto joiner = w.spawn(joins(value, end), {.where = placement::worker(0)});
    w.settle();
    CHECK(w.end_of(joiner).value() == "7");
}

TEST_CASE("join: cancelling the joiner ends the join, not the other task") {
    const unsigned place = GENERATE(0U, 1U);
    scope_end other_end;
    scope_end end;
    stepped w(2);
    auto other = w.spawn(waits(other_end), {.where = placement::worker(place)});
    auto joiner = w.spawn(joins(other, end));
    w.settle();
    joiner.cancel();
    w.settle();
    CHECK(joiner.done());
    CHECK(end.torn_down);
    CHECK(other_end.times == 0);
    CHECK_FALSE(other.done());
    auto again = w.spawn(joins(other, end)); // the place of the waiter is free again
    w.settle();
    other.cancel();
    CHECK(w.end_of(again).value() == "cancelled requested");
}

TEST_CASE("join: cancelled when the other has just ended, it delivers the result") {
    gate at;
    scope_end end;
    stepped w;
    const auto body = [](gate& way) -> task<int> {
        co_await way.pass();
        co_return 5;
    };
    auto other = w.spawn(body(at));
    auto joiner = w.spawn(joins(other, end));
    w.settle();
    at.open();
    w.step(); // the other has ended, the joiner is ready and has not run
    REQUIRE(other.done());
    REQUIRE_FALSE(joiner.done());
    joiner.cancel();
    CHECK(w.end_of(joiner).value() == "5");
}

TEST_CASE("join_handle: an empty one is invalid, moving leaves one behind") {
    stepped w;
    join_handle<int> empty;
    CHECK_FALSE(empty.valid());
    CHECK_FALSE(empty.done());
    CHECK(empty.id() == 0);
    empty.cancel();
    empty.detach();
    auto handle = w.spawn(gives(1));
    CHECK(handle.id() != 0);
    const auto id = handle.id();
    empty = std::move(handle);
    CHECK(empty.id() == id);
    CHECK_FALSE(handle.valid());
    w.settle();
    CHECK(empty.done());
}

TEST_CASE("join_handle: dropped, the task runs on by itself") {
    event_log log;
    stepped w;
    {
        auto dropped = w.spawn(notes(log, "ran"));
    }
    CHECK(log.empty());
    w.settle();
    CHECK(log == event_log{"ran"});
}

TEST_CASE("join_handle: it outlives the runtime of its task, with all that it can do") {
    std::optional<join_handle<int>> asked;
    std::optional<join_handle<int>> dropped;
    std::optional<join_handle<int>> moved;
    {
        stepped gone;
        asked.emplace(gone.spawn(gives(1)));
        dropped.emplace(gone.spawn(gives(2)));
        moved.emplace(gone.spawn(gives(3)));
        gone.settle();
    }
    asked->cancel();
    CHECK(asked->done());
    dropped.reset();
    join_handle<int> elsewhere = *std::move(moved);
    std::thread([&] { elsewhere.cancel(); }).join();
    stepped other;
    CHECK(other.run(asked->outcome()).value() == 1);
    CHECK(other.run(elsewhere.outcome()).value() == 3);
}

TEST_CASE("join_handle: an exception that nobody fetches is printed once, with the name") {
    const bool dropped_early = GENERATE(false, true);
    stepped w;
    const stderr_capture err;
    {
        auto handle = w.spawn(fails("nobody caught this"), {.name = "lonely"});
        if (dropped_early) handle.detach();
        w.settle();
        if (!dropped_early) CHECK(err.text().empty()); // somebody may still join
    }
    CHECK(count_of(err.text(), "\n") == 1);
    CHECK(count_of(err.text(), "'lonely'") == 1);
    CHECK(count_of(err.text(), "std::runtime_error: nobody caught this") == 1);
}

TEST_CASE("join_handle: an exception that was fetched, or a cancellation, prints nothing") {
    stepped w;
    const stderr_capture err;
    scope_end end;
    {
        auto failure = w.spawn(fails("caught"));
        CHECK(w.run(joins(failure, end)) == "caught");
        auto stopped = w.spawn(waits(end));
        w.settle();
        stopped.cancel();
        w.settle();
    }
    CHECK(err.text().empty());
}

TEST_CASE("S71: cancel() twice, or after the end, changes nothing; the first reason counts") {
    scope_end end;
    stepped w;
    auto handle = w.spawn(waits(end));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    handle.cancel(cancel_reason::shutdown);
    w.settle();
    CHECK(end.times == 1);
    CHECK(end.reason == cancel_reason::timeout);
    handle.cancel(cancel_reason::lost_race);
    w.settle();
    CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
    auto value = w.spawn(gives(7));
    w.settle();
    value.cancel();
    w.settle();
    CHECK(w.end_of(value).value() == 7);
}

TEST_CASE("S71: a task that cancels itself goes on to its next cancellation point") {
    event_log log;
    std::optional<join_handle<void>> self;
    stepped w;
    self.emplace(w.spawn(cancels_itself(self, log)));
    w.settle();
    CHECK(log == event_log{"after the request", "local!"});
    CHECK(w.end_of(*self).reason() == cancel_reason::timeout);
}

TEST_CASE("cancel: before the first turn, the task runs up to its first cancellation point") {
    const bool far = GENERATE(false, true);
    event_log log;
    stepped w(2);
    const spawn_options there{.where = placement::worker(far ? 1 : 0)};
    auto point = w.spawn(first_point(log), there);
    point.cancel();
    w.settle();
    CHECK(log == event_log{"ran", "local!"});
    auto none = w.spawn(never_suspends(log), there);
    none.cancel();
    CHECK(w.end_of(none).has_value());
}

TEST_CASE("S69: cancel() with a lock held, by a task or a thread, only flags and posts") {
    const int from = GENERATE(0, 1, 2);
    scope_end end;
    stepped w(2);
    sync::mutex<int> mutex(0);
    auto handle = w.spawn(waits(end), {.where = placement::worker(0)});
    w.settle();
    if (from == 2) {
        std::thread([&] {
            const auto held = mutex.blocking_lock();
            handle.cancel();
        }).join();
        CHECK(end.times == 0);
    } else {
        auto other = w.spawn(cancels_holding(mutex, handle, end),
                             {.where = placement::worker(static_cast<unsigned>(from))});
        w.settle();
        CHECK(other.done());
        CHECK(mutex.get_mut() == 0);
    }
    w.settle();
    CHECK(end.times == 1);
    CHECK_FALSE(mutex.is_poisoned());
}

TEST_CASE("spawn: a child that is no scope's does not inherit its parent's request") {
    scope_end own;
    scope_end child;
    stepped w;
    auto handle = w.spawn(spawns_and_waits(own, child));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(own.times == 1);
    CHECK(child.times == 0);
}

TEST_CASE("spawn: a token in the options is a request to the task, early, late or too late") {
    scope_end end[2];
    stepped w;
    cancellation_source source;
    auto early = w.spawn(waits(end[0]), {.token = source.token()});
    auto over = w.spawn(gives(7), {.token = source.token()});
    w.settle();
    source.cancel(cancel_reason::lost_race);
    CHECK(end[0].times == 0);
    w.settle();
    CHECK(end[0].reason == cancel_reason::lost_race);
    CHECK(w.end_of(over).value() == 7);
    auto late = w.spawn(waits(end[1]), {.token = source.token()});
    w.settle();
    CHECK(end[1].reason == cancel_reason::lost_race);
    CHECK(w.end_of(late).is_cancelled());
    CHECK(w.end_of(early).is_cancelled());
}

TEST_CASE("spawn: outside of a task it says what to call instead") {
    event_log log;
    CHECK_THROWS_AS(spawn(notes(log, "x")), std::logic_error);
    CHECK_THROWS_WITH(spawn(notes(log, "x")), Catch::Contains("runtime::spawn"));
    CHECK(log.empty());
}

TEST_CASE("placement: here, in turn, and by number modulo the workers") {
    stepped w(3);
    auto here = w.spawn(home_index());
    CHECK(w.end_of(here).value() == 0);
    for (unsigned i = 0; i < 7; ++i) {
        auto there = w.spawn(home_index(), {.where = placement::worker(i)});
        CHECK(w.end_of(there).value() == i % 3);
    }
    unsigned seen[3] = {};
    for (int i = 0; i < 6; ++i) {
        auto any = w.spawn(home_index(), {.where = placement::any()});
        ++seen[w.end_of(any).value()];
    }
    for (const unsigned each : seen) CHECK(each == 2);
}

namespace {

/// What try_with_timeout() makes of the outcome of an empty handle.
task<std::string> misuse_in_time(join_handle<int>& empty) {
    const auto end = co_await try_with_timeout(1h, empty.outcome());
    std::string text = "no exception";
    try {
        if (end.has_exception()) std::rethrow_exception(end.exception());
    } catch (const std::logic_error& error) {
        text = error.what();
    }
    co_return text;
}
/// The text of the std::logic_error that a join ends with.
template <class T>
task<std::string> misuse_of(join_handle<T>& handle, bool as_outcome_too) {
    std::string text = "it is none";
    try {
        if (as_outcome_too) {
            static_cast<void>(co_await handle.outcome());
        } else {
            static_cast<void>(co_await handle);
        }
    } catch (const std::logic_error& error) {
        text = error.what();
    }
    co_return text;
}

} // namespace

TEST_CASE("contract: joining an empty join_handle is an error, when it is awaited") {
    const bool outcome = GENERATE(false, true);
    stepped w;
    join_handle<int> empty;
    static_cast<void>(empty.outcome()); // nothing yet
    CHECK(w.run(misuse_of(empty, outcome)) == "a join_handle that is empty cannot be joined");
    CHECK(w.run(misuse_in_time(empty)) == "a join_handle that is empty cannot be joined");
}

TEST_CASE("contract: a task that is asked to stop does so before it joins an empty handle") {
    stepped w;
    join_handle<int> empty;
    scope_end end;
    auto handle = w.spawn(joins(empty, end));
    handle.cancel();
    w.settle();
    CHECK(end.torn_down);
    CHECK(end.reason == cancel_reason::requested);
}

TEST_CASE("contract: the second of two tasks that join one gets an error, the first its end") {
    const bool outcome = GENERATE(false, true);
    stepped w;
    scope_end ends[2];
    auto other = w.spawn(waits(ends[0]), {.name = "wanted"});
    auto first = w.spawn(joins(other, ends[1]));
    w.settle();
    const std::string text = w.run(misuse_of(other, outcome));
    CHECK(text == "a task is joined by one waiter at a time: task " +
                      std::to_string(other.id()) + " 'wanted'");
    REQUIRE_FALSE(first.done());
    other.cancel();
    w.settle();
    CHECK(first.done()); // nobody took its place
}

TEST_CASE("contract: fetching a result twice, value or exception, is an error") {
    const bool fails_too = GENERATE(false, true);
    stepped w;
    scope_end first;
    auto value = w.spawn(gives(1));
    auto failure = w.spawn(fails("broken"));
    w.settle();
    auto once = fails_too ? w.spawn(joins(failure, first)) : w.spawn(joins(value, first));
    w.settle();
    REQUIRE(once.done());
    CHECK(w.run(fails_too ? misuse_of(failure, false) : misuse_of(value, false)) ==
          "a task's result is fetched once");
}

TEST_CASE("join_handle: dropped by its owner while a task waits on it, the join goes on") {
    const unsigned place = GENERATE(0U, 1U);
    gate at;
    scope_end end;
    stepped w(2);
    const auto body = [](gate& way) -> task<int> {
        co_await way.pass();
        co_return 5;
    };
    auto other = std::make_optional(w.spawn(body(at), {.where = placement::worker(place)}));
    auto joiner = w.spawn(joins(*other, end));
    w.settle();
    other.reset();
    at.open();
    CHECK(w.end_of(joiner).value() == "5");
}

TEST_CASE("spawn: a name with a zero byte is one line, and goes back to the pool whole") {
    const auto frames = detail::live_frames();
    {
        const std::string name = std::string("a") + '\0' + std::string(100, 'b');
        stepped w;
        auto handle = w.spawn(yield_now(), {.name = name});
        w.settle();
        CHECK(handle.done());
    }
    CHECK(detail::live_frames() == frames);
}

TEST_CASE(
    "join_handle: made on the task's worker, it may be dropped elsewhere, last of all too") {
    const bool joined = GENERATE(false, true);
    const auto frames = detail::live_frames();
    std::optional<join_handle<int>> behind; // the workers, too
    {
        std::optional<join_handle<int>> before; // the end
        stepped w;
        w.spawn(spawns_here, std::ref(before), std::ref(behind), joined).detach();
        w.step();
        REQUIRE(before);
        std::thread([&] { before.reset(); }).join();
        w.settle();
        CHECK(behind->done());
    }
    std::thread([&] { behind.reset(); }).join();
    CHECK(detail::live_frames() == frames);
}
