// Counters that no interruption can break: the release policy.
//
// Shows: `mutex<T, on_cancel::release, on_exception::release>` for data that is right at every
// moment. A request that fails or is cancelled while it holds the lock leaves it as if nothing
// had happened: the next one counts on. A mutex with the default policy would have been
// poisoned by the second of these requests.
//
//     $ metrics_counters
//     served 2, failed 1, cancelled 1
//     poisoned: no
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct counters {
    int served = 0;
    int failed = 0;
    int cancelled = 0;
};
using metrics = sync::mutex<counters, sync::on_cancel::release, sync::on_exception::release>;

enum class kind { quick, broken, endless };

task<> request(metrics& counted, kind what) {
    auto held = co_await counted.lock();
    if (what == kind::broken) {
        ++held->failed;
        throw std::runtime_error("no such page");
    }
    if (what == kind::endless) {
        ++held->cancelled;
        co_await sleep_for(24h);
    }
    ++held->served;
}

task<> story(metrics& counted) {
    co_await request(counted, kind::quick);

    auto broken = spawn(request(counted, kind::broken), {.name = "broken"});
    const outcome<> first = co_await broken.outcome();
    auto endless = spawn(request(counted, kind::endless), {.name = "endless"});
    co_await sleep_for(5ms);
    endless.cancel();
    const outcome<> second = co_await endless.outcome();

    co_await request(counted, kind::quick);
    {
        const auto held = co_await counted.lock();
        std::printf("served %d, failed %d, cancelled %d\n", held->served, held->failed,
                    held->cancelled);
    }
    std::printf("poisoned: %s\n", counted.is_poisoned() ? "yes" : "no");
}

} // namespace

int main() {
    metrics counted({}, "metrics"); // outlives all tasks, whatever ends them
    return run(story(counted));
}
