// The mutex under real threads: no schedule is the test's own here, only what holds in all of
// them. Catch2 checks on the main thread alone; tasks count in atomics.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <csignal>
#include <pthread.h>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

using handles = std::vector<join_handle<void>>;

/// Joins all of them, however they end. Returns how many were cancelled.
task<int> join(handles& all) {
    int cancelled = 0;
    for (auto& each : all) {
        auto end = co_await each.outcome();
        if (end.is_cancelled()) ++cancelled;
    }
    co_return cancelled;
}

/// Burns a little time, so that two threads meet in ever new ways. Not a wait for anything.
void dawdle(unsigned turns) {
    for (std::atomic<unsigned> each = 0; each.load() < turns; each.fetch_add(1)) {
    }
}

void wait_for(std::atomic<int>& counter, int value) {
    for (int now = counter.load(); now < value; now = counter.load()) counter.wait(now);
}
void count_up(std::atomic<int>& counter) {
    counter.fetch_add(1);
    counter.notify_all();
}

placement spread(int index) {
    return placement::worker(static_cast<unsigned>(index));
}

task<> increment(mutex<int>& m, int times) {
    for (int i = 0; i < times; ++i) {
        auto held = co_await m.lock();
        const int before = *held;
        if (i % 4 == 0) co_await yield_now();
        *held = before + 1;
    }
}

} // namespace

TEST_CASE("stress: tasks of several workers and plain threads exclude each other") {
    const auto frames = detail::live_frames();
    const auto order = GENERATE(sync::fairness::strict, sync::fairness::batched);
    mutex<int> m(0, "counter", order); // an ordinary int: ThreadSanitizer looks at it too
    {
        runtime here({.workers = 3});
        handles tasks;
        for (int i = 0; i < 9; ++i) {
            tasks.push_back(here.spawn(increment(m, 200), {.where = spread(i)}));
        }
        std::thread plain([&m] {
            for (int i = 0; i < 200; ++i) {
                auto held = m.blocking_lock();
                *held += 1;
            }
        });
        here.block_on(join(tasks));
        plain.join();
    }
    CHECK(m.get_mut() == 10 * 200);
    CHECK(detail::live_frames() == frames);
}

namespace {

/// Healthy data has two equal halves.
struct halves {
    long first = 0;
    long second = 0;
};
struct tally {
    std::atomic<int> changes = 0;
    std::atomic<int> repairs = 0;
    std::atomic<int> broken = 0; ///< entered a healthy lock and found unhealthy data
};

task<> repair_halves(mutex<halves>& m, tally& counts) {
    auto right = co_await m.recover();
    if (right.needed()) {
        right->second = right->first;
        co_await yield_now();
        counts.repairs.fetch_add(1);
    }
    auto held = right.complete();
    if (held->first != held->second) counts.broken.fetch_add(1);
}

task<> change_halves(mutex<halves>& m, tally& counts, int times) {
    for (int i = 0; i < times; ++i) {
        bool poisoned = false;
        try {
            auto held = co_await m.lock();
            if (held->first != held->second) counts.broken.fetch_add(1);
            held->first += 1;
            co_await yield_now();
            held->second += 1;
            held.unlock();
            counts.changes.fetch_add(1);
        } catch (const poison_error&) {
            poisoned = true;
        }
        if (poisoned) co_await repair_halves(m, counts);
    }
}

} // namespace

TEST_CASE(
    "stress: whoever is cancelled, waiters, holders and repairers, healthy data is whole or "
    "the mutex is poisoned") {
    const auto frames = detail::live_frames();
    mutex<halves> m;
    tally counts;
    std::minstd_rand random(4);
    {
        runtime here({.workers = 3});
        for (int round = 0; round < 60; ++round) {
            handles tasks;
            for (int i = 0; i < 8; ++i) {
                tasks.push_back(
                    here.spawn(change_halves(m, counts, 1000000), {.where = spread(i)}));
            }
            for (auto& each : tasks) {
                dawdle(static_cast<unsigned>(random() % 20000));
                each.cancel();
            }
            here.block_on(join(tasks));
            const halves& now = m.get_mut(sync::ignore_poison); // nobody is there any more
            if (!m.is_poisoned() && now.first != now.second) counts.broken.fetch_add(1);
        }
        here.block_on(repair_halves(m, counts));
    }
    INFO(counts.changes << " changes, " << counts.repairs << " repairs");
    CHECK(counts.broken == 0);
    CHECK(counts.changes > 0);
    CHECK(m.get_mut().first >= counts.changes);
    CHECK(m.get_mut().first == m.get_mut().second);
    CHECK(detail::live_frames() == frames);
}

