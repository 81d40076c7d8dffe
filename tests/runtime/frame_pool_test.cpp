// The frame pool: what it hands out, and that its count is exact over threads.
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <thread>
#include <utility>
#include <vector>

using toadstone::detail::allocate_frame;
using toadstone::detail::frame_holds;
using toadstone::detail::free_frame;
using toadstone::detail::kept_frame_bytes;
using toadstone::detail::live_frames;

namespace {

// Under sanitizers there is no pool.
constexpr bool pooling = !TOADSTONE_ASAN && !TOADSTONE_TSAN;

using block = std::pair<void*, std::size_t>;

std::vector<block> blocks_of_all_sizes() {
    std::vector<block> blocks;
    for (std::size_t size = 1; size < 5000; size += size < 200 ? 1 : 61) {
        void* const memory = allocate_frame(size);
        std::memset(memory, static_cast<int>(size & 0xff), size);
        blocks.emplace_back(memory, size);
    }
    return blocks;
}
void free_all(const std::vector<block>& blocks) {
    for (const auto& [memory, size] : blocks) free_frame(memory, size);
}
void take_and_free(std::size_t count, std::size_t size) {
    std::vector<block> blocks;
    for (std::size_t i = 0; i < count; ++i) blocks.emplace_back(allocate_frame(size), size);
    free_all(blocks);
}
/// With a pool that is new, too.
template <class Fn>
void on_new_thread(Fn fn) {
    std::thread(fn).join();
}
/// What the system gives for a block of this size.
constexpr std::size_t cost_of(std::size_t size) {
    return (size + 63) / 64 * 64 + 64;
}

} // namespace

TEST_CASE("frame pool: blocks are as large as asked for, aligned, and apart from each other") {
    const auto before = live_frames();
    for (int round = 0; round < 3; ++round) {
        const auto blocks = blocks_of_all_sizes();
        CHECK(live_frames() == before + static_cast<std::int64_t>(blocks.size()));
        bool aligned = true;
        bool untouched = true;
        for (const auto& [memory, size] : blocks) {
            aligned = aligned && reinterpret_cast<std::uintptr_t>(memory) % 64 == 0;
            const auto* const bytes = static_cast<const unsigned char*>(memory);
            for (std::size_t i = 0; i < size; ++i) {
                untouched = untouched && bytes[i] == (size & 0xff);
            }
        }
        CHECK(aligned);
        CHECK(untouched);
        free_all(blocks);
        CHECK(live_frames() == before);
    }
}

TEST_CASE("frame pool: what lies in a frame is known") {
    const auto aligned_to = std::align_val_t(GENERATE(16U, 64U, 256U));
    const std::size_t size = GENERATE(as<std::size_t>(), 1, 64, 1000, 2048, 2049, 100000);
    auto* const frame = static_cast<std::byte*>(allocate_frame(size, aligned_to));
    auto* const other = static_cast<std::byte*>(allocate_frame(size, aligned_to));
    CHECK(frame_holds(frame, frame));
    CHECK(frame_holds(frame, frame + size - 1));
    CHECK_FALSE(frame_holds(frame, frame - 1));
    CHECK_FALSE(frame_holds(frame, frame + size + 64));
    CHECK_FALSE(frame_holds(frame, other));
    CHECK_FALSE(frame_holds(other, frame));
    free_frame(frame, size, aligned_to);
    free_frame(other, size, aligned_to);
}

// A compiler may put a frame where the block was that the system has got back: frame_holds()
// then reads what is left of it.
TEST_CASE("frame pool: a block that went back to the system leaves no mark behind") {
    if (!pooling) return; // no marks, and memory that is not to be read
    std::vector<void*> frames;
    for (int i = 0; i < 8; ++i) frames.push_back(allocate_frame(3000));
    for (void* each : frames) CHECK(frame_holds(each, each));
    for (void* each : frames) free_frame(each, 3000);
    for (void* each : frames) CHECK_FALSE(frame_holds(each, each));
}

TEST_CASE("frame pool: a freed block is used again by the next of its class") {
    void* const first = allocate_frame(100);
    free_frame(first, 100);
    void* const second = allocate_frame(128);
    if (pooling) CHECK(first == second);
    free_frame(second, 128);
}

TEST_CASE(
    "frame pool: blocks freed on another thread, or after theirs has ended, are counted") {
    const auto before = live_frames();
    auto mine = blocks_of_all_sizes();
    std::thread([&] { free_all(mine); }).join();
    CHECK(live_frames() == before);
    std::vector<block> theirs;
    std::thread([&] { theirs = blocks_of_all_sizes(); }).join();
    CHECK(live_frames() == before + static_cast<std::int64_t>(theirs.size()));
    free_all(theirs);
    CHECK(live_frames() == before);
}

