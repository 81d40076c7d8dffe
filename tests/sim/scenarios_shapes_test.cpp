// Trees of boundaries, built by choice: whatever stands around what, nobody goes on as if the
// work inside had been done when it was torn down.
//
// Each section takes something from one side of an account, has it added to the other side
// somewhere inside a boundary, and checks the sum when it goes on. So a boundary that returns
// although its inside is not done is found where it returns, and a lock that says nothing of a
// section that was left half-way is found at the end.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <deque>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;

struct account {
    int left = 100;
    int right = 0; // together always 100
    [[nodiscard]] bool balanced() const noexcept { return left + right == 100; }
};
using locked_account = sync::mutex<account>;

/// One run: the choices, and every account that a section of it has used.
struct tree {
    sim::world& world;
    sightings& seen;
    std::deque<locked_account> accounts;
    bool one_may_fail = false;

    [[nodiscard]] locked_account& fresh() { return accounts.emplace_back(); }
    [[nodiscard]] unsigned choose(unsigned n) { return pick(world, n); }
    [[nodiscard]] spawn_options anywhere() { return on(static_cast<int>(choose(2)), "child"); }
};

task<> section(tree& in, unsigned depth);

/// What a section waits for: without it the account is not balanced.
task<> credit(tree& in, unsigned depth, account& to) {
    if (depth > 0) co_await section(in, depth - 1);
    co_await some_turns(in.world, 2);
    co_await sleep_for(1us);
    if (in.one_may_fail && in.choose(4) == 3) throw boom();
    to.right += 30;
}
task<int> credit_and_tell(tree& in, unsigned depth, account& to) {
    co_await credit(in, depth, to);
    co_return 30;
}
task<> never() {
    co_await sleep_for(1h);
}
task<> nothing() {
    co_return;
}

task<> scope_that_only_spawns(tree& in, unsigned depth, account& to) {
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(credit(in, depth, to), in.anywhere()).detach();
        co_return;
    };
    co_await with_scope(body);
}
task<> scope_with_a_value(tree& in, unsigned depth, account& to) {
    const auto body = [&](task_scope& scope) -> task<int> {
        scope.spawn(credit(in, depth, to), in.anywhere()).detach();
        co_return 30;
    };
    const int told = co_await with_scope(body);
    expect(told == 30, "a scope has returned another value");
}
task<> scope_whose_body_joins(tree& in, unsigned depth, account& to) {
    const auto body = [&](task_scope& scope) -> task<int> {
        auto child = scope.spawn(credit_and_tell(in, depth, to), in.anywhere());
        co_return co_await child;
    };
    const int told = co_await with_scope(body);
    expect(told == 30, "a scope has returned another value");
}
task<> spawns_into(task_scope& scope, tree& in, unsigned depth, account& to) {
    co_await some_turns(in.world, 1);
    scope.spawn(credit(in, depth, to), in.anywhere()).detach();
}
task<> scope_whose_child_spawns(tree& in, unsigned depth, account& to) {
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(spawns_into(scope, in, depth, to), in.anywhere()).detach();
        co_return;
    };
    co_await with_scope(body);
}
task<> scope_in_a_scope(tree& in, unsigned depth, account& to) {
    const auto inner = [&](task_scope& scope) -> task<> {
        scope.spawn(credit(in, depth, to), in.anywhere()).detach();
        co_return;
    };
    const auto outer = [&](task_scope& scope) -> task<> {
        scope.spawn(nothing(), in.anywhere()).detach();
        co_await with_scope(inner);
    };
    co_await with_scope(outer);
}

/// Some way to have it done.
task<> by_some_scope(tree& in, unsigned depth, account& to) {
    bool done = true;
    switch (const unsigned which = in.choose(6); which) {
    case 0:
        co_await scope_that_only_spawns(in, depth, to);
        break;
    case 1:
        co_await scope_with_a_value(in, depth, to);
        break;
    case 2:
        co_await scope_whose_body_joins(in, depth, to);
        break;
    case 3:
        co_await scope_whose_child_spawns(in, depth, to);
        break;
    case 4:
        co_await scope_in_a_scope(in, depth, to);
        break;
    default:
        co_await credit(in, depth, to);
        done = false;
    }
    if (done) in.seen.note("a scope has ended");
}

