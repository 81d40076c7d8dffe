// An operation is lost between its removal from a map and its return. Who notices depends on
// what becomes of the task that failed; the next lock() always does.
//
// Shows: the same failure with the task joined, not joined, caught, caught inside the section,
// and in a scope; on_unobserved(), on_poison(), and the repair. For the process that is aborted
// see operations_abort; docs/stories.md has the whole table.
//
//     $ operations_map
//     joined
//       on_poison(): joined
//       whoever joins: no printer
//       the next lock(): poisoned by joined
//       the map: operation 1 is missing
//     not joined
//       on_poison(): not joined
//       on_unobserved(): not joined failed and nobody joined it: no printer
//       the next lock(): poisoned by not joined
//       the map: operation 1 is missing
//     caught
//       on_poison(): caught
//       whoever joins: nothing
//       the next lock(): poisoned by caught
//       the map: operation 1 is missing
//     caught inside
//       on_poison(): caught inside
//       whoever joins: nothing
//       the next lock(): poisoned by caught inside
//       the map: operation 1 is missing
//     in a scope
//       on_poison(): in a scope
//       the scope's caller: no printer
//       its sibling: cancelled (sibling_failed)
//       the next lock(): poisoned by in a scope
//       the map: operation 1 is missing
#include "operations.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using namespace toadstone;
using namespace stories;
using namespace std::chrono_literals;

/// Whoever comes next, and the repair.
task<> next_one(store& all) {
    try {
        const auto held = co_await all.lock();
        tell("the next lock()", "healthy");
    } catch (const poison_error& error) {
        tell("the next lock()", "poisoned by " + std::string(error.cause().task_name()));
    }
    auto repair = co_await all.recover();
    tell("the map", repair->contains(1) ? "whole" : "operation 1 is missing");
    repair->try_emplace(1, "queued"); // as the client's request says
    const auto held = repair.complete();
}

task<> joined(store& all) {
    auto failing = spawn(advance(all, 1, no_printer), {.name = "joined"});
    const outcome<> end = co_await failing.outcome();
    tell("whoever joins", told(end));
}

task<> not_joined(store& all) {
    spawn(advance(all, 1, no_printer), {.name = "not joined"}).detach();
    co_await sleep_for(10ms);
}

// The exception has left the section by then.
task<> answers_its_client(store& all) {
    try {
        co_await advance(all, 1, no_printer);
    } catch (const std::runtime_error&) {
        // The client gets an error, and that is that.
    }
}
task<> caught(store& all) {
    auto failing = spawn(answers_its_client(all), {.name = "caught"});
    const outcome<> end = co_await failing.outcome();
    tell("whoever joins", told(end));
}

// An exception that does not leave the section poisons nothing: its handler has to say it.
task<> swallows(store& all) {
    auto held = co_await all.lock();
    auto taken = held->extract(1);
    try {
        taken.mapped() = no_printer();
        held->insert(std::move(taken));
    } catch (const std::runtime_error& error) {
        held.poison("operation 1 is lost"); // without this line nobody would ever know
    }
}
task<> caught_inside(store& all) {
    auto failing = spawn(swallows(all), {.name = "caught inside"});
    const outcome<> end = co_await failing.outcome();
    tell("whoever joins", told(end));
}

task<> serves_another_client() {
    co_await sleep_for(1h);
}
task<> in_a_scope(store& all) {
    join_handle<> sibling;
    auto body = [&](task_scope& scope) -> task<> {
        sibling = scope.spawn(serves_another_client(), {.name = "sibling"});
        scope.spawn(advance(all, 1, no_printer), {.name = "in a scope"}).detach();
        co_return;
    };
    const outcome<> end = co_await as_outcome(with_scope(body));
    tell("the scope's caller", told(end));
    const outcome<> other = co_await sibling.outcome();
    tell("its sibling", told(other));
}

task<> story(store& all) {
    using variant = task<>(store&);
    const std::pair<const char*, variant*> variants[] = {{"joined", joined},
                                                         {"not joined", not_joined},
                                                         {"caught", caught},
                                                         {"caught inside", caught_inside},
                                                         {"in a scope", in_a_scope}};
    for (const auto& [name, how] : variants) {
        std::puts(name);
        co_await how(all);
        co_await next_one(all);
    }
}

} // namespace

int main() {
    on_poison(
        [](const poison_cause& cause) { tell("on_poison()", std::string(cause.task_name())); });
    on_unobserved([](const unobserved_failure& failure) {
        tell("on_unobserved()", std::string(failure.task_name) + std::string(failure.what) +
                                    ": " + text_of(failure.error));
    });
    store all({{1, "queued"}, {2, "queued"}}, "operations"); // outlives all tasks
    return run(story(all));
}
