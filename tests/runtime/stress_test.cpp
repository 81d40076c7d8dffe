// Several real workers and several plain threads: requests against completions, joins, scopes
// across workers, storms of spawns, cancels and shutdowns. Every end is accounted for.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include "support/pipe.hpp"
#include "support/probe.hpp"
#include "support/resources.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

// Bounded by work, not by time; the sanitizers make each step ten times as slow.
constexpr int scale = TOADSTONE_ASAN || TOADSTONE_TSAN ? 1 : 4;

struct tally {
    std::atomic<int> begun{0};
    std::atomic<int> values{0};
    std::atomic<int> cancelled{0};
    std::atomic<int> failed{0};
    std::atomic<int> destroyed{0};
};
class counted_end {
public:
    explicit counted_end(tally& to) noexcept : to_(to) { ++to_.begun; }
    counted_end(const counted_end&) = delete;
    counted_end& operator=(const counted_end&) = delete;
    ~counted_end() { ++to_.destroyed; }

private:
    tally& to_;
};
template <class T>
void count_end(tally& to, const outcome<T>& end) {
    ++(end.has_value() ? to.values : end.is_cancelled() ? to.cancelled : to.failed);
}

task<int> works(tally& counts, int steps) {
    const counted_end mine(counts);
    for (int i = 0; i < steps; ++i) {
        if (i % 3 == 0) {
            co_await sleep_for(std::chrono::microseconds(i));
        } else {
            co_await yield_now();
        }
    }
    co_return steps;
}
task<> joins(join_handle<int> other, tally& counts) {
    count_end(counts, co_await other.outcome());
}
task<> joins_with_timeout(join_handle<int> other, tally& counts) {
    auto end = co_await try_with_timeout(20us, other.outcome());
    if (end.has_value()) {
        count_end(counts, end.value());
    } else {
        count_end(counts, end);
    }
}
task<> under_token(cancellation_token token, tally& counts) {
    const auto end = co_await as_outcome(with_token(std::move(token), works(counts, 9)));
    count_end(counts, end);
}
task<> grows(tally& counts, int generations) {
    const counted_end mine(counts);
    for (int i = 0; i < 2 && generations > 0; ++i) {
        spawn(grows(counts, generations - 1), {.where = placement::any()}).detach();
        co_await yield_now();
    }
    co_await sleep_for(1h);
}
task<int> fails_or_not(tally& counts, int which) {
    const counted_end mine(counts);
    co_await sleep_for(std::chrono::microseconds(which * 7 % 50));
    if (which % 5 == 4) throw std::runtime_error("meant to fail");
    co_return which;
}
task<> scope_body(task_scope& scope, tally& counts, int round) {
    for (int i = 0; i < 6; ++i) {
        const int which = round % 3 == 0 ? i + round % 5 : 0;
        scope.spawn(fails_or_not(counts, which), {.where = placement::any()}).detach();
    }
    if (round % 3 == 1) {
        const auto cancels = [](task_scope& whom) -> task<> {
            co_await yield_now();
            whom.cancel(cancel_reason::lost_race);
        };
        scope.spawn(cancels(scope), {.where = placement::any()}).detach();
        co_await sleep_for(1h);
    }
}
task<> many_scopes(tally& counts, tally& scopes, int rounds) {
    for (int round = 0; round < rounds; ++round) {
        const auto body = [&](task_scope& scope) { return scope_body(scope, counts, round); };
        count_end(scopes, co_await as_outcome(with_scope(body)));
    }
}
task<> races(tally& counts, tally& ends, int rounds) {
    for (int round = 0; round < rounds; ++round) {
        auto a = spawn(works(counts, round % 4), {.where = placement::any()});
        auto b = spawn(works(counts, round % 3), {.where = placement::any()});
        const auto first = co_await when_any(a.outcome(), b.outcome(), sleep_for(30us));
        ends.values += first.index < 3 ? 1 : 0;
    }
}
task<> reads_with_timeouts(int fd, std::string& got, const std::atomic<bool>& stop) {
    char letter = 0;
    const auto read_one = [](int from, char& to) -> task<int> {
        const int count = co_await read_op(from, &to, 1);
        co_return count;
    };
    while (!stop) {
        const auto end = co_await try_with_timeout(50us, read_one(fd, letter));
        if (end.has_value() && end.value() == 1) got += letter;
    }
}

runtime_options three_workers() {
    runtime_options options;
    options.workers = 3;
    options.grace = 30s;
    return options;
}

} // namespace

