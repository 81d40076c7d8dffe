// The bank of the README, with a transaction: an interrupted transfer has not happened.
//
// Shows: `co_await m.transaction()`. The section works on a copy; `commit()` puts it in the
// place of the data. Left by a cancellation, an exception or a return, the data is as it was
// and the lock stays healthy: nobody has to repair anything.
//
//     $ transfer
//     hasty transfer: cancelled
//     alice 100, bob 0
//     overdrawn: alice has only 100
//     alice 100, bob 0
//     transfer: done
//     alice 70, bob 30
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct accounts {
    int alice = 100;
    int bob = 0; // together always 100
};
using bank = sync::mutex<accounts>;

task<> transfer(bank& money, int amount, std::chrono::milliseconds answer_takes) {
    auto books = co_await money.transaction();
    books->alice -= amount;
    co_await sleep_for(answer_takes); // somebody else is asked; the copy is half done
    if (books->alice < 0) {
        throw std::runtime_error("alice has only " + std::to_string(books->alice + amount));
    }
    books->bob += amount;
    books.commit();
}

task<> show(bank& money) {
    const auto held = co_await money.lock();
    std::printf("alice %d, bob %d\n", held->alice, held->bob);
}

task<> story(bank& money) {
    auto hasty = spawn(transfer(money, 30, 1h), {.name = "transfer"});
    co_await sleep_for(10ms);
    hasty.cancel(cancel_reason::timeout);
    const outcome<> end = co_await hasty.outcome();
    std::printf("hasty transfer: %s\n", end.is_cancelled() ? "cancelled" : "not cancelled");
    co_await show(money);

    try {
        co_await transfer(money, 130, 1ms);
    } catch (const std::runtime_error& error) {
        std::printf("overdrawn: %s\n", error.what());
    }
    co_await show(money);

    co_await transfer(money, 30, 1ms);
    std::puts("transfer: done");
    co_await show(money);
}

} // namespace

int main() {
    bank money(accounts{}, "accounts"); // outlives all tasks, whatever ends them
    return run(story(money));
}
