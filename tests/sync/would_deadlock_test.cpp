// A lock that cannot be had because its holder waits for whoever asks: an error, behind every
// boundary; and the waits that only look like it.
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using lock = sync::mutex<int>;
using int_guard = sync::guard<int>;

/// What the attempt came to: "deadlock", or "locked".
struct attempt {
    std::string end;
};

task<> asks(lock& m, attempt& what) {
    try {
        auto held = co_await m.lock();
        what.end = "locked";
    } catch (const sync::would_deadlock& error) {
        what.end = "deadlock";
        CHECK(std::string(error.what()).find("'m'") != std::string::npos);
    }
}
task<> never(gate& at) {
    co_await at.pass();
}
task<> nothing() {
    co_return;
}

constexpr unsigned boundaries = 14;

/// Asks for the lock inside the boundary of this number.
task<> asks_inside(unsigned which, lock& m, attempt& what, gate& at) {
    cancellation_source quiet;
    const auto in_body = [&](task_scope&) { return asks(m, what); };
    const auto in_child = [&](task_scope& scope) -> task<> {
        scope.spawn(asks(m, what), {.where = placement::worker(which == 12 ? 1U : 0U)})
            .detach();
        co_return;
    };
    const auto in_nested = [&](task_scope&) { return task<>(asks_inside(11, m, what, at)); };
    switch (which) {
    case 0:
        co_await asks(m, what);
        break;
    case 1:
        co_await with_timeout(1h, asks(m, what));
        break;
    case 2:
        static_cast<void>(co_await try_with_timeout(1h, asks(m, what)));
        break;
    case 3:
        static_cast<void>(co_await as_outcome(asks(m, what)));
        break;
    case 4:
        co_await with_token(quiet.token(), asks(m, what));
        break;
    case 5:
        co_await shield(asks(m, what));
        break;
    case 6:
        co_await finally(asks(m, what), nothing());
        break;
    case 7:
        co_await finally(nothing(), asks(m, what));
        break;
    case 8:
        co_await when_any(asks(m, what), never(at));
        break;
    case 9:
        co_await when_all(asks(m, what), nothing());
        break;
    case 10:
        co_await with_scope(in_body);
        break;
    case 11:
    case 12:
        co_await with_scope(in_child);
        break;
    default:
        co_await with_scope(in_nested);
    }
}
task<> holds_and_asks(unsigned which, lock& m, attempt& what, gate& at) {
    auto held = co_await m.lock();
    co_await asks_inside(which, m, what, at);
}

task<> moves_and_asks(unsigned which, lock& m, attempt& what, gate& at) {
    auto first = co_await m.lock();
    int_guard held(std::move(first));
    co_await asks_inside(which, m, what, at);
}
task<> assigns_and_asks(unsigned which, lock& m, attempt& what, gate& at) {
    std::optional<int_guard> held;
    {
        auto first = co_await m.lock();
        held = std::move(first);
    }
    co_await asks_inside(which, m, what, at);
}
task<> given_and_asks([[maybe_unused]] int_guard held, unsigned which, lock& m, attempt& what,
                      gate& at) {
    co_await asks_inside(which, m, what, at);
}
task<> gives_and_asks(unsigned which, lock& m, attempt& what, gate& at) {
    auto first = co_await m.lock();
    co_await given_and_asks(std::move(first), which, m, what, at);
}
/// In a frame that is larger than what the pool keeps.
task<> moves_far_and_asks(unsigned which, lock& m, attempt& what, gate& at) {
    struct {
        std::array<char, 10000> before{};
        std::optional<int_guard> held;
        std::array<char, 10000> behind{};
    } large;
    auto first = co_await m.lock();
    large.held = std::move(first);
    co_await asks_inside(which, m, what, at);
    large.before[0] = large.behind[0];
}

