// A guard in a result that nobody has fetched: poisoned where its joiner was torn down or
// failed, since its section may be half done; clean where it is dropped in normal control flow,
// and where it came straight from lock().
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

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

using lock = sync::mutex<int>;
using int_guard = sync::guard<int>;

/// Its section is half done when it returns: whoever gets the guard is to go on.
task<int_guard> begin(lock& m) {
    auto held = co_await m.lock();
    *held -= 30;
    co_return held;
}
task<int_guard> begin_after(lock& m, gate& at) {
    co_await at.pass();
    auto held = co_await begin(m);
    co_return held;
}
task<int_guard> begin_and_wait(lock& m, gate& at) {
    auto held = co_await m.lock();
    *held -= 30;
    co_await at.pass();
    co_return held;
}
task<> fails(std::chrono::milliseconds after) {
    co_await sleep_for(after);
    throw std::runtime_error("failed");
}
task<> ends(gate& at) {
    co_await at.pass();
}

task<> all_with_failing(lock& m) {
    co_await when_all(begin(m), fails(10ms));
}
task<> all_of_bare_with_failing(lock& m) {
    co_await when_all(m.lock(), fails(10ms));
}
task<> all_with(lock& m, gate& at) {
    co_await when_all(begin(m), ends(at));
}
task<> all_of_bare_with(lock& m, gate& at) {
    co_await when_all(m.lock(), ends(at));
}
task<> any_with(lock& m, gate& loser, gate& winner) {
    co_await when_any(begin_and_wait(m, loser), ends(winner));
}
task<> any_with_failing(lock& m, gate& loser) {
    co_await when_any(begin_and_wait(m, loser), fails(10ms));
}
task<> scope_with_failing(lock& m) {
    const auto body = [&](task_scope& scope) -> task<int_guard> {
        scope.spawn(fails(10ms)).detach();
        auto held = co_await begin(m);
        co_return held;
    };
    auto held = co_await with_scope(body);
}
task<> scope_torn_down(lock& m, gate& at) {
    const auto body = [&](task_scope& scope) -> task<int_guard> {
        scope.spawn(ends(at)).detach();
        auto held = co_await begin(m);
        co_return held;
    };
    auto held = co_await with_scope(body);
}
task<> cleanup_that_fails(lock& m) {
    auto held = co_await finally(begin(m), fails(1ms));
}

/// Has a task whose result it does not come to fetch.
task<> has_spawned(lock& m, gate& at, bool drops) {
    auto started = spawn(begin(m));
    if (drops) {
        co_await yield_now();
        co_return;
    }
    co_await at.pass();
    auto held = co_await started;
}
task<> has_spawned_slow(lock& m, gate& child, gate& at) {
    auto started = spawn(begin_after(m, child));
    co_await at.pass();
    auto held = co_await started;
}
task<> throws_before_it_joins(lock& m) {
    auto started = spawn(begin(m));
    co_await yield_now();
    throw std::runtime_error("failed");
}

struct places {
    gate first;
    gate second;
    places() {
        first.delivers = false;
        second.delivers = false;
    }
};

