// A poison_error made by hand is an exception that carries a record, and no more: neither is a
// lock poisoned because it was made or thrown, nor is one healed because it was caught.
//
// Shows: an error without a cause; one with the cause of a lock that is poisoned, thrown in a
// section of another lock, which it poisons as any exception would, and links to the first;
// that it is a record of then, and not of now; and the way to poison by hand, guard.poison().
//
//     $ handmade_error
//     without a cause: "poisoned", it knows of no cause; the lock is healthy
//     asked for more: an empty poison_cause knows nothing: ask it by its operator bool
//     thrown in a section: the lock is poisoned, linked to nothing
//     caught: ledger is poisoned, index is poisoned
//     index is linked to: the sum is wrong
//     repaired: ledger is healthy, index is poisoned, the error still says: the sum is wrong
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace {

using namespace toadstone;

using data = sync::mutex<int>;

const char* state_of(const data& of) {
    return of.is_poisoned() ? "poisoned" : "healthy";
}

task<> throws_in_a_section(data& of, const poison_error& error) {
    auto held = co_await of.lock();
    throw poison_error(error);
}
task<> repair(data& of) {
    auto right = co_await of.recover();
    const auto held = right.complete();
}
std::string why_of(const poison_cause& cause) {
    return std::string(cause.why());
}

task<> without_a_cause(data& index) {
    const poison_error made{poison_cause()};
    std::printf("without a cause: \"%s\", it knows of %s; the lock is %s\n", made.what(),
                made.cause() ? "a cause" : "no cause", state_of(index));
    try {
        static_cast<void>(made.cause().task_name());
    } catch (const std::logic_error& error) {
        std::printf("asked for more: %s\n", error.what());
    }
    try {
        co_await throws_in_a_section(index, made);
    } catch (const poison_error&) {
        // Of which lock it speaks nobody can say.
    }
    std::printf("thrown in a section: the lock is %s, linked to %s\n", state_of(index),
                index.cause().linked() ? "another" : "nothing");
    co_await repair(index);
}

task<> says_so(data& of) {
    auto held = co_await of.lock();
    held.poison("the sum is wrong"); // the way to poison by hand
}

task<> with_a_cause(data& ledger, data& index) {
    co_await says_so(ledger);
    const poison_error made(ledger.cause());
    try {
        co_await throws_in_a_section(index, made);
    } catch (const poison_error&) {
        std::printf("caught: ledger is %s, index is %s\n", state_of(ledger), state_of(index));
    }
    std::printf("index is linked to: %s\n", why_of(index.cause().first()).c_str());
    co_await repair(ledger);
    std::printf("repaired: ledger is %s, index is %s, the error still says: %s\n",
                state_of(ledger), state_of(index), why_of(made.cause()).c_str());
    co_await repair(index);
}

task<> story(data& ledger, data& index) {
    co_await without_a_cause(index);
    co_await with_a_cause(ledger, index);
}

} // namespace

int main() {
    data ledger(0, "ledger");
    data index(0, "index");
    return run(story(ledger, index));
}