namespace {

task<> pass_counting(mutex<int>& m, std::atomic<int>& arriving) {
    count_up(arriving);
    auto held = co_await m.lock();
    *held += 1;
}

} // namespace

TEST_CASE(
    "S2: an unlock and the cancellation of the head waiter race: the one behind is served "
    "in every case") {
    const auto frames = detail::live_frames();
    mutex<int> m;
    std::minstd_rand random(2);
    int cancelled = 0;
    constexpr int rounds = 300;
    {
        runtime here({.workers = 2});
        for (int round = 0; round < rounds; ++round) {
            std::atomic<int> arriving = 0;
            auto held = m.blocking_lock();
            handles waiters;
            for (int i = 0; i < 3; ++i) {
                waiters.push_back(
                    here.spawn(pass_counting(m, arriving), {.where = spread(round + i)}));
            }
            wait_for(arriving, 3);
            std::thread canceller([&waiters, turns = random() % 300] {
                dawdle(static_cast<unsigned>(turns));
                waiters.front().cancel();
            });
            dawdle(static_cast<unsigned>(random() % 300));
            held.unlock();
            canceller.join();
            cancelled += here.block_on(join(waiters)); // would hang if one were stranded
        }
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.get_mut() == 3 * rounds - cancelled);
    CHECK(cancelled <= rounds);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S6: a request that lands anywhere on the way into the queue is not lost") {
    const auto frames = detail::live_frames();
    mutex<int> m;
    std::minstd_rand random(6);
    constexpr int rounds = 1500;
    int cancelled = 0;
    {
        auto held = m.blocking_lock(); // until all is over: only the request ends the wait
        runtime here({.workers = 2});
        for (int round = 0; round < rounds; ++round) {
            std::atomic<int> arriving = 0;
            handles waiters;
            waiters.push_back(here.spawn(pass_counting(m, arriving), {.where = spread(round)}));
            if (round % 2 == 0) wait_for(arriving, 1);
            dawdle(static_cast<unsigned>(random() % 50));
            waiters.front().cancel();
            cancelled += here.block_on(join(waiters));
        }
    }
    CHECK(cancelled == rounds);
    CHECK(m.get_mut() == 0);
    CHECK(detail::live_frames() == frames);
}

namespace {

/// Leaves broken data behind, by an exception.
task<> break_halves(mutex<halves>& m, tally& counts) {
    try {
        auto held = co_await m.lock();
        held->first += 1;
        throw std::runtime_error("boom");
    } catch (const std::exception&) {
        counts.changes.fetch_add(1);
    }
}

/// Looks without asking for health: what is broken must be known to be.
task<> inspect_halves(mutex<halves>& m, tally& counts) {
    auto looked = co_await m.lock_or_poison();
    auto& held = looked.guard();
    const bool healthy = held->first == held->second;
    if (static_cast<bool>(looked) && !healthy) counts.broken.fetch_add(1);
    if (!healthy) {
        held->second = held->first;
        held.clear_poison();
        counts.repairs.fetch_add(1);
    }
}

task<> expect_healthy(mutex<halves>& m, tally& counts) {
    try {
        auto held = co_await m.lock();
        if (held->first != held->second) counts.broken.fetch_add(1);
    } catch (const poison_error&) {
    }
}

} // namespace

