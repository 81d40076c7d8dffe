// join_set: the order of the ends, the limit, and what becomes of those that nobody joins.
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
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

task<int> after(std::chrono::milliseconds wait, int value) {
    co_await sleep_for(wait);
    if (value < 0) throw std::runtime_error("broken");
    co_return value;
}
task<int> probed(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
    co_return 1;
}
std::string told(const std::optional<outcome<int>>& end) {
    if (!end) return "none";
    if (end->has_value()) return std::to_string(end->value());
    return end->has_exception() ? "failed" : std::string(to_string(end->reason()));
}
task<> joins_all(join_set<int>& set, event_log& log) {
    while (auto end = co_await set.join_next()) log.push_back(told(end));
    log.emplace_back("none");
}
task<> spawns(join_set<int>& set, std::chrono::milliseconds wait, int value, event_log& log) {
    co_await set.spawn_when_free(after(wait, value));
    log.push_back("spawned " + std::to_string(value));
}

} // namespace

TEST_CASE("S199: join_set: its tasks are joined in the order of their ends, on any worker") {
    stepped w(2);
    event_log log;
    auto handle = w.spawn([](event_log& to) -> task<> {
        join_set<int> set;
        set.spawn(after(3ms, 3));
        set.spawn(after(1ms, 1), {.where = placement::worker(1)});
        set.spawn({.name = "called"}, after, 2ms, 2);
        set.spawn(after, 4ms, -1);
        set.spawn(after(0ms, 0));
        co_await joins_all(set, to);
        const auto again = co_await set.join_next();
        to.push_back(told(again));
    }(log));
    w.settle();
    for (int i = 0; i < 4; ++i) w.advance(1ms);
    CHECK(handle.done());
    CHECK(log == event_log{"0", "1", "2", "3", "failed", "none", "none"});
}

TEST_CASE("join_set: one that waits is told, and what is spawned meanwhile counts") {
    stepped w;
    event_log log;
    join_set<int> set;
    w.run([](join_set<int>& in) -> task<> {
        in.spawn(after(1ms, 1));
        co_return;
    }(set));
    auto joiner = w.spawn(joins_all(set, log));
    w.settle();
    CHECK(log.empty());
    w.run([](join_set<int>& in) -> task<> {
        in.spawn(after(5ms, 5));
        co_return;
    }(set));
    CHECK(set.running() == 2);
    w.advance(1ms);
    CHECK(log == event_log{"1"});
    w.advance(5ms);
    CHECK(log == event_log{"1", "5", "none"});
    CHECK(joiner.done());
    CHECK(set.size() == 0);
}

TEST_CASE("join_set: a join that is cancelled loses nothing, also at the tie") {
    stepped w;
    event_log log;
    join_set<int> set;
    const bool at_the_tie = GENERATE(false, true);
    auto joiner = w.spawn([](join_set<int>& in, event_log& to) -> task<> {
        in.spawn(after(1ms, 1));
        co_await joins_all(in, to);
    }(set, log));
    w.settle();
    if (at_the_tie) {
        // The task's end is told in the same turn in which the request comes.
        w.kernel().time += 1ms;
        while (set.running() != 0) w.step();
    }
    joiner.cancel();
    w.settle();
    CHECK(joiner.done());
    if (!at_the_tie) CHECK(log.empty());
    w.advance(1ms);
    event_log later;
    w.run(joins_all(set, later));
    log.insert(log.end(), later.begin(), later.end());
    CHECK(log == event_log{"1", "none"});
}

TEST_CASE("join_set: as many run as the limit says, those who wait come in their order") {
    stepped w;
    event_log log;
    join_set<int> set(2);
    for (int i = 1; i <= 4; ++i) {
        w.spawn(spawns(set, std::chrono::milliseconds(i), i, log)).detach();
    }
    w.settle();
    CHECK(log == event_log{"spawned 1", "spawned 2"});
    CHECK(set.running() == 2);
    w.advance(1ms);
    CHECK(log == event_log{"spawned 1", "spawned 2", "spawned 3"});
    CHECK(set.running() == 2);
    w.advance(1ms);
    CHECK(log.size() == 4);
    w.advance(10ms);
    CHECK(set.running() == 0);
    CHECK(set.size() == 4);
    w.run(joins_all(set, log));
    CHECK(log.back() == "none");
}