task<> holds(lock& m, gate& until) {
    auto held = co_await m.lock();
    co_await until.pass();
}
task<> branches(lock& m, attempt& what, gate& at) {
    co_await when_all(holds(m, at), asks(m, what));
}
task<> holds_moved(lock& m, gate& until) {
    auto first = co_await m.lock();
    int_guard held(std::move(first));
    co_await until.pass();
}
task<> moved_branches(lock& m, attempt& what, gate& at) {
    co_await when_all(holds_moved(m, at), asks(m, what));
}
task<> moves_to_heap_and_asks(lock& m, attempt& what, std::vector<int_guard>& kept) {
    auto first = co_await m.lock();
    kept.push_back(std::move(first));
    co_await asks(m, what);
}
task<> keeps([[maybe_unused]] int_guard held, gate& until) {
    co_await until.pass();
}
task<> gives_away_and_asks(lock& m, attempt& what, gate& at) {
    auto held = co_await m.lock();
    auto other = spawn(keeps(std::move(held), at));
    co_await asks(m, what);
    co_await other;
}
task<> spawns_who_asks(lock& m, attempt& what, gate& at) {
    auto held = co_await m.lock();
    auto other = spawn(asks(m, what));
    co_await at.pass();
    held.unlock();
    co_await other;
}
task<> lets_go_and_asks(lock& m, attempt& what) {
    auto held = co_await m.lock();
    held.unlock();
    co_await shield(asks(m, what));
}
task<> blocks_on_who_asks(lock& m, attempt& what) {
    co_await asks(m, what);
}

task<std::string> asks_twice(lock& m) {
    auto held = co_await m.lock();
    try {
        auto again = co_await m.lock();
        *again = 1;
    } catch (const sync::would_deadlock& error) {
        if (error.code() != std::errc::resource_deadlock_would_occur) co_return "another code";
        co_return error.what();
    }
    co_return "locked twice";
}

task<> fills(std::optional<int_guard>& slot, lock& m, gate& at) {
    auto held = co_await m.lock();
    slot.emplace(std::move(held));
    co_await at.pass();
    slot.reset();
}
task<> has_a_slot(lock& m, attempt& what, gate& at) {
    std::optional<int_guard> slot;
    co_await when_all(fills(slot, m, at), asks(m, what));
}
task<> spawns_with_guard(lock& m, attempt& what, bool captured) {
    auto held = co_await m.lock();
    if (captured) {
        auto asking = [&m, &what, kept = std::move(held)] { return asks(m, what); };
        co_await spawn(std::move(asking));
    } else {
        const auto asking = [](const int_guard&, lock* at, attempt* into) {
            return asks(*at, *into);
        };
        co_await spawn(asking, std::move(held), &m, &what);
    }
}
task<> in_a_large_frame() {
    std::array<char, 3000> room{};
    co_await yield_now();
    if (room[0] != 0) co_await yield_now();
}
task<> spawns_before_it_suspends(stepped& w, lock& m, attempt& what,
                                 std::vector<int_guard>& kept) {
    {
        auto held = co_await m.lock();
        kept.push_back(std::move(held));
    }
    co_await in_a_large_frame();
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(asks(m, what), {.where = placement::worker(1)}).detach();
        w.step(1);
        return nothing();
    };
    co_await with_scope(body);
}

task<> says_why(lock& m, std::string& said) {
    try {
        auto held = co_await m.lock();
        said = "locked";
    } catch (const sync::would_deadlock& error) {
        said = error.what();
    }
}

/// Runs what `body` makes: its attempt queues behind the holder, and gets the lock when the
/// gate is open and the guards on the heap are gone.
template <class Fn>
void waits_for_the_holder(Fn body) {
    lock m(0, "m");
    attempt what;
    gate at;
    std::vector<int_guard> kept;
    stepped w(2);
    auto handle = w.spawn(body(w, m, what, at, kept));
    w.settle();
    CHECK(what.end.empty());
    at.open();
    kept.clear();
    w.settle();
    CHECK(what.end == "locked");
    CHECK(handle.done());
}

task<> scope_whose_child_asks(lock& m, std::string& said) {
    auto held = co_await m.lock();
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(says_why(m, said), {.name = "child"}).detach();
        co_return;
    };
    co_await with_scope(body);
}

} // namespace

TEST_CASE(
    "would_deadlock: a system_error that names the mutex; caught inside, it is harmless") {
    lock accounts(0, "accounts");
    stepped w;
    const std::string told = w.run(asks_twice(accounts));
    CHECK(told.find("mutex 'accounts' is held by the task that asks for it") == 0);
    CHECK_FALSE(accounts.is_poisoned());
}

