// The detection without the lock, and the lock without the detection: poison<T>, alone and in a
// mutex whose own policy is to release.
//
// Shows: data that one task owns; `mutex<poison<T>, release, release>`, whose lock() never
// fails, so that everybody may come in, and who needs the data to be right asks for access().
// The access has to die before the guard does: declared behind it, it does.
//
//     $ poison_alone
//     alone: data 'own ledger' poisoned: task 1 'block_on' was cancelled (timeout) at
//         poison_alone.cpp:47 during the access begun at poison_alone.cpp:45
//     alone: alice 70, bob 30
//     composed: the lock is healthy
//     composed: data 'ledger' poisoned: task 1 'block_on' was cancelled (timeout) at
//         poison_alone.cpp:72 during the access begun at poison_alone.cpp:70
//     composed, a look all the same: alice 70, bob 0
//     composed: alice 70, bob 30
//
// (A line that goes on is indented further.)
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct ledger {
    int alice = 100;
    int bob = 0; // together always 100
};
using own_ledger = poison<ledger>;
using shared_ledger =
    sync::mutex<poison<ledger>, sync::on_cancel::release, sync::on_exception::release>;

void show(const char* when, const ledger& books) {
    std::printf("%s: alice %d, bob %d\n", when, books.alice, books.bob);
}

// --- alone: a task's own data ---

task<> move_alone(own_ledger& own, int amount, std::chrono::milliseconds takes) {
    auto books = own.access();
    books->alice -= amount;
    co_await sleep_for(takes);
    books->bob += amount;
}
task<> alone(own_ledger& own) {
    static_cast<void>(co_await try_with_timeout(5ms, move_alone(own, 30, 1h)));
    try {
        co_await move_alone(own, 30, 1ms);
    } catch (const poison_error& error) {
        std::printf("alone: %s\n", error.what());
    }
    {
        auto repair = own.recover();
        repair->alice = 100 - repair->bob;
        const auto books = repair.complete();
    }
    co_await move_alone(own, 30, 1ms);
    show("alone", own.view());
}

// --- composed: everybody may come in, and not everybody needs the data to be right ---

task<> move_shared(shared_ledger& all, int amount, std::chrono::milliseconds takes) {
    auto held = co_await all.lock();
    auto books = held->access(); // dies first: when the lock is free, the poison is there
    books->alice -= amount;
    co_await sleep_for(takes);
    books->bob += amount;
}
task<> look_all_the_same(shared_ledger& all) {
    auto held = co_await all.lock(); // never a poison_error
    auto books = held->access_anyway();
    show("composed, a look all the same", *books);
}
task<> begin_anew(shared_ledger& all) {
    auto held = co_await all.lock();
    *held = poison<ledger>(ledger(), "ledger"); // needs no repair of what was there
}
task<> composed(shared_ledger& all) {
    static_cast<void>(co_await try_with_timeout(5ms, move_shared(all, 30, 1h)));
    std::printf("composed: the lock is %s\n", all.is_poisoned() ? "poisoned" : "healthy");
    try {
        co_await move_shared(all, 30, 1ms);
    } catch (const poison_error& error) {
        std::printf("composed: %s\n", error.what());
    }
    co_await look_all_the_same(all);
    co_await begin_anew(all);
    co_await move_shared(all, 30, 1ms);
    auto held = co_await all.lock();
    show("composed", held->view());
}

task<> story(own_ledger& own, shared_ledger& all) {
    co_await alone(own);
    co_await composed(all);
}

} // namespace

int main() {
    own_ledger own(ledger(), "own ledger");
    shared_ledger all(poison<ledger>(ledger(), "ledger"), "shared");
    return run(story(own, all));
}
