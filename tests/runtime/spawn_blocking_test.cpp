// spawn_blocking(), step by step: what comes back, and what a cancellation does before a
// function begins, while it runs, and when it has returned.
#include <toadstone/runtime.hpp>

#include "support/hand_pool.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Workers and, outliving them, the threads that the test plays.
struct bench {
    bench() { w.calls = &threads; }
    hand_pool threads;
    stepped w;
};

/// What a task with one function has come to.
struct story {
    int calls = 0;
    int result = 0;
    bool went_on = false;
    bool passed_next_await = false;
    scope_end end;
};

task<> calls_one(story& s) {
    const scope_probe probe(s.end);
    s.result = co_await spawn_blocking([&s] { return ++s.calls; });
    s.went_on = true;
    co_await checkpoint();
    s.passed_next_await = true;
}

task<std::unique_ptr<int>> boxed(int value) {
    auto box = co_await spawn_blocking([](int in) { return std::make_unique<int>(in); }, value);
    co_return box;
}
task<bool> same_object(std::string& text) {
    std::string& found = co_await spawn_blocking([&text]() -> std::string& { return text; });
    co_return &found == &text;
}
task<int> adds(std::unique_ptr<int> left, int right) {
    const int sum =
        co_await spawn_blocking([](std::unique_ptr<int> a, const int& b) { return *a + b; },
                                std::move(left), std::cref(right));
    co_return sum;
}
task<> only_waits(int& calls) {
    co_await spawn_blocking([&calls] { ++calls; });
}
task<std::string> fails() {
    std::string text = "nothing";
    try {
        co_await spawn_blocking([]() -> int { throw std::runtime_error("disk on fire"); });
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    co_return text;
}
task<> asks_who(std::uint64_t& id, bool& stop, join_handle<void>& self) {
    co_await spawn_blocking([&] {
        self.cancel();
        id = this_task::id();
        stop = this_task::stop_requested();
    });
}

/// A function with an argument that logs its end.
task<> keeps(event_log& log, bool throws) {
    const auto fn = [](const traced&, bool fails) {
        if (fails) throw std::runtime_error("boom");
    };
    traced mark(log, "fn");
    try {
        co_await spawn_blocking(fn, std::move(mark), throws);
        log.push_back("went on");
    } catch (const std::runtime_error&) {
        log.push_back("caught");
    }
}

template <class T>
T result_of(bench& b, join_handle<T>& handle) {
    b.w.settle();
    b.threads.begin();
    b.threads.end();
    return b.w.end_of(handle).value();
}

} // namespace

TEST_CASE(
    "S212: spawn_blocking: values, references, move-only results and arguments come back, "
    "and exceptions") {
    bench b;
    int calls = 0;
    std::string text;
    auto box = b.w.spawn(boxed(7));
    CHECK(*result_of(b, box) == 7);
    auto same = b.w.spawn(same_object(text));
    CHECK(result_of(b, same));
    auto sum = b.w.spawn(adds(std::make_unique<int>(3), 4));
    CHECK(result_of(b, sum) == 7);
    auto waited = b.w.spawn(only_waits(calls));
    result_of(b, waited);
    CHECK(calls == 1);
    auto failed = b.w.spawn(fails());
    CHECK(result_of(b, failed) == "disk on fire");
}

TEST_CASE("spawn_blocking: suspends the task until the function has returned, and no longer") {
    bench b;
    story s;
    auto handle = b.w.spawn(calls_one(s));
    b.w.settle();
    CHECK(b.threads.waiting() == 1);
    CHECK(s.calls == 0);
    b.threads.begin();
    b.w.settle();
    CHECK_FALSE(s.went_on);
    b.threads.end();
    CHECK(s.calls == 1);
    CHECK_FALSE(s.went_on); // on its worker, not here
    b.w.settle();
    CHECK(s.result == 1);
    CHECK(handle.done());
    CHECK_FALSE(s.end.torn_down);
}

TEST_CASE("spawn_blocking: inside the function no task runs, and nobody is asked to stop") {
    bench b;
    std::uint64_t id = 77;
    bool stop = true;
    join_handle<void> handle;
    handle = b.w.spawn(asks_who(id, stop, handle));
    b.w.settle();
    b.threads.begin();
    b.threads.end();
    CHECK(id == 0);
    CHECK_FALSE(stop);
    b.w.settle();
    CHECK(handle.done());
}

