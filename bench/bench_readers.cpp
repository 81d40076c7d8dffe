// Readers of two workers at one shared mutex, beside two threads at a std::shared_mutex.
#include "measure.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <cstdint>
#include <cstdio>
#include <mutex>
#include <shared_mutex>
#include <thread>

namespace {

using namespace toadstone;

// The data is read under the lock; writers there are none.
double two_threads(std::uint64_t n) {
    std::shared_mutex mutex;
    int value = 0;
    const auto reads = [&](std::uint64_t times) {
        for (; times; --times) {
            const std::shared_lock held(mutex);
            int seen = value;
            bench::keep(seen);
        }
    };
    const bench::wall_stopwatch clock;
    std::thread other(reads, n / 2);
    reads(n - n / 2);
    other.join();
    return clock.ns();
}

task<> reads(sync::shared_mutex<int>& mutex, std::uint64_t n) {
    for (; n; --n) {
        const auto held = co_await mutex.read();
        int seen = *held;
        bench::keep(seen);
    }
}
task<double> two_workers(std::uint64_t n) {
    sync::shared_mutex<int> mutex;
    const bench::wall_stopwatch clock;
    auto other = spawn(reads(mutex, n / 2), {.where = placement::worker(1)});
    co_await reads(mutex, n - n / 2);
    co_await other;
    co_return clock.ns();
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(argc, argv, "Measures readers of two workers."));
    if (!all.single()) {
        std::printf("bench_readers: ns per reading, wall clock, %u interleaved rounds\n",
                    all.chosen().rounds);
    }
    bench::stage two(2, all);
    all.compare("two read at a time",
                {
                    {"std::shared_mutex, two threads", two_threads},
                    {"sync::shared_mutex, two workers", two.subject(two_workers)},
                });
    return all.result();
}