template <class A>
task<> all_of(A first, task<> second) {
    static_cast<void>(co_await when_all(std::move(first), std::move(second)));
}
task<> passes(gate& at) {
    co_await at.pass();
}
task<> passes_and_fails(gate& at) {
    co_await at.pass();
    throw std::runtime_error("a sibling fails");
}
task<> nothing() {
    co_return;
}
task<> all_of_wrapped_with(unsigned which, lock& m, lock& n, task<> other) {
    switch (which) {
    case 0:
        return all_of(with_timeout(1h, m.lock()), std::move(other));
    case 1:
        return all_of(as_outcome(m.lock()), std::move(other));
    case 2:
        return all_of(when_all(m.lock(), n.lock()), std::move(other));
    case 3:
        return all_of(when_any(m.lock(), n.lock()), std::move(other));
    case 4:
        return all_of(shield(m.lock()), std::move(other));
    case 5:
        return all_of(with_token(cancellation_token(), m.lock()), std::move(other));
    case 6:
        return all_of(finally(m.lock(), nothing()), std::move(other));
    case 7:
        return all_of(try_with_timeout(1h, when_all(as_outcome(m.lock()), n.lock())),
                      std::move(other));
    default:
        return all_of(with_deadline(std::chrono::steady_clock::time_point::max(), m.lock()),
                      std::move(other));
    }
}
task<> both_within(lock& m, lock& n) {
    static_cast<void>(
        co_await when_all(with_timeout(10ms, m.lock()), with_timeout(10ms, n.lock())));
}
task<> mixed_with(lock& m, lock& n, gate& at) {
    static_cast<void>(co_await when_all(when_all(begin(m), n.lock()), at.pass()));
}
task<> fails_inside(lock& m) {
    auto held = co_await m.lock();
    throw std::runtime_error("half way");
}
task<> all_of_recover_with(unsigned which, lock& m, gate& at) {
    switch (which) {
    case 0:
        return all_of(m.recover(), passes(at));
    case 1:
        return all_of(as_outcome(m.recover()), passes(at));
    case 2:
        return all_of(when_any(m.recover(), with_timeout(1h, m.recover())), passes(at));
    case 3:
        return all_of(when_any(m.recover(), as_outcome(m.recover())), passes(at));
    default:
        return all_of(when_all(m.recover()), passes(at));
    }
}

} // namespace

TEST_CASE("S86: a sibling's failure poisons a guard that when_all does not deliver") {
    lock m;
    stepped w;
    auto handle = w.spawn(all_with_failing(m));
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    w.advance(10ms);
    CHECK(w.end_of(handle).has_exception());
    CHECK(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
    CHECK(m.cause().exception() != nullptr);
}

TEST_CASE("S86: a request poisons a guard that when_all does not deliver, with its reason") {
    lock m;
    places at;
    stepped w;
    auto handle = w.spawn(all_with(m, at.first), {.name = "caller"});
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(w.end_of(handle).is_cancelled());
    CHECK(m.cause().kind() == poison_kind::cancelled);
    CHECK(m.cause().reason() == cancel_reason::timeout);
    CHECK(m.cause().task_name() == "caller");
    CHECK(m.cause().interrupted_at().line() != 0);
}

TEST_CASE("S86: an undelivered lock() itself is handed back clean: nobody was inside") {
    lock m;
    places at;
    stepped w;
    SECTION("when a sibling fails") {
        auto handle = w.spawn(all_of_bare_with_failing(m));
        w.settle();
        w.advance(10ms);
        CHECK(w.end_of(handle).has_exception());
    }
    SECTION("when the caller is cancelled") {
        auto handle = w.spawn(all_of_bare_with(m, at.first));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(w.end_of(handle).is_cancelled());
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock().has_value());
}

TEST_CASE("S86: an undelivered lock() is handed back clean through other boundaries, too") {
    lock m;
    lock n;
    gate at;
    stepped w;
    const unsigned which = GENERATE(range(0U, 9U));
    INFO("form " << which);
    SECTION("when the caller is cancelled") {
        auto handle = w.spawn(all_of_wrapped_with(which, m, n, passes(at)));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(w.end_of(handle).is_cancelled());
    }
    SECTION("when a sibling fails") {
        auto handle = w.spawn(all_of_wrapped_with(which, m, n, passes_and_fails(at)));
        w.settle();
        at.open();
        w.settle();
        CHECK(w.end_of(handle).has_exception());
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK_FALSE(n.is_poisoned());
    CHECK(m.try_lock().has_value());
    CHECK(n.try_lock().has_value());
}

TEST_CASE("S86: two locks with a limit each: the one that was had is handed back clean") {
    lock m;
    lock n;
    stepped w;
    auto other = n.blocking_lock();
    auto handle = w.spawn(both_within(m, n));
    w.settle();
    w.advance(20ms);
    w.settle();
    CHECK(w.end_of(handle).has_exception());
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock().has_value());
}

TEST_CASE("S86: beside a result of the user's a lock in a boundary poisons as it does") {
    lock m;
    lock n;
    gate at;
    stepped w;
    auto handle = w.spawn(mixed_with(m, n, at));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(m.is_poisoned());
}

TEST_CASE("S86: an undelivered recover() is handed back: nothing was tried, the poison stays") {
    lock m;
    gate at;
    stepped w;
    CHECK_THROWS_AS(w.run(fails_inside(m)), std::runtime_error);
    const std::string before = m.cause().to_string();
    auto handle = w.spawn(all_of_recover_with(GENERATE(range(0U, 5U)), m, at));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(w.end_of(handle).is_cancelled());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string() == before);
    CHECK_FALSE(m.cause().previous());
}