TEST_CASE("S210: spawn_blocking: cancelled before the co_await, the function is not even asked "
          "for a thread") {
    bench b;
    story s;
    auto handle = b.w.spawn(calls_one(s));
    handle.cancel();
    b.w.settle();
    CHECK(b.threads.waiting() == 0);
    CHECK(s.calls == 0);
    CHECK(s.end.torn_down);
    CHECK(b.w.end_of(handle).is_cancelled());
}

TEST_CASE(
    "S210: spawn_blocking: cancelled while it waits for a thread, at the front, the middle "
    "or the back, it never runs, and the others do, in their order") {
    for (std::size_t victim = 0; victim < 3; ++victim) {
        bench b;
        std::vector<int> ran;
        const auto notes = [](std::vector<int>& list, int who) -> task<> {
            co_await spawn_blocking([&list, who] { list.push_back(who); });
        };
        std::vector<join_handle<void>> all;
        std::vector<int> expected;
        for (int i = 0; i < 3; ++i) {
            all.push_back(b.w.spawn(notes(ran, i)));
            if (static_cast<std::size_t>(i) != victim) expected.push_back(i);
        }
        b.w.settle();
        all[victim].cancel(cancel_reason::timeout);
        b.w.settle();
        CHECK(b.w.end_of(all[victim]).reason() == cancel_reason::timeout);
        CHECK(b.threads.waiting() == 2);
        for (int i = 0; i < 2; ++i) {
            b.threads.begin();
            b.threads.end();
        }
        b.w.settle();
        CHECK(ran == expected);
        for (auto& each : all) CHECK(each.done());
    }
}

TEST_CASE(
    "S211: spawn_blocking: cancelled when it has begun, the task waits, has the result, and "
    "ends at its next await") {
    bench b;
    story s;
    auto handle = b.w.spawn(calls_one(s));
    b.w.settle();
    b.threads.begin();
    handle.cancel(cancel_reason::timeout);
    b.w.settle();
    CHECK_FALSE(handle.done()); // and its frame is there
    CHECK(s.end.times == 0);
    b.threads.end();
    b.w.settle();
    CHECK(s.result == 1);
    CHECK(s.went_on);
    CHECK_FALSE(s.passed_next_await);
    CHECK(s.end.reason == cancel_reason::timeout);
    CHECK(handle.done());
}

TEST_CASE(
    "S211: spawn_blocking: the same at the tie, when the function has returned and the task "
    "not run") {
    bench b;
    story s;
    auto handle = b.w.spawn(calls_one(s));
    b.w.settle();
    b.threads.begin();
    b.threads.end();
    handle.cancel();
    b.w.settle();
    CHECK(s.result == 1);
    CHECK_FALSE(s.passed_next_await);
    CHECK(s.end.torn_down);
}

TEST_CASE("S211: spawn_blocking: force, through a shield too, waits for the function") {
    for (const bool shielded : {false, true}) {
        bench b;
        story s;
        const auto in_shield = [](story& to) -> task<> { co_await shield(calls_one(to)); };
        auto handle = b.w.spawn(shielded ? in_shield(s) : calls_one(s));
        b.w.settle();
        b.threads.begin();
        b.w.worker().stop_roots(cancel_reason::shutdown, true);
        b.w.settle();
        CHECK(s.end.times == 0);
        b.threads.end();
        b.w.settle();
        CHECK(s.result == 1);
        CHECK_FALSE(s.passed_next_await);
        CHECK(s.end.reason == cancel_reason::shutdown);
        CHECK(handle.done());
    }
}

TEST_CASE("S210: spawn_blocking: in a shield a request lets it wait for its thread, force does "
          "not") {
    bench b;
    story s;
    const auto in_shield = [](story& to) -> task<> { co_await shield(calls_one(to)); };
    auto handle = b.w.spawn(in_shield(s));
    b.w.settle();
    handle.cancel();
    b.w.settle();
    CHECK(b.threads.waiting() == 1);
    b.w.worker().stop_roots(cancel_reason::shutdown, true);
    b.w.settle();
    CHECK(b.threads.waiting() == 0);
    CHECK(s.calls == 0);
    CHECK(handle.done());
}