TEST_CASE("stress: requests from other threads against completions: each task ends once, "
          "either way") {
    const auto frames = detail::live_frames();
    tally counts;
    tally ends;
    constexpr int tasks = 1500 * scale;
    {
        runtime here(three_workers());
        std::vector<join_handle<int>> handles;
        std::vector<join_handle<void>> joiners;
        std::atomic<int> made{0};
        handles.reserve(tasks);
        std::thread cancels([&] {
            std::mt19937 random(1);
            for (int next = 0; next < tasks;) {
                if (next >= made.load(std::memory_order_acquire)) {
                    std::this_thread::yield();
                    continue;
                }
                auto& handle = handles[static_cast<std::size_t>(next++)];
                if (random() % 3) handle.cancel(cancel_reason::timeout);
            }
        });
        for (int i = 0; i < tasks; ++i) {
            handles.push_back(here.spawn(works(counts, i % 7)));
            made.store(i + 1, std::memory_order_release);
        }
        cancels.join();
        for (auto& each : handles) {
            joiners.push_back(here.spawn(joins(std::move(each), ends)));
        }
        for (auto& each : joiners) {
            here.block_on(std::move(each));
        }
    }
    CHECK(ends.values + ends.cancelled == tasks);
    CHECK(ends.failed == 0);
    CHECK(counts.begun == counts.destroyed);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("stress: joins across workers, given up and finished at the same time") {
    const auto frames = detail::live_frames();
    tally counts;
    tally ends;
    constexpr int tasks = 800 * scale;
    {
        runtime here(three_workers());
        std::vector<join_handle<void>> joiners;
        for (int i = 0; i < tasks; ++i) {
            auto other = here.spawn(works(counts, i % 5), {.where = placement::any()});
            joiners.push_back(here.spawn(joins_with_timeout(std::move(other), ends),
                                         {.where = placement::any()}));
            if (i % 4 == 0) joiners.back().cancel();
        }
        for (auto& each : joiners) static_cast<void>(here.block_on(each.outcome()));
    }
    CHECK(ends.values + ends.cancelled <= tasks);
    CHECK(ends.values + ends.cancelled >= tasks - tasks / 4);
    CHECK(counts.begun == tasks); // whoever gave up joining left the other task alone
    CHECK(counts.destroyed == tasks);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("stress: tokens cancelled by other threads while what they guard ends") {
    const auto frames = detail::live_frames();
    tally counts;
    constexpr int rounds = 300 * scale;
    {
        runtime here(three_workers());
        for (int i = 0; i < rounds; ++i) {
            cancellation_source source;
            std::vector<join_handle<void>> handles;
            for (int n = 0; n < 3; ++n) {
                handles.push_back(
                    here.spawn(under_token(source.token(), counts),
                               {.token = n ? source.token() : cancellation_token()}));
            }
            if (i % 2) std::this_thread::yield();
            source.cancel();
            for (auto& each : handles) static_cast<void>(here.block_on(each.outcome()));
        }
    }
    CHECK(counts.begun == counts.destroyed);
    CHECK(counts.values + counts.cancelled <= rounds * 3);
    CHECK(counts.failed == 0);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("stress: scopes with children on all workers that fail, are cancelled, or just end") {
    const auto frames = detail::live_frames();
    tally counts;
    tally scopes;
    constexpr int rounds = 150 * scale;
    {
        runtime here(three_workers());
        std::vector<join_handle<void>> handles;
        for (unsigned i = 0; i < 3; ++i) {
            handles.push_back(here.spawn(many_scopes(counts, scopes, rounds),
                                         {.where = placement::worker(i)}));
        }
        for (auto& each : handles) here.block_on(std::move(each));
    }
    CHECK(counts.begun == counts.destroyed);
    CHECK(scopes.values + scopes.failed == 3 * rounds);
    CHECK(scopes.failed > 0);
    CHECK(scopes.values >= 2 * rounds); // also those that were cancelled inside
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("stress: races between tasks of several workers leave nobody behind") {
    const auto frames = detail::live_frames();
    tally counts;
    tally ends;
    constexpr int rounds = 300 * scale;
    {
        runtime here(three_workers());
        std::vector<join_handle<void>> handles;
        for (unsigned i = 0; i < 3; ++i) {
            handles.push_back(
                here.spawn(races(counts, ends, rounds), {.where = placement::worker(i)}));
        }
        for (auto& each : handles) here.block_on(std::move(each));
    }
    CHECK(ends.values == 3 * rounds);
    CHECK(counts.begun == counts.destroyed);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("stress: runtimes that go while tasks spawn tasks leave no frame and no descriptor") {
    const auto frames = detail::live_frames();
    const auto fds = open_descriptors();
    tally counts;
    for (int round = 0; round < 25 * scale; ++round) {
        runtime here(three_workers());
        std::thread other([&] {
            try {
                for (int i = 0; i < 20; ++i) here.spawn(grows(counts, 3)).detach();
            } catch (const std::logic_error&) {
                ++counts.failed; // the shutdown was first
            }
        });
        for (int i = 0; i < 5; ++i) here.spawn(grows(counts, 4)).detach();
        const bool clean = here.shutdown(30s).clean();
        other.join();
        REQUIRE(clean);
    }
    CHECK(counts.begun == counts.destroyed);
    CHECK(detail::live_frames() == frames);
    CHECK(open_descriptors() == fds);
}

TEST_CASE("stress: reads that time out all the time lose no byte") {
    test_pipe pipe;
    std::string got[3];
    std::atomic<bool> stop{false};
    std::string sent;
    {
        runtime here(three_workers());
        std::vector<join_handle<void>> handles;
        for (unsigned i = 0; i < 3; ++i) {
            handles.push_back(here.spawn(reads_with_timeouts(pipe.reader(), got[i], stop),
                                         {.where = placement::worker(i)}));
        }
        for (int i = 0; i < 500 * scale; ++i) {
            const std::string letter(1, static_cast<char>('a' + i % 26));
            pipe.write(letter);
            sent += letter;
            if (i % 8 == 0) std::this_thread::yield();
        }
        stop = true;
        for (auto& each : handles) here.block_on(std::move(each));
    }
    std::string received = got[0] + got[1] + got[2] + pipe.drain();
    std::sort(received.begin(), received.end());
    std::sort(sent.begin(), sent.end());
    CHECK(received == sent);
}
