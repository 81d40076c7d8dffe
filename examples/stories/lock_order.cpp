// Two tasks take the same two locks in two orders, and wait for each other for ever. Nothing
// throws: would_deadlock knows of locks that a task itself holds, or one that waits for it, and
// here each waits for the other's lock. A simulation finds it (tests/sim/stories_test.cpp).
//
// Shows: how it looks, what stopping one of the two does (its first section is left in the
// middle, and the poison that it leaves ends the other one, too), and the cure: lock_all().
//
//     $ lock_order
//     one by one: both wait for each other
//       mutex 'alice', held by task 2, 1 waits
//       mutex 'bob', held by task 3, 1 waits
//     one is stopped, and the other meets its poison:
//       mutex 'alice', free, poisoned: task 2 'one' was cancelled (timeout) at
//         lock_order.cpp:38 holding the lock taken at lock_order.cpp:36
//       mutex 'bob', free, poisoned: task 3 'other' failed with toadstone::poison_error: mutex
//         'alice' poisoned: task 2 'one' was cancelled (timeout) at lock_order.cpp:38 holding
//         the lock taken at lock_order.cpp:36 holding the lock taken at lock_order.cpp:36
//     lock_all: alice 90, bob 10
//
// (A line that goes on is indented further.)
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

using account = sync::mutex<int>;

task<> one_by_one(account& from, account& to, int amount) {
    auto giver = co_await from.lock();
    co_await yield_now(); // the other one takes its first lock
    auto taker = co_await to.lock();
    *giver -= amount;
    *taker += amount;
}

task<> together(account& from, account& to, int amount) {
    auto held = co_await sync::lock_all(from, to); // one order for all who call it
    auto& [giver, taker] = held;
    *giver -= amount;
    co_await yield_now();
    *taker += amount;
}

void show(const account& of) {
    std::printf("  %s\n", to_string(of).c_str());
}
/// Nothing was moved: both locks come before the first change.
task<> repair(account& of) {
    auto right = co_await of.recover();
    const auto held = right.complete();
}

task<> deadlock(account& alice, account& bob) {
    // Whoever gives this up has to end them: they would wait for ever.
    abort_on_drop one(spawn(one_by_one(alice, bob, 30), {.name = "one"}));
    abort_on_drop other(spawn(one_by_one(bob, alice, 20), {.name = "other"}));
    co_await sleep_for(10ms);
    std::printf("one by one: %s\n",
                one.done() || other.done() ? "one has ended" : "both wait for each other");
    show(alice);
    show(bob);
    one.cancel(cancel_reason::timeout);
    static_cast<void>(co_await one.outcome());
    static_cast<void>(co_await other.outcome());
    std::puts("one is stopped, and the other meets its poison:");
    show(alice);
    show(bob);
    co_await repair(alice);
    co_await repair(bob);
}

task<> cure(account& alice, account& bob) {
    co_await when_all(together(alice, bob, 30), together(bob, alice, 20));
}

task<> story(account& alice, account& bob) {
    co_await deadlock(alice, bob);
    co_await cure(alice, bob);
    auto held = co_await sync::lock_all(alice, bob);
    std::printf("lock_all: alice %d, bob %d\n", *held.get<0>(), *held.get<1>());
}

} // namespace

int main() {
    account alice(100, "alice"); // outlive all tasks, whatever ends them
    account bob(0, "bob");
    return run(story(alice, bob));
}
