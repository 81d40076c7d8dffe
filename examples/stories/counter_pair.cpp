// Two counters that belong together, under a lock that nobody ever poisons although its policy
// is the default one: the section is written so that nothing can end it in the middle.
//
// Shows: what may fail comes before the lock; lock() is the last co_await before the section's
// end, so a cancellation finds the task before the first change or after the last one; who
// waits under the lock only looks, and says so by mark_consistent(). (metrics_counters has the
// other way: a section that waits, and the policy release.)
//
//     $ counter_pair
//     fails: a message of -1 bytes
//     stopped while it looks: cancelled
//     stopped while it waits for the lock: cancelled
//     3 messages, 300 bytes
//     poisoned: no
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct counters {
    long messages = 0;
    long bytes = 0; // always 100 for each message
};
using traffic = sync::mutex<counters>;

task<> count(traffic& all, int bytes) {
    if (bytes < 0) {
        throw std::invalid_argument("a message of " + std::to_string(bytes) + " bytes");
    }
    auto held = co_await all.lock(); // the last place where it can be stopped
    ++held->messages;                // from here on nothing waits, and nothing throws
    held->bytes += bytes;
}

task<> look_for_long(traffic& all) {
    auto held = co_await all.lock();
    held.mark_consistent(); // it changes nothing
    co_await sleep_for(1h);
}

task<> story(traffic& all) {
    co_await when_all(count(all, 100), count(all, 100));
    try {
        co_await count(all, -1);
    } catch (const std::invalid_argument& error) {
        std::printf("fails: %s\n", error.what());
    }

    auto looks = spawn(look_for_long(all), {.name = "looks"});
    co_await yield_now();
    auto waits = spawn(count(all, 100), {.name = "waits"});
    auto counts = spawn(count(all, 100), {.name = "counts"}); // behind it in line
    co_await sleep_for(5ms);
    waits.cancel();
    looks.cancel();
    const outcome<> looked = co_await looks.outcome();
    std::printf("stopped while it looks: %s\n", looked.is_cancelled() ? "cancelled" : "no");
    const outcome<> waited = co_await waits.outcome();
    std::printf("stopped while it waits for the lock: %s\n",
                waited.is_cancelled() ? "cancelled" : "no");
    static_cast<void>(co_await counts.outcome());

    {
        const auto held = co_await all.lock();
        std::printf("%ld messages, %ld bytes\n", held->messages, held->bytes);
    }
    std::printf("poisoned: %s\n", all.is_poisoned() ? "yes" : "no");
}

} // namespace

int main() {
    traffic all({}, "traffic"); // outlives all tasks, whatever ends them
    return run(story(all));
}