TEST_CASE("S86: a loser that finishes all the same is let go clean if the winner has a value, "
          "and poisons if the race fails") {
    const bool winner_fails = GENERATE(false, true);
    lock m;
    gate loser;
    gate winner;
    loser.holds_on_cancel = true;
    stepped w;
    auto handle =
        w.spawn(winner_fails ? any_with_failing(m, loser) : any_with(m, loser, winner));
    w.settle();
    winner.open();
    w.advance(10ms);
    CHECK_FALSE(handle.done());
    loser.open(); // its operation finishes although it was asked to stop
    w.settle();
    CHECK(w.end_of(handle).has_exception() == winner_fails);
    CHECK(m.is_poisoned() == winner_fails);
}

TEST_CASE("S86: a guard that a scope's body returned poisons when a child's failure is thrown "
          "instead, or the caller is torn down") {
    lock m;
    places at;
    stepped w;
    SECTION("failure") {
        auto handle = w.spawn(scope_with_failing(m));
        w.settle();
        w.advance(10ms);
        CHECK(w.end_of(handle).has_exception());
        CHECK(m.cause().kind() == poison_kind::exception);
    }
    SECTION("teardown") {
        auto handle = w.spawn(scope_torn_down(m, at.first));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(w.end_of(handle).is_cancelled());
        CHECK(m.cause().kind() == poison_kind::cancelled);
    }
    CHECK(m.is_poisoned());
}

TEST_CASE("S86: a guard that a body returned poisons when the cleanup of finally() fails") {
    lock m;
    stepped w;
    auto handle = w.spawn(cleanup_that_fails(m));
    w.settle();
    w.advance(1ms);
    CHECK(w.end_of(handle).has_exception());
    CHECK(m.is_poisoned());
}

TEST_CASE("S86: a guard in the result of a spawned task follows the end of its joiner") {
    lock m;
    places at;
    stepped w;
    SECTION("dropped in normal control flow: clean") {
        w.run(has_spawned(m, at.first, true));
        w.settle();
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("the joiner is torn down: poisoned") {
        auto handle = w.spawn(has_spawned(m, at.first, false));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(m.is_poisoned());
    }
    SECTION("the joiner throws: poisoned") {
        auto handle = w.spawn(throws_before_it_joins(m));
        w.settle();
        CHECK(w.end_of(handle).has_exception());
        CHECK(m.is_poisoned());
    }
    SECTION("the joiner is torn down first, the task returns later: poisoned") {
        auto handle = w.spawn(has_spawned_slow(m, at.second, at.first));
        w.settle();
        handle.cancel(cancel_reason::timeout);
        w.settle();
        CHECK_FALSE(m.is_poisoned());
        at.second.open();
        w.settle();
        CHECK(m.is_poisoned());
        CHECK(m.cause().kind() == poison_kind::abandoned);
        CHECK(m.cause().reason() == cancel_reason::timeout);
    }
    CHECK(m.get_mut(sync::ignore_poison) == -30);
}
