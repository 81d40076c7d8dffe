// Where the rule of poisoning surprises: each row of that table in docs/poisoning.md.
#include <toadstone/sync/mutex.hpp>

#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;
using held_lock = sync::guard<int>;

task<> fails_with_optional(lock& m, bool reset) {
    std::optional<held_lock> held;
    held.emplace(co_await m.lock());
    **held = 1;
    bool handled = false;
    try {
        throw std::runtime_error("half-way");
    } catch (const std::runtime_error&) {
        if (reset) held.reset();
        handled = true;
    }
    if (handled) co_return;
}

task<held_lock> begins(lock& m) {
    auto held = co_await m.lock();
    *held = 1;
    co_return held;
}

enum class joiner { returns, throws, is_torn_down };

task<> never_fetches(lock& m, joiner how) {
    join_handle<held_lock> work = spawn(begins(m), {.name = "begins"});
    while (!work.done()) co_await yield_now();
    if (how == joiner::throws) throw std::runtime_error("the joiner");
    if (how == joiner::is_torn_down) co_await sleep_for(1h);
}

class unlocks_at_its_end {
public:
    explicit unlocks_at_its_end(held_lock&& held) noexcept : held_(std::move(held)) {}
    unlocks_at_its_end(const unlocks_at_its_end&) = delete;
    unlocks_at_its_end& operator=(const unlocks_at_its_end&) = delete;
    ~unlocks_at_its_end() { held_.unlock(); }

private:
    held_lock held_;
};

task<> fails_under_a_destructor(lock& m) {
    auto held = co_await m.lock();
    const unlocks_at_its_end end(std::move(held));
    throw std::runtime_error("half-way");
}

class takes_at_its_end {
public:
    takes_at_its_end(lock& m, std::optional<held_lock>& out) noexcept : m_(m), out_(out) {}
    takes_at_its_end(const takes_at_its_end&) = delete;
    takes_at_its_end& operator=(const takes_at_its_end&) = delete;
    ~takes_at_its_end() { out_ = m_.try_lock(); }

private:
    lock& m_;
    std::optional<held_lock>& out_;
};

task<> fails_with_one_handed_out(lock& m) {
    std::optional<held_lock> held;
    try {
        const takes_at_its_end taker(m, held);
        throw std::runtime_error("the first");
    } catch (const std::runtime_error&) {
    }
    if (!held) co_return; // a co_return of its own would leave it clean, too
    **held = 1;
    throw std::runtime_error("half-way");
}

task<> locks_twice(lock& m, bool caught) {
    auto held = co_await m.lock();
    *held = 1;
    if (!caught) {
        auto again = co_await m.lock();
        co_return;
    }
    const std::string why = co_await why_not(m);
    if (why.find("deadlock") == why.npos) throw std::runtime_error(why);
}

task<int> answers(std::chrono::milliseconds after = 10ms) {
    co_await sleep_for(after);
    co_return 2;
}
task<int> waits(cancellation_token token) {
    const int value = co_await with_token(std::move(token), answers(1h));
    co_return value;
}
task<> races(lock& outside, task<int> first, task<int> second) {
    auto held = co_await outside.lock();
    *held = 1;
    const auto won = co_await when_any(std::move(first), std::move(second));
    *held = won.value;
}

task<int> fails_when_it_loses(lock& inside, gate& until) {
    auto held = co_await inside.lock();
    until.holds_on_cancel = true;
    co_await until.pass();
    throw std::runtime_error("the loser");
}

} // namespace

TEST_CASE("S139: an optional guard that is reset in a handler ends clean") {
    const bool reset = GENERATE(true, false); // at the end of the function: just as clean
    lock m;
    stepped w;
    w.run(fails_with_optional(m, reset));
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S139: a guard in a result that nobody fetched goes by how its joiner ended") {
    const auto how = GENERATE(joiner::returns, joiner::throws, joiner::is_torn_down);
    lock m;
    stepped w;
    auto handle = w.spawn(never_fetches(m, how));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(w.end_of(handle).has_exception() == (how == joiner::throws));
    CHECK(m.is_poisoned() == (how != joiner::returns));
}

TEST_CASE("S139: a guard that a destructor unlocks during unwinding ends clean") {
    lock m;
    stepped w;
    CHECK_THROWS_AS(w.run(fails_under_a_destructor(m)), std::runtime_error);
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S139: a guard taken by a destructor during unwinding and handed out misses one "
          "exception") {
    lock m;
    stepped w;
    CHECK_THROWS_AS(w.run(fails_with_one_handed_out(m)), std::runtime_error);
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S139: would_deadlock poisons the section that it escapes from, as any exception") {
    const bool caught = GENERATE(false, true);
    lock m;
    stepped w;
    auto handle = w.spawn(locks_twice(m, caught));
    w.settle();
    CHECK(w.end_of(handle).has_exception() == !caught);
    CHECK(m.is_poisoned() == !caught);
}

TEST_CASE("S139: a branch of when_any that cancels itself takes the section around it along "
          "only if no other can win") {
    const bool another = GENERATE(true, false);
    lock m;
    stepped w;
    cancellation_source stop;
    cancellation_source stop_both;
    auto second = another ? answers() : waits(stop_both.token());
    auto handle = w.spawn(races(m, waits(stop.token()), std::move(second)));
    w.settle();
    stop.cancel();
    stop_both.cancel();
    w.settle();
    w.advance(10ms);
    CHECK(handle.done());
    CHECK(m.is_poisoned() == !another);
}

TEST_CASE("S139: a loser's exception is logged; it poisons what the loser held, no more") {
    lock outside;
    lock inside;
    gate until;
    stepped w;
    const stderr_capture err;
    auto handle = w.spawn(races(outside, answers(), fails_when_it_loses(inside, until)));
    w.settle();
    w.advance(10ms);
    until.open();
    w.settle();
    CHECK(w.end_of(handle).has_value());
    CHECK(inside.is_poisoned());
    CHECK_FALSE(outside.is_poisoned());
    CHECK(count_of(err.text(), "the loser of a race failed: std::runtime_error: the loser") ==
          1);
}

} // namespace toadstone::tests