TEST_CASE("frame pool: more blocks than a pool keeps come and go") {
    const auto before = live_frames();
    std::vector<block> blocks;
    for (int i = 0; i < 10000; ++i) blocks.emplace_back(allocate_frame(64), 64);
    free_all(blocks);
    CHECK(live_frames() == before);
}

TEST_CASE("S146: batches of any size come from what the batch before has left") {
    if (!pooling) return;
    const std::size_t count = GENERATE(as<std::size_t>(), 100, 1000, 10000, 100000);
    const std::size_t other = GENERATE(as<std::size_t>(), 0, 1500);
    on_new_thread([&] {
        std::size_t from_pool = 0;
        for (int batch = 0; batch < 4; ++batch) {
            std::vector<block> blocks;
            const std::size_t before = kept_frame_bytes();
            for (std::size_t i = 0; i < count; ++i) {
                blocks.emplace_back(allocate_frame(400), 400);
                if (other) blocks.emplace_back(allocate_frame(other), other);
            }
            from_pool = before - kept_frame_bytes();
            free_all(blocks);
        }
        CHECK(from_pool == count * (cost_of(400) + (other ? cost_of(other) : 0)));
    });
}

TEST_CASE("S146: what a peak has left goes back while the thread goes on with little") {
    if (!pooling) return;
    const std::size_t size = GENERATE(as<std::size_t>(), 400, 100); // the peak's class, another
    on_new_thread([&] {
        for (int batch = 0; batch < 4; ++batch) take_and_free(20000, 400);
        CHECK(kept_frame_bytes() >= 20000 * cost_of(400));
        std::size_t largest_drop = 0;
        for (int i = 0; i < 15 * 20000; ++i) {
            const std::size_t before = kept_frame_bytes();
            take_and_free(3, size);
            largest_drop =
                std::max(largest_drop, before - std::min(before, kept_frame_bytes()));
        }
        CHECK(kept_frame_bytes() < std::size_t{40} << 10);
        CHECK(largest_drop <= 64 * cost_of(400)); // never many at a time
        for (int batch = 0; batch < 4; ++batch) take_and_free(20000, 400);
        CHECK(kept_frame_bytes() >= 20000 * cost_of(400));
    });
}

TEST_CASE("S147: what other threads allocate does not pile up where it is freed") {
    if (!pooling) return;
    std::vector<block> theirs;
    on_new_thread([&] {
        for (int i = 0; i < 200000; ++i) theirs.emplace_back(allocate_frame(400), 400);
    });
    on_new_thread([&] {
        std::size_t most = 0;
        for (const auto& [memory, size] : theirs) {
            free_frame(memory, size);
            most = std::max(most, kept_frame_bytes());
        }
        CHECK(most <= std::size_t{1040} << 10);
        CHECK(kept_frame_bytes() <= std::size_t{16} << 10);
    });
}

TEST_CASE("S147: a thread keeps no more than 256 MiB") {
    if (!pooling) return;
    on_new_thread([&] {
        std::size_t most = 0;
        for (int batch = 0; batch < 3; ++batch) {
            take_and_free(90000, 2000);
            take_and_free(90000, 1500);
            most = std::max(most, kept_frame_bytes());
        }
        CHECK(most <= std::size_t{256} << 20);
        CHECK(most >= std::size_t{200} << 20);
    });
}

TEST_CASE("frame pool: memory that is not there is refused and not counted") {
    const auto before = live_frames();
    const std::size_t absurd = std::numeric_limits<std::ptrdiff_t>::max() / 2;
    if (pooling) { // they abort instead
        CHECK_THROWS_AS(static_cast<void>(allocate_frame(absurd)), std::bad_alloc);
    }
    CHECK(live_frames() == before);
}

TEST_CASE("frame pool: threads may allocate and free across each other all the time") {
    const auto before = live_frames();
    std::vector<block> passed[4];
    for (int round = 0; round < 20; ++round) {
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < 4; ++i) {
            threads.emplace_back([&passed, i, round] {
                auto& mine = passed[(i + static_cast<std::size_t>(round)) % 4];
                free_all(mine);
                mine.clear();
                for (std::size_t n = 1; n < 300; ++n) {
                    mine.emplace_back(allocate_frame(n * 8), n * 8);
                }
            });
        }
        for (auto& each : threads) each.join();
    }
    for (auto& each : passed) free_all(each);
    CHECK(live_frames() == before);
}