TEST_CASE("S211: spawn_blocking: an exception is delivered to a task that has been asked to "
          "stop") {
    bench b;
    auto handle = b.w.spawn(fails());
    b.w.settle();
    b.threads.begin();
    handle.cancel();
    b.w.settle();
    b.threads.end();
    CHECK(b.w.end_of(handle).value() == "disk on fire");
}

namespace {

task<std::string> within(bool around_leaf, story& s) {
    std::string how = "in time";
    try {
        if (around_leaf) {
            s.result = co_await with_timeout(10ms, spawn_blocking([&s] { return ++s.calls; }));
        } else {
            co_await with_timeout(10ms, calls_one(s));
        }
    } catch (const timeout_error&) {
        how = "timed out";
    }
    co_return how;
}

} // namespace

TEST_CASE("S210: spawn_blocking: a time limit takes a function that waits out of the queue") {
    for (const bool around_leaf : {false, true}) {
        bench b;
        story s;
        auto handle = b.w.spawn(within(around_leaf, s));
        b.w.settle();
        CHECK(b.threads.waiting() == 1);
        b.w.advance(11ms);
        CHECK(b.threads.waiting() == 0);
        CHECK(b.w.end_of(handle).value() == "timed out");
        CHECK(s.calls == 0);
    }
}

TEST_CASE(
    "S211: spawn_blocking: a time limit waits for a function that has begun, and its result "
    "counts") {
    bench b;
    story s;
    auto handle = b.w.spawn(within(true, s));
    b.w.settle();
    b.threads.begin();
    b.w.advance(1s);
    CHECK_FALSE(handle.done());
    b.threads.end();
    CHECK(b.w.end_of(handle).value() == "in time");
    CHECK(s.result == 1);
}

TEST_CASE("spawn_blocking: the function is destroyed by its task, once, by its own verdict") {
    for (const bool throws : {false, true}) {
        event_log log;
        bench b;
        auto handle = b.w.spawn(keeps(log, throws));
        b.w.settle();
        b.threads.begin();
        b.threads.end();
        CHECK(log.empty()); // not on the other thread
        b.w.settle();
        CHECK(handle.done());
        CHECK(log == event_log{throws ? "fn!" : "fn", throws ? "caught" : "went on"});
    }
    event_log log;
    bench b;
    auto handle = b.w.spawn(keeps(log, false));
    b.w.settle();
    handle.cancel();
    b.w.settle();
    CHECK(log == event_log{"fn!"}); // torn down with the frame
}

TEST_CASE(
    "S218: spawn_blocking: without a thread and without a place for one the caller is told, "
    "and goes on") {
    bench b;
    b.threads.refuses = true;
    std::string text;
    bool waits = true;
    const auto tries = [](std::string& why, bool& still_waits) -> task<int> {
        int result = 0;
        try {
            result = co_await spawn_blocking([] { return 1; });
        } catch (const std::runtime_error& error) {
            why = error.what();
            still_waits = detail::current_context()->suspended();
        }
        co_await yield_now();
        co_return result;
    };
    auto handle = b.w.spawn(tries(text, waits));
    b.w.settle();
    CHECK(text == "no thread");
    CHECK_FALSE(waits); // a request would look for the call
    CHECK(b.w.end_of(handle).value() == 0);
}

TEST_CASE("S218: the same within a time limit, or under a token: an exception, or an outcome") {
    bench b;
    b.threads.refuses = true;
    const auto returns_one = [] { return 1; };
    const auto tries = [&]() -> task<int> {
        int told = 0;
        try {
            static_cast<void>(co_await with_timeout(1h, spawn_blocking(returns_one)));
        } catch (const std::runtime_error&) {
            ++told;
        }
        try {
            const cancellation_source source;
            static_cast<void>(co_await with_token(source.token(), spawn_blocking(returns_one)));
        } catch (const std::runtime_error&) {
            ++told;
        }
        const auto ended = co_await try_with_timeout(1h, spawn_blocking(returns_one));
        if (ended.has_exception()) ++told;
        co_return told;
    };
    auto handle = b.w.spawn(tries());
    b.w.settle();
    CHECK(b.w.end_of(handle).value() == 3);
}