TEST_CASE("join_set: spawn() of a full one is refused, and destroys what it was given") {
    stepped w;
    event_log log;
    const auto end = w.run(as_outcome([](event_log& to) -> task<> {
        join_set<int> set(1);
        set.spawn(after(1h, 1));
        auto takes = [](traced) -> task<int> { co_return 1; };
        set.spawn(takes(traced(to, "parameter")));
        co_return;
    }(log)));
    REQUIRE(end.has_exception());
    CHECK_THROWS_WITH(std::rethrow_exception(end.exception()),
                      Catch::Contains("spawn_when_free"));
    CHECK(log.size() == 1);
}

TEST_CASE("join_set: one who waits for a place and is cancelled leaves, and the next has it") {
    stepped w;
    event_log log;
    join_set<int> set(1);
    auto first = w.spawn(spawns(set, 1ms, 1, log));
    w.settle();
    auto second = w.spawn(spawns(set, 1ms, 2, log));
    auto third = w.spawn(spawns(set, 1ms, 3, log));
    w.settle();
    SECTION("in the queue") {
        second.cancel();
        w.advance(1ms);
    }
    SECTION("as it is given the place") {
        w.kernel().time += 1ms;
        while (set.size() == 1) w.step(); // until the first has ended
        second.cancel();
        w.settle();
    }
    const bool handed_on = log == event_log{"spawned 1", "spawned 3"};
    const bool too_late = log == event_log{"spawned 1", "spawned 2"};
    CHECK((handed_on || too_late));
    w.advance(10ms);
    w.run(joins_all(set, log));
    CHECK(log.back() == "none");
    CHECK(set.running() == 0);
}

TEST_CASE("join_set: cancel_all() asks all that run; they are joined as cancelled") {
    stepped w(2);
    scope_end ends[2];
    event_log log;
    w.run([](scope_end(&to)[2], event_log& told_of) -> task<> {
        join_set<int> set;
        set.spawn(probed(to[0]));
        set.spawn(probed(to[1]), {.where = placement::worker(1)});
        co_await yield_now();
        co_await sleep_for(1ms);
        set.cancel_all(cancel_reason::timeout);
        co_await joins_all(set, told_of);
    }(ends, log));
    CHECK(log == event_log{"timeout", "timeout", "none"});
    CHECK(ends[0].reason == cancel_reason::timeout);
    CHECK(ends[1].reason == cancel_reason::timeout);
}

TEST_CASE(
    "S200: join_set: destroyed, it asks what runs to stop, and does not wait; failures that "
    "nobody has joined are told") {
    stderr_capture caught;
    scope_end ends[2];
    {
        stepped w(2);
        auto owner = w.spawn([](scope_end(&to)[2]) -> task<> {
            join_set<int> set;
            set.spawn(probed(to[0]));
            set.spawn(probed(to[1]), {.where = placement::worker(1)});
            set.spawn(after(0ms, -1), {.name = "failing"});
            set.spawn(after(0ms, 1));
            co_await sleep_for(1ms);
            co_await sleep_for(24h);
        }(ends));
        w.settle();
        w.advance(1ms);
        CHECK(ends[0].times == 0);
        owner.cancel();
        w.settle();
        CHECK(owner.done());
        CHECK(ends[0].reason == cancel_reason::abandoned);
        CHECK(ends[1].reason == cancel_reason::abandoned);
    }
    CHECK(count_of(caught.text(), "'failing' failed and nobody joined it") == 1);
    CHECK(count_of(caught.text(), "\n") == 1);
}

