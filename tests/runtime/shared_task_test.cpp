// shared_task: several who wait for one task, each of whom may leave.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<std::string> makes(std::string text) {
    co_await sleep_for(1ms);
    if (text.empty()) throw std::runtime_error("broken");
    co_return text;
}
task<int> probed(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1ms);
    co_return 1;
}
task<> reads(shared_task<std::string> from, event_log& log, const std::string*& where) {
    try {
        const std::string& text = co_await from;
        where = &text;
        log.push_back(text);
    } catch (const std::exception& error) {
        log.emplace_back(error.what());
    }
}

} // namespace

TEST_CASE("S202: shared_task: all who wait get the same value, those who come later too") {
    stepped w(2);
    event_log log;
    const std::string* where[3] = {};
    std::optional<shared_task<std::string>> shared(w.spawn(makes("value")));
    for (unsigned i = 0; i < 2; ++i) {
        w.spawn(reads(*shared, log, where[i]), {.where = placement::worker(i)}).detach();
    }
    w.settle();
    CHECK(log.empty());
    w.advance(1ms);
    CHECK(shared->done());
    w.run(reads(*shared, log, where[2]));
    CHECK(log == event_log{"value", "value", "value"});
    CHECK(where[0] == where[1]);
    CHECK(where[0] == where[2]);
}

TEST_CASE("shared_task: an exception, and a cancellation, are told to each") {
    stepped w;
    event_log log;
    const std::string* where = nullptr;
    const bool cancelled = GENERATE(false, true);
    shared_task<std::string> shared(w.spawn(makes(cancelled ? "never" : "")));
    w.spawn(reads(shared, log, where)).detach();
    w.spawn(reads(shared, log, where)).detach();
    w.settle();
    if (cancelled) shared.cancel(cancel_reason::timeout);
    w.settle();
    w.advance(1ms);
    w.run(reads(shared, log, where));
    const std::string told = cancelled ? "the task was cancelled (timeout)" : "broken";
    CHECK(log == event_log{told, told, told});
    const auto end = w.run([](shared_task<std::string> from) -> task<bool> {
        const outcome<const std::string&> how = co_await from.outcome();
        co_return how.is_cancelled();
    }(shared));
    CHECK(end == cancelled);
}

TEST_CASE("shared_task: one who waits and is cancelled leaves, alone: front, middle and back") {
    stepped w;
    const int who = GENERATE(0, 1, 2);
    event_log log;
    const std::string* where = nullptr;
    shared_task<std::string> shared(w.spawn(makes("value")));
    std::vector<join_handle<>> readers;
    for (int i = 0; i < 3; ++i) readers.push_back(w.spawn(reads(shared, log, where)));
    w.settle();
    readers[static_cast<std::size_t>(who)].cancel();
    w.settle();
    CHECK(readers[static_cast<std::size_t>(who)].done());
    CHECK(!shared.done());
    w.advance(1ms);
    CHECK(log == event_log{"value", "value"});
}

TEST_CASE("shared_task: with the last copy it is detached, and runs on") {
    stepped w;
    scope_end end;
    std::optional<shared_task<int>> shared(w.spawn(probed(end)));
    std::optional<shared_task<int>> copy(*shared);
    w.settle();
    shared.reset();
    copy.reset();
    w.settle();
    CHECK(end.times == 0);
    w.advance(1ms);
    CHECK(end.times == 1);
    CHECK(!end.torn_down);
}

TEST_CASE("shared_task: a failure that nobody fetched is told, one that somebody has is not") {
    const bool fetched = GENERATE(false, true);
    stderr_capture caught;
    {
        stepped w;
        event_log log;
        const std::string* where = nullptr;
        shared_task<std::string> shared(w.spawn(makes("")));
        w.settle();
        w.advance(1ms);
        if (fetched) w.run(reads(shared, log, where));
    }
    CHECK(count_of(caught.text(), "failed and nobody joined it") == (fetched ? 0U : 1U));
}

TEST_CASE("shared_task: of void, of a reference, in a boundary and in a race") {
    stepped w;
    int data = 4;
    const int seen = w.run([](int& of) -> task<int> {
        shared_task nothing(spawn([]() -> task<> { co_await sleep_for(5ms); }));
        shared_task<int&> refers(spawn(
            [](int& to) -> task<int&> {
                co_await yield_now();
                co_return to;
            },
            std::ref(of)));
        const auto early = co_await try_with_timeout(1ms, shared_task(nothing));
        const auto race = co_await when_any(shared_task(nothing), sleep_for(1h));
        co_await nothing;
        int& found = co_await refers;
        ++found;
        const auto end = co_await nothing.outcome();
        co_return (early.is_cancelled() ? 1 : 0) + (race.index == 0 ? 1 : 0) +
            (end.has_value() ? 1 : 0);
    }(data));
    CHECK(seen == 3);
    CHECK(data == 5);
}

TEST_CASE("shared_task: of an empty handle, or of one that is joined: a sentence") {
    stepped w;
    CHECK_THROWS_AS(shared_task<int>(join_handle<int>()), std::logic_error);
    scope_end end;
    auto handle = w.spawn(probed(end));
    auto joiner = w.spawn([](join_handle<int>& of) -> task<> {
        static_cast<void>(co_await of.outcome());
    }(handle));
    w.settle();
    CHECK_THROWS_AS(shared_task<int>(std::move(handle)), std::logic_error);
    w.advance(1ms);
    CHECK(joiner.done());
}

TEST_CASE("shared_task: its end, its readers and its last copy on different threads") {
    runtime rt({.workers = 3});
    for (int round = 0; round < 200; ++round) {
        auto body = []() -> task<int> {
            co_await yield_now();
            co_return 7;
        };
        std::optional<shared_task<int>> shared(rt.spawn({.where = placement::worker(0)}, body));
        auto reader = [](shared_task<int> from) -> task<int> {
            const int value = co_await from;
            co_return value;
        };
        auto first = rt.spawn({.where = placement::worker(1)}, reader, *shared);
        auto second = rt.spawn({.where = placement::worker(2)}, reader, *shared);
        if (round % 2 == 0) second.cancel();
        shared.reset();
        const int sum = rt.block_on([](join_handle<int>& a, join_handle<int>& b) -> task<int> {
            const auto one = co_await a.outcome();
            const auto two = co_await b.outcome();
            co_return one.value() + (two.has_value() ? two.value() : 7);
        }(first, second));
        CHECK(sum == 14);
    }
}
