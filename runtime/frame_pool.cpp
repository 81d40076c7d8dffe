// The per-thread pool behind coroutine frames. Under AddressSanitizer it steps aside, because a
// pooled block would hide a use after free.
#include <toadstone/runtime/detail/frame_pool.hpp>

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <mutex>
#include <new>
#include <utility>

namespace toadstone::detail {
namespace {

constexpr std::size_t granule = 64;
constexpr std::size_t largest = 2048;
constexpr std::size_t classes = largest / granule;
constexpr unsigned keep_per_class = 4096; // blocks; the rest goes back to the system

struct free_block {
    free_block* next;
};

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
        for (auto*& head : free) {
            while (head) {
                auto* block = head;
                head = block->next;
                ::operator delete(block);
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
        pools().of_ended_threads.fetch_add(1, std::memory_order_relaxed);
        return ::operator new(size);
    }
    if (!TOADSTONE_ASAN && size <= largest) {
        const std::size_t index = (size - 1) / granule;
        if (free_block* block = own->free[index]) {
            own->free[index] = block->next;
            --own->kept[index];
            own->count(1);
            return block;
        }
        size = (index + 1) * granule;
    }
    if (own->watcher && own->watcher->refuses()) throw std::bad_alloc();
    void* block = ::operator new(size);
    own->count(1);
    return block;
}

void free_frame(void* frame, std::size_t size) noexcept {
    pool* own = this_thread_pool();
    if (!own) {
        pools().of_ended_threads.fetch_sub(1, std::memory_order_relaxed);
        ::operator delete(frame);
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
    ::operator delete(frame);
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
