// async_generator: its values, its ends, and how a guard at a co_yield is judged.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/async_generator.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using lock = sync::mutex<int>;

async_generator<int> counts(int to) {
    for (int i = 0; i < to; ++i) {
        if (i % 2 == 1) co_await sleep_for(1ms);
        co_yield i;
    }
}
task<int> sums(async_generator<int> from) {
    int sum = 0;
    while (auto next = co_await from.next()) sum += *next;
    const auto after = co_await from.next();
    co_return after ? -1 : sum;
}
async_generator<int> holds(lock& m, event_log& log) {
    traced local(log, "generator");
    auto held = co_await m.lock();
    *held = 1;
    co_yield 1;
    co_await sleep_for(1s);
    *held = 2;
    co_yield 2;
}
enum class consumer { runs_to_the_end, breaks, throws, waits, never_asks };
task<> consumes(lock& m, event_log& log, consumer how) {
    traced outer(log, "consumer");
    auto values = holds(m, log);
    if (how == consumer::never_asks) co_return;
    while (auto next = co_await values.next()) {
        if (how == consumer::breaks) break;
        if (how == consumer::throws) throw std::runtime_error("broken");
        if (how == consumer::waits) co_await sleep_for(1h);
    }
}
async_generator<std::string> fails() {
    co_yield "one";
    throw std::runtime_error("broken");
}
async_generator<int&> elements(std::vector<int>& of) {
    for (int& each : of) co_yield each;
}
async_generator<std::unique_ptr<int>> owned() {
    co_yield std::make_unique<int>(4);
    auto named = std::make_unique<int>(5);
    co_yield std::move(named);
}
async_generator<std::pair<int, int>> pairs() {
    co_yield {1, 2};
}
/// One that is made of another.
async_generator<int> doubles(async_generator<int> from) {
    while (auto next = co_await from.next()) co_yield 2 * *next;
}

} // namespace

TEST_CASE("async_generator: gives its values in order, and then nothing, ever after") {
    stepped w;
    CHECK(w.run(sums(counts(0))) == 0);
    CHECK(w.run(sums(counts(5))) == 10);
    CHECK(w.run(sums(doubles(doubles(counts(5))))) == 40);
}

TEST_CASE("async_generator: values that only move, that are braced, and references") {
    stepped w;
    std::vector<int> all{1, 2, 3};
    const int sum = w.run([](std::vector<int>& in) -> task<int> {
        int total = 0;
        auto pointers = owned();
        while (auto next = co_await pointers.next()) total += **next;
        auto two = pairs();
        const auto both = co_await two.next();
        total += both->first + both->second;
        auto each = elements(in);
        while (int* const next = co_await each.next()) *next += 10;
        co_return total;
    }(all));
    CHECK(sum == 12);
    CHECK(all == std::vector<int>{11, 12, 13});
}

TEST_CASE("async_generator: what it throws goes to who awaits the value, once") {
    stepped w;
    event_log log;
    w.run([](event_log& to) -> task<> {
        auto values = fails();
        const auto first = co_await values.next();
        to.push_back(*first);
        try {
            static_cast<void>(co_await values.next());
        } catch (const std::runtime_error& error) {
            to.emplace_back(error.what());
        }
        const auto after = co_await values.next();
        to.emplace_back(after ? "a value" : "ended");
    }(log));
    CHECK(log == event_log{"one", "broken", "ended"});
}

TEST_CASE("S38: a guard held at a co_yield: clean at the generator's end, poisoned, abandoned, "
          "if its consumer breaks, and poisoned if that throws") {
    stepped w;
    lock m(0, "data");
    event_log log;
    SECTION("run to its end") {
        w.run(consumes(m, log, consumer::runs_to_the_end));
        CHECK(!m.is_poisoned());
        CHECK(log == event_log{"generator", "consumer"});
    }
    SECTION("the consumer breaks") {
        w.run(consumes(m, log, consumer::breaks));
        REQUIRE(m.is_poisoned());
        CHECK(m.cause().kind() == poison_kind::abandoned);
        CHECK(m.cause().reason() == cancel_reason::abandoned);
        CHECK(m.cause().task_id() != 0);
        CHECK(m.cause().interrupted_at().line() != 0);
        CHECK(log == event_log{"generator!", "consumer"});
    }
    SECTION("the consumer throws") {
        const auto end = w.run(as_outcome(consumes(m, log, consumer::throws)));
        CHECK(end.has_exception());
        REQUIRE(m.is_poisoned());
        CHECK(m.cause().kind() == poison_kind::exception);
        REQUIRE(m.cause().exception());
        CHECK_THROWS_AS(std::rethrow_exception(m.cause().exception()), std::runtime_error);
        CHECK(log == event_log{"generator!", "consumer!"});
    }
    SECTION("it is not asked for a value") {
        w.run(consumes(m, log, consumer::never_asks));
        CHECK(!m.is_poisoned());
        CHECK(log == event_log{"consumer"});
    }
}

