// Upgrades by plain threads and by tasks of two workers.
#include <toadstone/sync/shared_mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::shared_mutex<int>;

} // namespace

TEST_CASE("S363: alone, try_upgrade() succeeds though others look at the queue") {
    lock m;
    std::atomic<bool> over{false};
    std::thread looks([&] {
        while (!over) static_cast<void>(m.waiters());
    });
    int failed = 0;
    for (int i = 0; i < 20000; ++i) {
        auto reading = m.try_upgradable();
        if (!reading || !reading->try_upgrade()) ++failed;
    }
    over = true;
    looks.join();
    CHECK(failed == 0);
}

TEST_CASE("S363: plain threads and tasks of two workers upgrade: no change is lost, and what "
          "was read is true still") {
    constexpr int rounds = 300;
    lock m;
    std::atomic<int> torn{0};
    std::atomic<int> changes{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < rounds; ++round) {
                auto reading = m.blocking_upgradable();
                const int seen = *reading;
                if (round % 3 == 0) continue;
                auto held = reading.blocking_upgrade();
                if (*held != seen) torn = 1;
                ++*held;
                ++changes;
                auto down = m.downgrade_to_upgradable(std::move(held));
                if (*down != seen + 1) torn = 1;
            }
        });
    }
    runtime r({.workers = 2});
    auto party = [&]() -> task<> {
        for (int round = 0; round < rounds; ++round) {
            if (round % 2) {
                auto held = co_await m.read();
                co_await yield_now();
                continue;
            }
            auto reading = co_await m.upgradable();
            const int seen = *reading;
            co_await yield_now();
            auto held = co_await reading.try_upgrade_for(1ms);
            if (!held) continue;
            if (**held != seen) torn = 1;
            ++**held;
            ++changes;
        }
    };
    auto all = [&]() -> task<> {
        auto one = spawn(party(), {.where = placement::worker(0)});
        auto two = spawn(party(), {.where = placement::worker(1)});
        auto three = spawn(party(), {.where = placement::worker(1)});
        co_await one;
        co_await two;
        co_await three;
    };
    r.block_on(all());
    for (auto& each : threads) each.join();
    CHECK(torn.load() == 0);
    CHECK(m.get_mut() == changes.load());
}

} // namespace toadstone::tests
