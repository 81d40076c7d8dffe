// A hundred thousand wait for each primitive: they leave from anywhere in the queue and are
// served in order, each in O(1), and all memory comes back. Nothing is timed: with a walk
// through the queue for each of them these would be 10^10 steps, for hours of cache misses.
#include "support/waiting.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <malloc.h>
#include <new>
#include <random>
#include <thread>
#include <vector>

namespace {

std::atomic<std::ptrdiff_t> bytes_in_use{0};

void* counted(void* block) {
    if (!block) throw std::bad_alloc();
    bytes_in_use.fetch_add(static_cast<std::ptrdiff_t>(malloc_usable_size(block)),
                           std::memory_order_relaxed);
    return block;
}
void uncounted(void* block) noexcept {
    bytes_in_use.fetch_sub(static_cast<std::ptrdiff_t>(malloc_usable_size(block)),
                           std::memory_order_relaxed);
    std::free(block);
}

} // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
    return counted(std::malloc(size));
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    void* const block = std::malloc(size);
    return block ? counted(block) : nullptr;
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    const auto to = static_cast<std::size_t>(alignment);
    return counted(std::aligned_alloc(to, (size + to - 1) / to * to));
}
[[gnu::noinline]] void operator delete(void* block) noexcept {
    uncounted(block);
}
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept {
    uncounted(block);
}
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept {
    uncounted(block);
}
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
    uncounted(block);
}

namespace toadstone::tests {
namespace {

constexpr int crowd = TOADSTONE_ASAN || TOADSTONE_TSAN ? 20'000 : 100'000;
constexpr int at_a_time = 100; // leave between two turns of the worker

/// What was seen, on a thread of its own: a pool of frames goes with its thread.
struct seen {
    bool all_queued = false;
    bool left_at_once = false;
    bool served_in_order = false; ///< or told, where one that leaves breaks it for all
    bool all_ended = false;
    std::int64_t frames = 0; ///< more than before
    std::ptrdiff_t bytes = 0;
};

/// So many wait, and every `one_in`th of them leaves, in random order; the rest is served.
void see_crowd(const waiting_kind& kind, int one_in, seen& to) {
    const auto subject = kind.make(crowd);
    order got;
    got.reserve(crowd);
    std::vector<int> leaving;
    order staying;
    for (int who = 1; who <= crowd; ++who) {
        (who % one_in == 0 ? leaving : staying).push_back(who);
    }
    std::shuffle(leaving.begin(), leaving.end(), std::mt19937(1));
    stepped w;
    subject->begin(w);
    std::vector<join_handle<void>> tasks;
    tasks.reserve(crowd);
    for (int who = 1; who <= crowd; ++who) tasks.push_back(w.spawn(subject->wait(got, who)));
    w.settle();
    to.all_queued = got.empty();

    int left = 0;
    for (const int who : leaving) {
        tasks[static_cast<std::size_t>(who - 1)].cancel();
        if (++left % at_a_time == 0) w.settle();
    }
    w.settle();
    const auto has_left = [&](int who) {
        return tasks[static_cast<std::size_t>(who - 1)].done();
    };
    const auto has_ended = [](const join_handle<void>& each) { return each.done(); };
    to.left_at_once = std::all_of(leaving.begin(), leaving.end(), has_left);
    if (kind.breaks && !leaving.empty()) {
        to.served_in_order = std::all_of(tasks.begin(), tasks.end(), has_ended);
    } else {
        to.left_at_once &= got.empty();
        for (int served = 0; served < crowd && got.size() < staying.size(); ++served) {
            subject->serve();
            w.step();
        }
        w.settle();
        to.served_in_order = got == staying;
    }
    to.all_ended = std::all_of(tasks.begin(), tasks.end(), has_ended);
}

void check_crowd(const waiting_kind& kind, int one_in) {
    CAPTURE(kind.name, one_in);
    seen now;
    const auto bytes = bytes_in_use.load();
    const auto frames = detail::live_frames();
    std::thread([&] { see_crowd(kind, one_in, now); }).join();
    now.frames = detail::live_frames() - frames;
    now.bytes = bytes_in_use.load() - bytes;
    CHECK(now.all_queued);
    CHECK(now.left_at_once);
    CHECK(now.served_in_order);
    CHECK(now.all_ended);
    CHECK(now.frames == 0);
    CHECK(now.bytes == 0);
}

} // namespace

TEST_CASE("S346: a hundred thousand wait for each primitive, leave in random order and are "
          "served in order, and all memory comes back") {
    // What the first of all takes for good is not counted.
    seen unused;
    std::thread([&] { see_crowd(waiting_kinds[0], crowd + 1, unused); }).join();
    for (const waiting_kind& kind : waiting_kinds) {
        check_crowd(kind, 2);
        if (kind.breaks) check_crowd(kind, crowd + 1); // nobody leaves: a round of all
    }
}

} // namespace toadstone::tests
