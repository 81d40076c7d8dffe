// when_any: one winner, and losers that are cancelled and joined before anybody goes on.
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using clock_point = std::chrono::steady_clock::time_point;

namespace {

task<int> gives(int value, std::chrono::milliseconds after) {
    co_await sleep_for(after);
    co_return value;
}
task<std::string> gives_text(std::string text, std::chrono::milliseconds after) {
    co_await sleep_for(after);
    co_return text;
}
task<int> fails(std::chrono::milliseconds after, std::string text) {
    co_await sleep_for(after);
    throw std::runtime_error(text);
}
task<int> holds(poison<int>& data, scope_end& end) {
    scope_probe probe(end);
    auto access = data.access();
    *access = 1;
    co_await sleep_for(1h);
    co_return 0;
}
task<int> cleans_up(event_log& log) {
    const auto cleanup = [](event_log& into) -> task<> {
        co_await sleep_for(10ms);
        into.push_back("cleaned");
    };
    const int value = co_await finally(gives(1, 3600000ms), cleanup(log));
    co_return value;
}
task<int> stops_itself(cancellation_token token) {
    const int value = co_await with_token(std::move(token), gives(1, 3600000ms));
    co_return value;
}
task<std::unique_ptr<traced>> finishes_anyway(gate& at, event_log& log) {
    at.holds_on_cancel = true;
    co_await at.pass();
    co_return std::make_unique<traced>(log, "result");
}
task<int> fails_anyway(gate& at) {
    at.holds_on_cancel = true;
    co_await at.pass();
    throw std::runtime_error("loser failed");
}

task<std::string> race(task<int> a, task<int> b, event_log& log) {
    traced local(log, "outside");
    std::string text;
    try {
        const auto first = co_await when_any(std::move(a), std::move(b));
        text = std::to_string(first.index) + ":" + std::to_string(first.value);
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    log.push_back("decided");
    co_return text;
}
task<std::string> mixed_race(std::chrono::milliseconds a, std::chrono::milliseconds b,
                             std::chrono::milliseconds c) {
    std::string text;
    auto first = co_await when_any(gives(5, a), gives_text("five", b), sleep_for(c));
    static_assert(
        std::is_same_v<decltype(first.value), std::variant<int, std::string, std::monostate>>);
    text = std::to_string(first.index) + "/" + std::to_string(first.value.index());
    if (first.index == 1) text += std::get<1>(first.value);
    co_return text;
}
task<std::size_t> void_race() {
    const auto first = co_await when_any(sleep_for(2ms), sleep_for(1ms), sleep_for(3ms));
    static_assert(std::is_same_v<decltype(first.value), std::monostate>);
    co_return first.index;
}
task<std::string> vector_race(std::vector<task<int>> bodies) {
    std::string text;
    try {
        const auto first = co_await when_any(std::move(bodies));
        text = std::to_string(first.index) + ":" + std::to_string(first.value);
    } catch (const std::invalid_argument&) {
        text = "invalid";
    }
    co_return text;
}
task<std::size_t> vector_of_void_race(int count) {
    std::vector<task<>> bodies;
    const auto sleeps = [](int each) -> task<> {
        co_await sleep_for(std::chrono::milliseconds(each));
    };
    for (int i = 0; i < count; ++i) bodies.push_back(sleeps(count - i));
    const auto first = co_await when_any(std::move(bodies));
    co_return first.index;
}
task<> race_of_boxes(gate& winner, gate& loser, event_log& log) {
    auto first = co_await when_any(finishes_anyway(winner, log), finishes_anyway(loser, log));
    log.push_back("decided " + std::to_string(first.index));
    co_await sleep_for(1ms);
    log.push_back("end");
}
task<> bounded(task<int> a, task<int> b, event_log& log) {
    const auto end = co_await as_outcome(when_any(std::move(a), std::move(b)));
    log.push_back(end.is_cancelled() ? std::string(to_string(end.reason())) : "not cancelled");
}

using lock = sync::mutex<int>;

task<int> locks(lock& mutex, event_log& log, std::string name) {
    auto held = co_await mutex.lock();
    log.push_back(name);
    *held += 1;
    co_return *held;
}
task<> locks_or_passes(lock& mutex, gate& at, event_log& log) {
    const auto pass = [](gate& way) -> task<int> {
        co_await way.pass();
        co_return 0;
    };
    const auto first = co_await when_any(locks(mutex, log, "racer"), pass(at));
    log.push_back("decided " + std::to_string(first.index));
    co_await sleep_for(1h); // alive, and driving nothing
}
task<> holder(lock& mutex, gate& release, event_log& log) {
    auto held = co_await mutex.lock();
    log.push_back("holder");
    co_await release.pass();
}

} // namespace

TEST_CASE("when_any: gives the index and the value of whoever ends first") {
    event_log log;
    stepped w;
    CHECK(w.run(race(gives(7, 5ms), gives(8, 1ms), log)) == "1:8");
    CHECK(w.run(race(gives(7, 1ms), gives(8, 5ms), log)) == "0:7");
    CHECK(w.worker().next_timer() == clock_point::max());
}

TEST_CASE("when_any: of different kinds gives a variant with an alternative for each") {
    stepped w;
    CHECK(w.run(mixed_race(1ms, 2ms, 3ms)) == "0/0");
    CHECK(w.run(mixed_race(3ms, 1ms, 2ms)) == "1/1five");
    CHECK(w.run(mixed_race(3ms, 2ms, 1ms)) == "2/2");
    CHECK(w.run(void_race()) == 1);
}

TEST_CASE("when_any: of a vector; of an empty one it refuses to wait for ever") {
    std::vector<task<int>> bodies;
    stepped w;
    for (int i = 0; i < 5; ++i) {
        bodies.push_back(gives(i * 10, std::chrono::milliseconds(i == 3 ? 1 : 5)));
    }
    CHECK(w.run(vector_race(std::move(bodies))) == "3:30");
    CHECK(w.run(vector_race({})) == "invalid");
    CHECK(w.run(vector_of_void_race(4)) == 3);
}

TEST_CASE("when_any: the losers are cancelled and joined before it returns") {
    event_log log;
    stepped w;
    auto handle = w.spawn(race(cleans_up(log), gives(5, 1ms), log));
    w.settle();
    w.advance(1ms);
    CHECK(log.empty()); // the cleanup of the loser is waited for
    w.advance(10ms);
    CHECK(log == event_log{"cleaned", "decided", "outside"});
    CHECK(w.end_of(handle).value() == "1:5");
}

TEST_CASE("when_any: what a loser holds is poisoned with lost_race before the caller goes on") {
    event_log log;
    poison<int> data(0);
    scope_end end;
    stepped w;
    CHECK(w.run(race(holds(data, end), gives(5, 1ms), log)) == "1:5");
    CHECK(end.reason == cancel_reason::lost_race);
    REQUIRE(data.is_poisoned());
    CHECK(data.cause().reason() == cancel_reason::lost_race);
}

TEST_CASE("when_any: an exception wins like a value") {
    event_log log;
    poison<int> data(0);
    scope_end end;
    stepped w;
    CHECK(w.run(race(fails(1ms, "failed first"), holds(data, end), log)) == "failed first");
    CHECK(end.reason == cancel_reason::lost_race);
}

TEST_CASE("when_any: a loser that finishes all the same has its result destroyed, once") {
    event_log log;
    gate winner;
    gate loser;
    stepped w;
    auto handle = w.spawn(race_of_boxes(winner, loser, log));
    w.settle();
    winner.open();
    w.settle();
    CHECK(log.empty());
    loser.open();
    w.settle();
    CHECK(log == event_log{"result", "decided 0"}); // the loser's went before
    w.advance(1ms);
    CHECK(handle.done());
    CHECK(log == event_log{"result", "decided 0", "end", "result"});
}

TEST_CASE("when_any: a loser that fails is reported, not lost in silence") {
    event_log log;
    gate loser;
    stepped w;
    const stderr_capture err;
    auto handle =
        w.spawn(race(gives(5, 1ms), fails_anyway(loser), log), {.name = "with a loser"});
    w.settle();
    w.advance(1ms);
    loser.open();
    CHECK(w.end_of(handle).value() == "0:5");
    CHECK(count_of(err.text(), "std::runtime_error: loser failed") == 1);
    CHECK(count_of(err.text(), "'with a loser'") == 1);
}

TEST_CASE("when_any: of two that end in the same turn one wins, the other is discarded") {
    event_log log;
    stepped w;
    const auto text = w.run(race(gives(7, 1ms), gives(8, 1ms), log));
    CHECK((text == "0:7" || text == "1:8"));
}

TEST_CASE("when_any: a branch that its own token stopped wins nothing; the others go on") {
    event_log log;
    stepped w;
    cancellation_source source;
    auto handle = w.spawn(race(stops_itself(source.token()), gives(5, 10ms), log));
    w.settle();
    source.cancel();
    w.settle();
    CHECK_FALSE(handle.done());
    w.advance(10ms);
    CHECK(w.end_of(handle).value() == "1:5");
}

TEST_CASE("when_any: when all branches stopped themselves, the caller stops too") {
    event_log log;
    stepped w;
    cancellation_source first;
    cancellation_source second;
    auto handle =
        w.spawn(bounded(stops_itself(first.token()), stops_itself(second.token()), log));
    w.settle();
    first.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(log.empty());
    second.cancel(cancel_reason::requested);
    w.settle();
    CHECK(handle.done());
    REQUIRE(log.size() == 1);
    CHECK(log.front() == "timeout");
}

TEST_CASE("when_any: a request to the caller reaches all branches, then the caller") {
    event_log log;
    stepped w;
    poison<int> data[2] = {poison<int>(0), poison<int>(0)};
    scope_end ends[2];
    auto handle = w.spawn(race(holds(data[0], ends[0]), holds(data[1], ends[1]), log));
    w.settle();
    handle.cancel(cancel_reason::shutdown);
    w.settle();
    for (const auto& end : ends) {
        CHECK(end.times == 1);
        CHECK(end.reason == cancel_reason::shutdown);
    }
    CHECK(log == event_log{"outside!"});
    CHECK(w.end_of(handle).reason() == cancel_reason::shutdown);
}

TEST_CASE("S72: a loser that waits in a lock's queue is out of it before when_any returns") {
    stepped w;
    lock mutex(0);
    gate release;
    gate other_way;
    event_log log;
    auto first = w.spawn(holder(mutex, release, log));
    w.settle();
    auto racer = w.spawn(locks_or_passes(mutex, other_way, log));
    w.settle();
    auto behind = w.spawn(locks(mutex, log, "behind"));
    w.settle();
    other_way.open();
    w.settle();
    CHECK(log == event_log{"holder", "decided 1"});
    release.open();
    w.settle();
    CHECK(behind.done()); // no futurelock: the racer lives and holds no place
    CHECK_FALSE(racer.done());
    CHECK(log.back() == "behind");
    CHECK_FALSE(mutex.is_poisoned());
}

TEST_CASE("S72: a lock that was handed to the loser at the same time goes to the next") {
    const int tie = GENERATE(0, 1, 2);
    stepped w;
    lock mutex(0);
    gate release;
    gate other_way;
    event_log log;
    auto first = w.spawn(holder(mutex, release, log));
    w.settle();
    auto racer = w.spawn(locks_or_passes(mutex, other_way, log));
    w.settle();
    auto behind = w.spawn(locks(mutex, log, "behind"));
    w.settle();
    if (tie == 0) { // the race is decided, then the lock is released
        other_way.open();
        release.open();
    } else { // handed over to the racer's branch, which has not run when ...
        release.open();
        if (tie == 2) {
            w.step();
            w.step(); // ... or which has, so that the lock wins
        }
        other_way.open();
    }
    w.settle();
    CHECK(first.done());
    CHECK(behind.done());
    CHECK(std::count(log.begin(), log.end(), "behind") == 1);
    CHECK(std::count(log.begin(), log.end(), "racer") == (tie == 2 ? 1 : 0));
    CHECK(std::count(log.begin(), log.end(), tie == 2 ? "decided 0" : "decided 1") == 1);
    CHECK_FALSE(mutex.is_poisoned());
    CHECK(mutex.try_lock().has_value());
}
