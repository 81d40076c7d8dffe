// The frame pool: what it hands out, and that its count is exact over threads.
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>

#include <catch2/catch.hpp>

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
using toadstone::detail::live_frames;

namespace {

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
    if (TOADSTONE_ASAN || TOADSTONE_TSAN) return; // no marks, and memory that is not to be read
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
    if (!TOADSTONE_ASAN && !TOADSTONE_TSAN) CHECK(first == second); // there is no pool then
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

TEST_CASE("frame pool: memory that is not there is refused and not counted") {
    const auto before = live_frames();
    const std::size_t absurd = std::numeric_limits<std::ptrdiff_t>::max() / 2;
    if (!TOADSTONE_ASAN && !TOADSTONE_TSAN) { // they abort instead
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