TEST_CASE(
    "async_generator: a request to its consumer, at a co_yield or inside, tears both down, "
    "and its guard poisons with the reason") {
    stepped w;
    lock m(0, "data");
    event_log log;
    const bool inside = GENERATE(false, true);
    auto handle =
        w.spawn(consumes(m, log, inside ? consumer::runs_to_the_end : consumer::waits));
    w.settle();
    CHECK(log.empty());
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(log == event_log{"generator!", "consumer!"});
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
    CHECK(m.cause().reason() == cancel_reason::timeout);
}

TEST_CASE("async_generator: next() is a cancellation point, also where no leaf is awaited") {
    stepped w;
    join_handle<> handle;
    int got = 0;
    auto body = [&]() -> task<> {
        auto values = counts(1);
        handle.cancel();
        static_cast<void>(co_await values.next());
        ++got;
    };
    handle = w.spawn(body);
    w.settle();
    CHECK(handle.done());
    CHECK(got == 0);
}

TEST_CASE("async_generator: one that never waits lets its consumer's neighbours run") {
    stepped w;
    bool stop = false;
    int turns = 0;
    auto endless = []() -> async_generator<int> {
        for (int i = 0;; ++i) co_yield i;
    };
    auto consumer = w.spawn([&]() -> task<> {
        auto values = endless();
        while (!stop) static_cast<void>(co_await values.next());
    });
    auto neighbour = w.spawn([&]() -> task<> {
        for (; turns < 3; ++turns) co_await yield_now();
        stop = true;
    });
    w.settle();
    CHECK(consumer.done());
    CHECK(turns == 3);
}

TEST_CASE("async_generator: torn down by a time limit around next(), it says so afterwards") {
    stepped w;
    lock m(0, "data");
    event_log log;
    std::optional<cancel_reason> why;
    w.run([](lock& data, event_log& to, std::optional<cancel_reason>& reason) -> task<> {
        auto values = holds(data, to);
        static_cast<void>(co_await with_timeout(1ms, values.next()));
        try {
            static_cast<void>(co_await with_timeout(1ms, values.next()));
        } catch (const timeout_error&) {
            to.emplace_back("timeout");
        }
        try {
            static_cast<void>(co_await values.next());
        } catch (const task_cancelled& error) {
            reason = error.reason();
        }
    }(m, log, why));
    CHECK(log == event_log{"generator!", "timeout"});
    CHECK(why == cancel_reason::timeout);
    CHECK(m.is_poisoned());
}

TEST_CASE("async_generator: two who ask for a value at once: the second gets a sentence") {
    stepped w;
    const auto end = w.run(as_outcome([]() -> task<> {
        auto values = counts(5);
        static_cast<void>(co_await values.next()); // then it sleeps
        co_await when_all(values.next(), values.next());
    }()));
    REQUIRE(end.has_exception());
    CHECK_THROWS_WITH(std::rethrow_exception(end.exception()),
                      Catch::Contains("one value at a time"));
}

TEST_CASE("async_generator: who is refused takes nothing from who was there before") {
    stepped w;
    const int value = w.run([]() -> task<int> {
        auto values = counts(5);
        static_cast<void>(co_await values.next());
        const auto both = co_await when_all(values.next(), as_outcome(values.next()));
        co_return std::get<1>(both).has_exception() ? *std::get<0>(both) : -1;
    }());
    CHECK(value == 1);
}

TEST_CASE("async_generator: goes from task to task, to another worker, and outlives its last") {
    stepped w(2);
    event_log log;
    lock m(0, "data");
    std::optional<async_generator<int>> kept(holds(m, log));
    auto asks = [](std::optional<async_generator<int>>& from) -> task<int> {
        auto values = std::move(*from);
        const auto next = co_await values.next();
        from.emplace(std::move(values));
        co_return *next;
    };
    CHECK(w.run(asks(kept)) == 1);
    auto there = w.spawn(asks(kept), {.where = placement::worker(1)});
    w.settle();
    w.advance(1s);
    CHECK(w.end_of(there).value() == 2);
    kept.reset(); // by a plain thread
    CHECK(log == event_log{"generator!"});
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::abandoned);
}

TEST_CASE("async_generator: assigned to, it gives up what it had") {
    stepped w;
    event_log log;
    lock m(0, "data");
    const int value = w.run([](lock& data, event_log& to) -> task<int> {
        auto values = holds(data, to);
        static_cast<void>(co_await values.next());
        values = counts(1);
        const auto next = co_await values.next();
        co_return *next;
    }(m, log));
    CHECK(value == 0);
    CHECK(log == event_log{"generator!"});
}

TEST_CASE(
    "async_generator: a destructor that throws as it is given up is told, and the rest of "
    "its frame goes") {
    struct throws_at_end {
        ~throws_at_end() noexcept(false) { throw std::runtime_error("boom"); }
    };
    stderr_capture caught;
    event_log log;
    {
        stepped w;
        w.run([](event_log& to) -> task<> {
            auto make = [](event_log& into, traced) -> async_generator<int> {
                traced outer(into, "outer");
                throws_at_end local;
                co_yield 1;
            };
            auto values = make(to, traced(to, "parameter"));
            static_cast<void>(co_await values.next());
        }(log));
    }
    CHECK(log == event_log{"outer!", "parameter!"});
    CHECK(count_of(caught.text(), "boom") == 1);
}
