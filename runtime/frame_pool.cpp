// The per-thread pool behind coroutine frames. Under AddressSanitizer it steps aside, because a
// pooled block would hide a use after free.
#include <toadstone/runtime/detail/frame_pool.hpp>

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

namespace toadstone::detail {
namespace {

constexpr std::size_t granule = frame_alignment;
constexpr std::size_t largest = 2048;
constexpr std::size_t classes = largest / granule;
constexpr unsigned keep_per_class = 4096; // blocks; the rest goes back to the system

struct free_block {
    free_block* next;
};

// Blocks of the system are aligned to 16. One that is larger by `slack` has an aligned block
// inside, and behind that eight bytes at least, where the way back to its beginning is kept.
// With the eight bytes that glibc puts before each block, the whole is a multiple of 64.
// std::aligned_alloc() would leave pieces of the heap behind that it does not find again before
// glibc 2.38. AddressSanitizer is to see the true end of the block, and does not mind.
constexpr std::size_t slack = frame_alignment - 8;
static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 16);

constexpr std::size_t rounded(std::size_t size) noexcept {
    return (size + granule - 1) / granule * granule;
}

void* system_block(std::size_t size) {
    if (TOADSTONE_ASAN) return ::operator new(size, std::align_val_t(frame_alignment));
    constexpr auto most = std::numeric_limits<std::size_t>::max();
    if (size > most - slack - granule) throw std::bad_alloc();
    size = rounded(size);
    auto* const begin = static_cast<std::byte*>(::operator new(size + slack));
    const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(begin) % frame_alignment;
    const std::size_t skipped = past ? frame_alignment - past : 0;
    std::byte* const block = begin + skipped;
    std::memcpy(block + size, &skipped, sizeof skipped);
    return block;
}

void give_back(void* block, std::size_t size) noexcept {
    if (TOADSTONE_ASAN) {
        ::operator delete(block, std::align_val_t(frame_alignment));
        return;
    }
    std::size_t skipped = 0;
    auto* const bytes = static_cast<std::byte*>(block);
    std::memcpy(&skipped, bytes + rounded(size), sizeof skipped);
    ::operator delete(bytes - skipped);
}

struct pool;

// Every live pool is listed, so that the frames of all threads can be counted together.
struct registry {
    std::mutex lock;
    pool* first = nullptr;
    atomic<std::int64_t> of_ended_threads{0};
};

registry& pools() {
    static registry* the = new registry; // never destroyed: threads may outlive statics
    return *the;
}

struct pool {
    std::array<free_block*, classes> free{};
    std::array<unsigned, classes> kept{};
    unsigned keep = keep_per_class;
    allocation_watcher* watcher = nullptr;
    // Written by the owning thread only; read by live_frames() from any.
    atomic<std::int64_t> live{0};
    pool* next = nullptr;
    pool* previous = nullptr;

    pool() {
        auto& all = pools();
        const std::lock_guard hold(all.lock);
        next = all.first;
        if (next) next->previous = this;
        all.first = this;
    }

    ~pool() {
        drain();
        auto& all = pools();
        const std::lock_guard hold(all.lock);
        all.of_ended_threads.fetch_add(live.load(std::memory_order_relaxed),
                                       std::memory_order_relaxed);
        if (next) next->previous = previous;
        (previous ? previous->next : all.first) = next;
    }

    void drain() noexcept {
        for (std::size_t index = 0; index < classes; ++index) {
            while (free_block* const block = free[index]) {
                free[index] = block->next;
                give_back(block, (index + 1) * granule);
            }
        }
        kept.fill(0);
    }

    void count(std::int64_t change) noexcept {
        live.store(live.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
    }
};

// The pool may be gone already when a static destructor frees a frame; the flag outlives it.
thread_local bool pool_gone = false;

struct pool_holder {
    pool own;
    pool_holder() = default;
    ~pool_holder() { pool_gone = true; }
};

pool* this_thread_pool() {
    thread_local pool_holder holder;
    return pool_gone ? nullptr : &holder.own;
}

} // namespace

void* allocate_frame(std::size_t size) {
    pool* own = this_thread_pool();
    if (!own) {
        void* block = system_block(size);
        pools().of_ended_threads.fetch_add(1, std::memory_order_relaxed);
        return block;
    }
    if (!TOADSTONE_ASAN && size <= largest) {
        const std::size_t index = (size - 1) / granule;
        if (free_block* block = own->free[index]) {
            own->free[index] = block->next;
            --own->kept[index];
            own->count(1);
            return block;
        }
    }
    if (own->watcher && own->watcher->refuses()) throw std::bad_alloc();
    void* block = system_block(size);
    own->count(1);
    return block;
}

void free_frame(void* frame, std::size_t size) noexcept {
    pool* own = this_thread_pool();
    if (!own) {
        pools().of_ended_threads.fetch_sub(1, std::memory_order_relaxed);
        give_back(frame, size);
        return;
    }
    own->count(-1);
    if (!TOADSTONE_ASAN && size <= largest) {
        const std::size_t index = (size - 1) / granule;
        if (own->kept[index] < own->keep) {
            own->free[index] = ::new (frame) free_block{own->free[index]};
            ++own->kept[index];
            return;
        }
    }
    give_back(frame, size);
}

void* allocate_frame(std::size_t size, std::align_val_t alignment) {
    if (static_cast<std::size_t>(alignment) <= frame_alignment) return allocate_frame(size);
    pool* own = this_thread_pool();
    if (own && own->watcher && own->watcher->refuses()) throw std::bad_alloc();
    void* block = ::operator new(size, alignment);
    if (own) {
        own->count(1);
    } else {
        pools().of_ended_threads.fetch_add(1, std::memory_order_relaxed);
    }
    return block;
}

void free_frame(void* frame, std::size_t size, std::align_val_t alignment) noexcept {
    if (static_cast<std::size_t>(alignment) <= frame_alignment) {
        free_frame(frame, size);
        return;
    }
    if (pool* own = this_thread_pool()) {
        own->count(-1);
    } else {
        pools().of_ended_threads.fetch_sub(1, std::memory_order_relaxed);
    }
    ::operator delete(frame, alignment);
}

// With nothing kept, every request takes the slow path, where the watcher is asked.
allocation_watcher* watch_allocations(allocation_watcher* by) noexcept {
    pool* own = this_thread_pool();
    if (!own) return nullptr;
    own->drain();
    own->keep = by ? 0 : keep_per_class;
    return std::exchange(own->watcher, by);
}

std::int64_t live_frames() noexcept {
    auto& all = pools();
    const std::lock_guard hold(all.lock);
    std::int64_t sum = all.of_ended_threads.load(std::memory_order_relaxed);
    for (pool* each = all.first; each; each = each->next) {
        sum += each->live.load(std::memory_order_relaxed);
    }
    return sum;
}

} // namespace toadstone::detail