TEST_CASE("S85: a lock that the caller holds is would_deadlock behind every boundary") {
    const unsigned which = GENERATE(range(0U, boundaries));
    lock m(0, "m");
    attempt what;
    gate at;
    stepped w(2);
    auto handle = w.spawn(holds_and_asks(which, m, what, at));
    w.settle();
    INFO("boundary " << which);
    CHECK(what.end == "deadlock");
    CHECK(handle.done());
    CHECK_FALSE(m.is_poisoned()); // it was caught inside the section
}

TEST_CASE("would_deadlock: the sentence names who holds the lock, and who waits for whom") {
    lock m(0, "m");
    std::string said;
    stepped w;
    auto handle = w.spawn(scope_whose_child_asks(m, said), {.name = "owner"});
    w.settle();
    REQUIRE(handle.done());
    INFO(said);
    CHECK_THAT(said, Catch::StartsWith("mutex 'm' is held by task "));
    CHECK_THAT(said, Catch::Contains("'owner', which waits for task "));
    CHECK_THAT(said, Catch::Contains("'child', which asks for it"));
}

TEST_CASE("S85: a guard that was moved belongs to whoever has it in a frame") {
    using body = task<>(unsigned, lock&, attempt&, gate&);
    const auto holder = GENERATE(static_cast<body*>(moves_and_asks), assigns_and_asks,
                                 gives_and_asks, moves_far_and_asks);
    const unsigned which = GENERATE(range(0U, boundaries));
    lock m(0, "m");
    attempt what;
    gate at;
    stepped w(2);
    auto handle = w.spawn(holder(which, m, what, at));
    w.settle();
    INFO("boundary " << which);
    CHECK(what.end == "deadlock");
    CHECK(handle.done());
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S88: a slot in a parent's frame that a sibling fills is the sibling's") {
    waits_for_the_holder(
        [](auto&, lock& m, attempt& what, gate& at, auto&) { return has_a_slot(m, what, at); });
}

TEST_CASE("S85: a guard among what spawn(fn, args...) keeps lies in the task's own record") {
    lock m(0, "m");
    attempt what;
    stepped w;
    auto handle = w.spawn(spawns_with_guard(m, what, GENERATE(false, true)));
    w.settle();
    CHECK(what.end == "deadlock");
    CHECK(handle.done());
}

// The awaiting task has left its last frame, and has not returned into the loop yet.
TEST_CASE("S88: a child on another worker asks before the body, a function, has returned") {
    waits_for_the_holder([](stepped& w, lock& m, attempt& what, gate&, auto& kept) {
        return spawns_before_it_suspends(w, m, what, kept);
    });
}

TEST_CASE("S88: a moved guard is waited for in a sibling, in another task, and on the heap") {
    const unsigned where = GENERATE(0U, 1U, 2U);
    waits_for_the_holder([where](auto&, lock& m, attempt& what, gate& at, auto& kept) {
        if (where == 0) return moved_branches(m, what, at);
        if (where == 1) return gives_away_and_asks(m, what, at);
        return moves_to_heap_and_asks(m, what, kept);
    });
}

TEST_CASE("S85: a plain thread that holds a lock and blocks on a task that asks for it") {
    lock m(0, "m");
    attempt what;
    runtime here({.workers = 1});
    auto held = m.blocking_lock();
    here.block_on(blocks_on_who_asks(m, what));
    CHECK(what.end == "deadlock");
    held.unlock();
    here.block_on(blocks_on_who_asks(m, what));
    CHECK(what.end == "locked");
}

TEST_CASE("S88: sibling branches contend legitimately, and queue") {
    waits_for_the_holder(
        [](auto&, lock& m, attempt& what, gate& at, auto&) { return branches(m, what, at); });
}

TEST_CASE("S88: a spawned task that is not waited for queues behind its spawner") {
    waits_for_the_holder([](auto&, lock& m, attempt& what, gate& at, auto&) {
        return spawns_who_asks(m, what, at);
    });
}

TEST_CASE("S88: a lock that was held before is no deadlock") {
    lock m(0, "m");
    attempt what;
    stepped w;
    w.run(lets_go_and_asks(m, what));
    CHECK(what.end == "locked");
}
