// Broadcasts and watches under real threads: what each receiver gets and misses adds up, and
// values are whole. Catch2 checks on the main thread alone; tasks count in what is theirs.
#include <toadstone/sync/broadcast.hpp>

#include <toadstone/runtime.hpp>
#include <toadstone/sync/watch.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;

#if defined(__SANITIZE_THREAD__)
constexpr int messages = 500;
#else
constexpr int messages = 20'000;
#endif
constexpr std::size_t senders = 3;

/// With a text, so that what is copied while it is replaced is found by the sanitizers.
struct leaf {
    std::size_t from = 0;
    int number = 0;
    std::string text;
};
std::string text_of(std::size_t from, int number) {
    return "a text that is longer than what a string has room for: " + std::to_string(from) +
           " " + std::to_string(number);
}

void send_one(const sync::broadcast::sender<leaf>& tx, std::size_t from, int number) {
    tx.send(leaf{from, number, text_of(from, number)});
}
task<> sends(sync::broadcast::sender<leaf> tx, std::size_t self) {
    for (int i = 0; i < messages; ++i) {
        send_one(tx, self, i);
        if (i % 8 == 0) co_await yield_now();
    }
}

/// What one receiver has seen; nobody else's.
struct account {
    std::array<int, senders> last{-1, -1, -1};
    std::uint64_t got = 0;
    std::uint64_t missed = 0;
    int broken = 0;

    void note(const leaf& message) {
        ++got;
        if (message.number <= last[message.from]) ++broken;
        if (message.text != text_of(message.from, message.number)) ++broken;
        last[message.from] = message.number;
    }
};

task<> receives(sync::broadcast::receiver<leaf> rx, account& to) {
    for (int i = 0;; ++i) {
        // Now and then it has no patience at all, and is cancelled at the tie, too.
        const auto limit = i % 2 == 0 ? std::chrono::nanoseconds(i % 50 * 100) : 1h;
        try {
            auto end = co_await try_with_timeout(limit, rx.recv());
            if (end.is_cancelled()) continue;
            const auto& message = end.value(); // or what recv() has thrown
            if (!message) break;
            to.note(*message);
        } catch (const sync::broadcast::lagged& error) {
            to.missed += error.missed();
        }
    }
}

task<> join(std::vector<join_handle<void>>& all) {
    for (auto& each : all) co_await each;
}

} // namespace

TEST_CASE(
    "S331: senders of two workers and a plain thread, receivers likewise, cancelled now and "
    "then: what each got and has missed is what was sent, in each sender's order") {
    const auto capacity = GENERATE(std::size_t{1}, std::size_t{5}, std::size_t{100'000});
    std::array<account, 4> all;
    {
        auto channel = sync::broadcast::channel<leaf>(capacity);
        auto& first = channel.rx;
        runtime here({.workers = 2});
        std::vector<join_handle<void>> tasks;
        for (unsigned i = 0; i < 3; ++i) {
            tasks.push_back(here.spawn(receives(first.resubscribe(), all[i]),
                                       {.where = placement::worker(i)}));
        }
        std::thread hears([rx = first.resubscribe(), &to = all[3]]() mutable {
            for (;;) {
                try {
                    const auto message = rx.blocking_recv();
                    if (!message) break;
                    to.note(*message);
                } catch (const sync::broadcast::lagged& error) {
                    to.missed += error.missed();
                }
            }
        });
        std::thread comes_and_goes([tx = channel.tx] {
            for (int i = 0; i < messages; ++i) {
                auto visitor = tx.subscribe();
                try {
                    if (i % 3 == 0) static_cast<void>(visitor.try_recv());
                } catch (const sync::broadcast::lagged&) {
                }
            }
        });
        tasks.push_back(here.spawn(sends(channel.tx, 0), {.where = placement::worker(0)}));
        tasks.push_back(here.spawn(sends(channel.tx, 1), {.where = placement::worker(1)}));
        std::thread sends_here([tx = std::move(channel.tx)] {
            for (int i = 0; i < messages; ++i) send_one(tx, 2, i);
        });
        here.block_on(join(tasks));
        hears.join();
        comes_and_goes.join();
        sends_here.join();
    }
    for (const account& each : all) {
        CHECK(each.broken == 0);
        CHECK(each.got + each.missed == senders * messages);
        if (capacity > senders * messages) CHECK(each.missed == 0);
    }
}

namespace {

struct pair {
    int left = 0;
    int right = 0;
    std::string text;
};
void count(pair& value) {
    ++value.left;
    value.text = text_of(1, value.left);
    ++value.right;
}

task<> changes(sync::watch::sender<pair> tx) {
    for (int i = 0; i < messages; ++i) {
        tx.send_modify(count);
        if (i % 8 == 0) co_await yield_now();
    }
}

struct view {
    int last = 0;
    int broken = 0;
    void note(const pair& value) {
        if (value.left != value.right || value.left < last) ++broken;
        if (value.left > 0 && value.text != text_of(1, value.left)) ++broken;
        last = value.left;
    }
};

task<> follows(sync::watch::receiver<pair> rx, view& to) {
    for (int i = 0;; ++i) {
        const auto limit = i % 2 == 0 ? std::chrono::nanoseconds(i % 50 * 100) : 1h;
        auto end = co_await try_with_timeout(limit, rx.changed());
        if (end.is_cancelled()) continue;
        if (!end.value()) break;
        to.note(rx.get_and_update());
    }
}

} // namespace

TEST_CASE(
    "S332: a watch that several threads change and follow: no change is lost, each value is "
    "whole, none comes back, and the last is seen by all") {
    std::array<view, 4> all;
    {
        auto channel = sync::watch::channel(pair{});
        runtime here({.workers = 2});
        std::vector<join_handle<void>> tasks;
        for (unsigned i = 0; i < 3; ++i) {
            tasks.push_back(
                here.spawn(follows(channel.rx, all[i]), {.where = placement::worker(i)}));
        }
        std::thread looks([rx = std::move(channel.rx), &to = all[3]]() mutable {
            while (rx.blocking_changed()) {
                rx.read([&to](const pair& value) { to.note(value); });
            }
        });
        tasks.push_back(here.spawn(changes(channel.tx), {.where = placement::worker(0)}));
        tasks.push_back(here.spawn(changes(channel.tx), {.where = placement::worker(1)}));
        std::thread changes_here([tx = std::move(channel.tx)] {
            for (int i = 0; i < messages; ++i) tx.send_modify(count);
        });
        here.block_on(join(tasks));
        looks.join();
        changes_here.join();
    }
    for (const view& each : all) {
        CHECK(each.broken == 0);
        CHECK(each.last == 3 * messages);
    }
}

} // namespace toadstone::tests