TEST_CASE("join_set: a guard in a result that nobody joined is judged as the set goes") {
    stepped w;
    sync::mutex<int> m(0, "data");
    const bool torn = GENERATE(false, true);
    auto gives = [](sync::mutex<int>& data) -> task<sync::mutex<int>::guard> {
        auto held = co_await data.lock();
        co_return held;
    };
    auto owner = w.spawn([&]() -> task<> {
        join_set<sync::mutex<int>::guard> set;
        set.spawn(gives(m));
        co_await sleep_for(1ms);
        if (torn) co_await sleep_for(1h);
    });
    w.settle();
    w.advance(1ms);
    if (torn) owner.cancel();
    w.settle();
    CHECK(owner.done());
    CHECK(m.is_poisoned() == torn);
}

TEST_CASE("S201: with_join_set: ends when all have, whatever ends its body") {
    enum class how { returns, throws, is_cancelled };
    stepped w;
    scope_end end;
    event_log log;
    const how ends = GENERATE(how::returns, how::throws, how::is_cancelled);
    auto body = [&](join_set<int>& set) -> task<int> {
        set.spawn(probed(end));
        set.spawn(after(1ms, 1));
        const auto first = co_await set.join_next();
        log.push_back(told(first));
        if (ends == how::throws) throw std::runtime_error("broken");
        if (ends == how::is_cancelled) co_await sleep_for(1h);
        co_return 7;
    };
    auto owner = w.spawn([&]() -> task<int> {
        scope_probe probe(end); // last of all
        const int value = co_await with_join_set<int>(body);
        co_return value;
    });
    w.settle();
    w.advance(1ms);
    if (ends == how::is_cancelled) owner.cancel(cancel_reason::timeout);
    w.settle();
    REQUIRE(owner.done());
    CHECK(end.times == 2);
    CHECK(log == event_log{"1"});
    const auto result = w.end_of(owner);
    CHECK(result.has_value() == (ends == how::returns));
    CHECK(result.has_exception() == (ends == how::throws));
    CHECK(result.is_cancelled() == (ends == how::is_cancelled));
}

TEST_CASE("join_set: two who join at once: the second gets a sentence") {
    stepped w;
    const auto end = w.run(as_outcome([]() -> task<> {
        join_set<int> set;
        set.spawn(after(1ms, 1));
        co_await when_all(set.join_next(), set.join_next());
    }()));
    REQUIRE(end.has_exception());
    CHECK_THROWS_WITH(std::rethrow_exception(end.exception()), Catch::Contains("at a time"));
}

TEST_CASE("join_set: the next end under a time limit, and in a race") {
    stepped w;
    event_log log;
    w.run([](event_log& to) -> task<> {
        join_set<int> set(1);
        set.spawn(after(5ms, 1));
        const auto early = co_await try_with_timeout(1ms, set.join_next());
        to.emplace_back(early.is_cancelled() ? "timeout" : "told");
        const auto place = co_await try_with_timeout(1ms, set.spawn_when_free(after(0ms, 2)));
        to.emplace_back(place.is_cancelled() ? "timeout" : "spawned");
        const auto race = co_await when_any(set.join_next(), sleep_for(1h));
        to.push_back(std::to_string(race.index));
        co_await set.spawn_when_free(after(0ms, 3));
        co_await joins_all(set, to);
    }(log));
    CHECK(log == event_log{"timeout", "timeout", "0", "3", "none"});
}

TEST_CASE("join_set: tasks of several threads end as the set goes, or is joined") {
    runtime rt({.workers = 3});
    for (int round = 0; round < 50; ++round) {
        const int joined = rt.block_on([](int most) -> task<int> {
            join_set<int> set(4);
            for (int i = 0; i < 20; ++i) {
                auto body = []() -> task<int> {
                    co_await yield_now();
                    co_return 1;
                };
                co_await set.spawn_when_free(spawn_options{.where = placement::any()}, body);
            }
            int sum = 0;
            for (int i = 0; i < most; ++i) {
                const auto end = co_await set.join_next();
                if (!end) break;
                sum += end->value();
            }
            co_return sum;
        }(round % 25));
        CHECK(joined == std::min(round % 25, 20));
    }
}
