// A task is cancelled in the middle of a critical section. The mutex knows it, says why, and is
// repaired by whoever comes next.
//
//     $ poison_and_recover
//     transfer: cancelled
//     mutex 'accounts' poisoned: task 2 'transfer' was cancelled (timeout) at
//         poison_and_recover.cpp:32 holding the lock taken at poison_and_recover.cpp:30
//     repaired: alice has 100, bob has 0
//     in use again: alice has 70, bob has 30
//
// (A line that goes on is indented further.)
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct accounts {
    int alice = 100;
    int bob = 0; // together always 100
};
using bank = sync::mutex<accounts>;

task<> transfer(bank& money, std::chrono::milliseconds answer_takes) {
    auto held = co_await money.lock();
    held->alice -= 30;
    co_await sleep_for(answer_takes); // somebody else is asked; the invariant is broken
    held->bob += 30;
}

task<> story(bank& money) {
    auto hasty = spawn(transfer(money, 1h), {.name = "transfer"});
    co_await sleep_for(10ms);
    hasty.cancel(cancel_reason::timeout);
    const outcome<> end = co_await hasty.outcome(); // by now it is torn down
    std::printf("transfer: %s\n", end.is_cancelled() ? "cancelled" : "not cancelled");

    try {
        auto held = co_await money.lock();
        std::puts("unreachable: nobody enters a section that was left in the middle");
    } catch (const poison_error& error) {
        std::puts(error.what());
    }

    auto repair = co_await money.recover(); // one task at a time
    repair->alice = 100 - repair->bob;      // what bob has not got, alice still has
    auto held = repair.complete();
    std::printf("repaired: alice has %d, bob has %d\n", held->alice, held->bob);
    held.unlock();

    co_await transfer(money, 1ms);
    held = co_await money.lock();
    std::printf("in use again: alice has %d, bob has %d\n", held->alice, held->bob);
}

} // namespace

int main() {
    bank money(accounts{}, "accounts"); // outlives all tasks, whatever ends them
    return run(story(money));
}
