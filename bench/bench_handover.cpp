// A strictly fair lock between two workers with few tasks on each: hand-overs per second beside
// a ping-pong of two spinning threads, and how often a thread sleeps for one.
#include "measure.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/resource.h>

namespace {

using namespace toadstone;

struct count {
    double millions_per_second = 0;
    double switches = 0; ///< voluntary context switches of the process per hand-over
};

double voluntary_switches() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_nvcsw);
}

class window {
public:
    explicit window(std::chrono::milliseconds length) noexcept : length_(length) {}
    /// Counts for a while what others add, and ends them. `noted` is theirs.
    count measure(const std::atomic<std::uint64_t>& noted) {
        std::this_thread::sleep_for(length_ / 4);
        const double switches = voluntary_switches();
        const std::uint64_t before = noted.load(std::memory_order_relaxed);
        const bench::wall_stopwatch clock;
        std::this_thread::sleep_for(length_);
        const double ns = clock.ns();
        const auto done = static_cast<double>(noted.load(std::memory_order_relaxed) - before);
        const count found{done * 1e3 / ns,
                          (voluntary_switches() - switches) / std::max(1.0, done)};
        over_.store(true, std::memory_order_relaxed);
        return found;
    }
    [[nodiscard]] bool over() const noexcept { return over_.load(std::memory_order_relaxed); }

private:
    std::chrono::milliseconds length_;
    std::atomic<bool> over_{false};
};

/// This thread on a processor of its own: on a busy machine two threads may share one for
/// longer than a round.
void stay_on(unsigned processor) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    const auto count = static_cast<unsigned>(CPU_COUNT(&allowed));
    for (std::size_t at = 0, seen = 0; at < CPU_SETSIZE; ++at) {
        if (!CPU_ISSET(at, &allowed) || seen++ != processor % count) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(at, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

task<> stays_on(unsigned processor) {
    stay_on(processor);
    co_return;
}

/// Two threads and one word: what a hand-over costs that nobody sleeps over.
count ping_pong(std::chrono::milliseconds length) {
    window in(length);
    alignas(64) std::atomic<std::uint64_t> turn{0};
    const auto player = [&](std::uint64_t parity) {
        stay_on(static_cast<unsigned>(parity));
        while (!in.over()) {
            const std::uint64_t seen = turn.load(std::memory_order_acquire);
            if (seen % 2 == parity) turn.store(seen + 1, std::memory_order_release);
        }
    };
    std::thread one(player, 0);
    std::thread other(player, 1);
    const count found = in.measure(turn);
    one.join();
    other.join();
    return found;
}

task<> client(sync::mutex<std::uint64_t>& mutex, window& in,
              std::atomic<std::uint64_t>& noted) {
    while (!in.over()) {
        const auto hold = co_await mutex.lock();
        noted.store(++*hold, std::memory_order_relaxed);
    }
}

task<> join_one(join_handle<void> one) {
    co_await one;
}
task<> join(std::vector<join_handle<void>>& clients) {
    for (auto& each : clients) co_await each;
}

count contend(runtime& two, unsigned each, std::chrono::milliseconds length) {
    sync::mutex<std::uint64_t> mutex(0);
    std::atomic<std::uint64_t> noted{0};
    window in(length);
    std::vector<join_handle<void>> clients;
    for (unsigned i = 0; i < 2 * each; ++i) {
        clients.push_back(
            two.spawn(client(mutex, in, noted), {.where = placement::worker(i % 2)}));
    }
    const count found = in.measure(noted);
    two.block_on(join(clients));
    return found;
}

void print(const char* name, const std::vector<count>& rounds, const std::vector<count>& peer) {
    std::vector<double> rates;
    std::vector<double> ratios;
    std::vector<double> switches;
    for (std::size_t i = 0; i < rounds.size(); ++i) {
        rates.push_back(rounds[i].millions_per_second);
        ratios.push_back(rounds[i].millions_per_second / peer[i].millions_per_second);
        switches.push_back(rounds[i].switches);
    }
    const double middle = bench::median(rates);
    std::printf("  %-36s %10.2f %10.2f %12.4f %8.2f\n", name, middle,
                *std::min_element(rates.begin(), rates.end()) / middle, bench::median(switches),
                bench::median(ratios));
}

} // namespace

int main(int argc, char** argv) {
    const bench::options chosen =
        bench::parse(argc, argv, "Measures hand-overs of a lock between two workers.");
    const auto length = std::chrono::milliseconds(chosen.brief ? 5 : 100);
    const unsigned rounds = chosen.brief ? 1 : chosen.rounds;
    constexpr unsigned sizes[] = {1, 2, 10, 100};
    std::vector<count> peer;
    std::vector<count> found[2][std::size(sizes)];
    runtime spinning({.workers = 2});
    runtime sleeping({.workers = 2, .longest_spin = std::chrono::microseconds(0)});
    runtime* const both[] = {&spinning, &sleeping};
    for (runtime* each : both) {
        for (unsigned i = 0; i < 2; ++i) {
            each->block_on(join_one(each->spawn(stays_on(i), {.where = placement::worker(i)})));
        }
    }
    for (unsigned i = 0; i < rounds; ++i) {
        peer.push_back(ping_pong(length));
        for (std::size_t k = 0; k < std::size(sizes); ++k) {
            for (std::size_t how = 0; how < 2; ++how) {
                found[how][k].push_back(contend(*both[how], sizes[k], length));
            }
        }
    }
    std::printf("bench_handover: 2 workers, %lld ms a round, %u rounds, wall clock\n"
                "  %-36s %10s %10s %12s %8s\n",
                static_cast<long long>(length.count()), rounds, "", "median M/s", "worst/med",
                "switches each", "ratio");
    print("two spinning threads", peer, peer);
    for (std::size_t how = 0; how < 2; ++how) {
        for (std::size_t k = 0; k < std::size(sizes); ++k) {
            char name[48];
            std::snprintf(name, sizeof name, "sync::mutex, 2 x %u tasks%s", sizes[k],
                          how ? ", no spinning" : "");
            print(name, found[how][k], peer);
        }
    }
    return 0;
}