TEST_CASE("S48: poisoning and hand-over are one step: no next owner sees the data without the "
          "poison") {
    const auto frames = detail::live_frames();
    mutex<halves> m;
    tally counts;
    {
        runtime here({.workers = 3});
        for (int round = 0; round < 60; ++round) {
            handles tasks;
            for (int i = 0; i < 12; ++i) {
                auto next = i % 3 == 0   ? break_halves(m, counts)
                            : i % 3 == 1 ? inspect_halves(m, counts)
                                         : expect_healthy(m, counts);
                tasks.push_back(here.spawn(std::move(next), {.where = spread(i / 2 + round)}));
            }
            here.block_on(join(tasks));
        }
    }
    CHECK(counts.broken == 0);
    CHECK(counts.changes == 60 * 4);
    CHECK(counts.repairs > 0);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S69: many threads cancel the same tasks at once: each ends once, and the lock is in "
          "order") {
    const auto frames = detail::live_frames();
    mutex<halves> m;
    tally counts;
    {
        runtime here({.workers = 2});
        for (int round = 0; round < 40; ++round) {
            handles tasks;
            for (int i = 0; i < 8; ++i) {
                tasks.push_back(
                    here.spawn(change_halves(m, counts, 1000000), {.where = spread(i)}));
            }
            std::array<std::thread, 3> cancellers;
            for (auto& each : cancellers) {
                each = std::thread([&tasks] {
                    for (auto& victim : tasks) victim.cancel();
                });
            }
            for (auto& each : cancellers) each.join();
            CHECK(here.block_on(join(tasks)) == 8);
        }
        here.block_on(repair_halves(m, counts));
    }
    CHECK(counts.broken == 0);
    CHECK(detail::live_frames() == frames);
}

namespace {

std::atomic<int> signals_seen = 0;
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void note_signal(int) {
    signals_seen.fetch_add(1, std::memory_order_relaxed);
}

/// SIGUSR1 goes to note_signal, without SA_RESTART, while this lives.
class signal_scope {
public:
    signal_scope() {
        struct sigaction act{};
        act.sa_handler = note_signal;
        sigemptyset(&act.sa_mask);
        ::sigaction(SIGUSR1, &act, &before_);
    }
    ~signal_scope() { ::sigaction(SIGUSR1, &before_, nullptr); }
    signal_scope(const signal_scope&) = delete;
    signal_scope& operator=(const signal_scope&) = delete;

private:
    struct sigaction before_{};
};

task<pthread_t> ask_thread() {
    co_return pthread_self();
}

task<> increment_and_sleep(mutex<int>& m, int times, std::atomic<int>& ended) {
    for (int i = 0; i < times; ++i) {
        auto held = co_await m.try_lock_for(1h);
        const int before = **held;
        if (i % 8 == 0) co_await sleep_for(100us); // the workers sleep in the kernel meanwhile
        **held = before + 1;
    }
    ended.fetch_add(1);
}

} // namespace

TEST_CASE("S76: a storm of SIGUSR1 on the workers and on a waiting thread loses no wake-up") {
    const auto frames = detail::live_frames();
    const signal_scope handled;
    mutex<int> m;
    std::atomic<int> ended = 0;
    {
        runtime here({.workers = 2});
        std::vector<pthread_t> targets;
        for (int i = 0; i < 2; ++i) {
            auto asked = here.spawn(ask_thread(), {.where = spread(i)});
            targets.push_back(here.block_on(std::move(asked)));
        }
        handles tasks;
        for (int i = 0; i < 6; ++i) {
            tasks.push_back(
                here.spawn(increment_and_sleep(m, 60, ended), {.where = spread(i)}));
        }
        std::thread plain([&] {
            for (int i = 0; i < 60; ++i) {
                auto held = m.blocking_lock();
                *held += 1;
            }
            ended.fetch_add(1);
        });
        targets.push_back(plain.native_handle());
        while (ended.load() < 7) {
            for (const pthread_t target : targets) pthread_kill(target, SIGUSR1);
            std::this_thread::yield();
        }
        plain.join();
        here.block_on(join(tasks));
    }
    CHECK(signals_seen > 0);
    CHECK(m.get_mut() == 7 * 60);
    CHECK(detail::live_frames() == frames);
}

} // namespace toadstone::tests