/// A boundary around it that adds nothing of its own: no limit is reached, no race is lost.
task<> by_some_boundary(tree& in, unsigned depth, account& to) {
    cancellation_source quiet;
    switch (const unsigned which = in.choose(10); which) {
    case 0:
        co_await by_some_scope(in, depth, to);
        break;
    case 1:
        co_await with_timeout(1h, by_some_scope(in, depth, to));
        break;
    case 2: {
        auto end = co_await try_with_timeout(1h, by_some_scope(in, depth, to));
        std::move(end).value();
        break;
    }
    case 3: {
        auto end = co_await as_outcome(by_some_scope(in, depth, to));
        std::move(end).value();
        break;
    }
    case 4:
        co_await with_token(quiet.token(), by_some_scope(in, depth, to));
        break;
    case 5:
        co_await shield(by_some_scope(in, depth, to));
        break;
    case 6: {
        auto first = co_await when_any(by_some_scope(in, depth, to), never());
        expect(first.index == 0, "somebody has won who never ends");
        break;
    }
    case 7:
        co_await when_all(by_some_scope(in, depth, to), nothing(), section(in, 0));
        break;
    case 8: // the body has ended; only the cleanup is left
        co_await finally(nothing(), by_some_scope(in, depth, to));
        break;
    default:
        co_await finally(by_some_scope(in, depth, to), section(in, 0));
    }
}

task<> section(tree& in, unsigned depth) {
    locked_account& own = in.fresh();
    auto held = co_await own.lock();
    held->left -= 30;
    co_await by_some_boundary(in, depth, *held);
    expect(held->balanced(), "a section has gone on although its work was not done");
    held.unlock();
    co_await some_turns(in.world, 1);
}

task<> all_of_it(tree& in, unsigned how) {
    switch (how) {
    case 0:
    case 1:
        co_await section(in, 1);
        break;
    case 2: {
        const auto limit = std::chrono::microseconds(in.choose(4) + 1);
        auto end = co_await try_with_timeout(limit, section(in, 1));
        in.seen.note(end.is_cancelled() ? "timed out" : "in time");
        break;
    }
    default: {
        const auto body = [&](task_scope& scope) -> task<> {
            scope.spawn(section(in, 1), in.anywhere()).detach();
            co_return;
        };
        co_await with_scope(body);
    }
    }
}

task<> shapes(sim::world& world, sightings& seen) {
    tree in{world, seen, {}, false};
    const unsigned how = pick(world, 5);
    in.one_may_fail = how == 4;
    const auto body = [&](task_scope& scope) -> task<> {
        auto work = scope.spawn(as_outcome(all_of_it(in, how)), on(0, "work"));
        co_await some_turns(world, 6);
        if (how == 1 || how == 3) work.cancel();
        auto end = co_await work.outcome();
        if (end.is_cancelled()) seen.note("cancelled");
        if (end.has_value() && end.value().has_exception()) {
            try {
                std::rethrow_exception(end.value().exception());
            } catch (const boom&) {
                seen.note("failed");
            }
        }
    };
    co_await with_scope(body);
    for (locked_account& each : in.accounts) {
        const bool balanced = each.get_mut(sync::ignore_poison).balanced();
        expect(balanced || each.is_poisoned(),
               "a section was left half-way and the lock does not say so");
        expect(how != 0 || !each.is_poisoned(), "nobody was interrupted, but a lock says so");
        if (each.is_poisoned()) seen.note("poisoned");
    }
}

} // namespace

TEST_CASE("S83: nobody goes on as if work that was torn down inside a boundary had been done "
          "(explored)") {
    auto options = schedules(2, 2);
    options.random_runs = 3000;
    options.pct_runs = 300;
    explored(options, shapes,
             {"a scope has ended", "timed out", "in time", "cancelled", "failed", "poisoned"});
}

} // namespace toadstone::tests
