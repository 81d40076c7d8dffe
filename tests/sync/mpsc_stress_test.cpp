// Channels under real threads: what was sent is received, once, and in its sender's order.
// Catch2 checks on the main thread alone; tasks count in atomics.
#include <toadstone/sync/mpsc.hpp>

#include <toadstone/runtime.hpp>
#include <toadstone/sync/oneshot.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
namespace mpsc = sync::mpsc;

constexpr int producers = 5;
constexpr int messages = 1500;

/// A text, so that what is received twice or half is found by the sanitizers.
struct message {
    int from = 0;
    int number = 0;
    std::unique_ptr<int> body;
};
message make(int from, int number) {
    return {from, number, std::make_unique<int>(number)};
}

/// What was sent for certain, by producer; only that one writes.
struct sent_by {
    std::array<std::vector<bool>, producers> numbers;
};

task<> produces(mpsc::sender<message> tx, int self, sent_by& sent) {
    auto& own = sent.numbers[static_cast<std::size_t>(self)];
    for (int i = 0; i < messages; ++i) {
        message next = make(self, i);
        // Now and then it has no patience at all, and is cancelled at the tie, too.
        const auto limit = i % 3 == 0 ? std::chrono::nanoseconds(i % 40 * 100) : 1h;
        auto end = co_await try_with_timeout(limit, tx.send(std::move(next)));
        // The message is still there, or it was sent.
        own.push_back(next.body == nullptr);
        if (end.has_value() && next.body) std::abort();
        if (i % 64 == 0) co_await yield_now();
    }
}

struct seen {
    std::vector<std::pair<int, int>> all; // the consumers' scope has one worker
    std::atomic<int> broken{0};
};
void note(seen& to, const message& got) {
    if (!got.body || *got.body != got.number) to.broken.fetch_add(1);
    to.all.emplace_back(got.from, got.number);
}

task<> consumes(const mpsc::receiver<message>& rx, seen& to) {
    for (int i = 0;; ++i) {
        auto limit = i % 2 == 0 ? std::chrono::nanoseconds(i % 50 * 100) : 1h;
        auto end = co_await try_with_timeout(limit, rx.recv());
        if (!end.has_value()) continue; // cancelled; its message goes to the next
        if (!end.value()) break;
        note(to, *end.value());
    }
}

} // namespace

TEST_CASE(
    "S81: producers of two workers and a plain thread, and one consumer or two, cancelled "
    "now and then: each message that was sent is received once; by one consumer in its "
    "producer's order") {
    const auto consumers = GENERATE(1, 2);
    const auto capacity = GENERATE(std::size_t{1}, std::size_t{3}, std::size_t{64});
    sent_by sent;
    seen got;
    {
        auto [tx, rx] = mpsc::channel<message>(capacity);
        runtime here({.workers = 2});
        std::vector<join_handle<void>> tasks;
        for (int i = 0; i + 1 < producers; ++i) {
            tasks.push_back(here.spawn(produces(tx, i, sent),
                                       {.where = placement::worker(static_cast<unsigned>(i))}));
        }
        for (int i = 0; i < consumers; ++i) {
            tasks.push_back(here.spawn(consumes(rx, got), {.where = placement::worker(0)}));
        }
        std::thread plain([to = std::move(tx), &sent] {
            for (int i = 0; i < messages; ++i) {
                message next = make(producers - 1, i);
                to.blocking_send(std::move(next));
                sent.numbers[producers - 1].push_back(true);
            }
        });
        auto join = [](std::vector<join_handle<void>>& all) -> task<> {
            for (auto& each : all) co_await each;
        };
        here.block_on(join(tasks));
        plain.join();
    }
    CHECK(got.broken == 0);
    std::array<std::vector<int>, producers> received;
    for (const auto& [from, number] : got.all) {
        received[static_cast<std::size_t>(from)].push_back(number);
    }
    for (std::size_t from = 0; from < producers; ++from) {
        std::vector<int> expected;
        for (std::size_t i = 0; i < messages; ++i) {
            if (sent.numbers[from][i]) expected.push_back(static_cast<int>(i));
        }
        // What one of two gives back, the other may get behind a later one.
        if (consumers > 1) std::sort(received[from].begin(), received[from].end());
        CHECK(received[from] == expected);
    }
}

TEST_CASE("stress: oneshots that are answered, dropped and given up by two threads") {
    constexpr int rounds = 3000;
    runtime here({.workers = 1});
    std::atomic<int> delivered{0};
    int received = 0;
    auto [tx, rx] = mpsc::unbounded<sync::oneshot::sender<std::unique_ptr<int>>>();
    std::thread answers([&from = rx, &delivered] {
        for (int i = 0; auto asked = from.blocking_recv(); ++i) {
            if (i % 5 == 0) continue; // dropped
            if (asked->send(std::make_unique<int>(i))) delivered.fetch_add(1);
        }
    });
    auto body = [](mpsc::unbounded_sender<sync::oneshot::sender<std::unique_ptr<int>>> to,
                   int& count) -> task<> {
        for (int i = 0; i < rounds; ++i) {
            auto question = sync::oneshot::channel<std::unique_ptr<int>>();
            to.send(std::move(question.tx));
            if (i % 7 == 0) continue; // nobody wants it any more
            try {
                auto answer = co_await question.rx.recv();
                if (answer) ++count;
            } catch (const sync::channel_closed&) {
            }
        }
    };
    here.block_on(body(std::move(tx), received));
    answers.join();
    CHECK(received <= delivered.load());
    CHECK(received == rounds - (rounds + 4) / 5 - (rounds + 6) / 7 + (rounds + 34) / 35);
}

} // namespace toadstone::tests
