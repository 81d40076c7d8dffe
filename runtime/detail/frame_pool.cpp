// The per-thread pool behind coroutine frames. Under sanitizers it steps aside: a pooled block
// would hide a use after free, and ThreadSanitizer would take a lock in it for the one that was
// at the same place before.
#include <toadstone/runtime/detail/frame_pool.hpp>

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/fork_mark.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#if TOADSTONE_ASAN || TOADSTONE_TSAN
// <sanitizer/allocator_interface.h>, which g++ does not have.
extern "C" int __sanitizer_get_ownership(const volatile void* block);
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* block);
#endif

namespace toadstone::detail {
namespace {

constexpr bool pooling = frames_are_kept;
constexpr std::size_t granule = frame_alignment;
constexpr std::size_t classes = frame_lists::count;
using kept_block = frame_lists::block;

// What is kept, by size class. A class begins with a limit that is good for most programs. For
// each block that is missed after one went to the system beyond the limit, as in batches, one
// more is kept when it is freed. Blocks that nobody has needed for a period go back, and lower
// the limit by as many. A period is 16 times as many frees as the class has blocks: longer than
// a batch, and no more than one block in 16 frees has to be asked of the system again.
constexpr std::size_t first_limit = std::size_t{1} << 20;  // bytes of a class
constexpr std::size_t least_limit = std::size_t{16} << 10; // bytes of a class
constexpr std::size_t most_kept = std::size_t{256} << 20;  // bytes of a thread
constexpr unsigned frees_per_block = 16;
constexpr unsigned frees_per_tick = 64; // at each tick one class is looked at

/// What a block costs the system, without what malloc adds.
constexpr std::size_t cost(std::size_t index) noexcept {
    return (index + 2) * granule;
}

// Blocks of the system are aligned to 16. One that is larger by a granule has an aligned block
// inside that does not begin where it does: what is between holds the block's mark, its size
// and the way back to the beginning. std::aligned_alloc() would leave pieces of the heap behind
// that it does not find again before glibc 2.38. Sanitizers are to see the true ends of the
// block, and do not mind.
static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 16);

constexpr std::size_t rounded(std::size_t size) noexcept {
    return (size + granule - 1) / granule * granule;
}

/// The eight bytes before a block: its size, a multiple of 64, plus the sixteenths that were
/// skipped, both disguised by its place. Where the compiler has put a frame into its caller's
/// there is something else.
class mark {
public:
    mark(std::size_t size, std::size_t skipped) noexcept : value_(size | skipped / 16) {}
    static mark of(const void* block) noexcept {
        std::uint64_t value;
        std::memcpy(&value, before(block), sizeof value);
        return mark(value ^ disguise(block));
    }
    void put(void* block) const noexcept {
        const std::uint64_t value = value_ ^ disguise(block);
        std::memcpy(static_cast<std::byte*>(block) - sizeof value, &value, sizeof value);
    }
    [[nodiscard]] std::size_t size() const noexcept { return value_ / granule * granule; }
    [[nodiscard]] std::size_t skipped() const noexcept { return value_ % granule * 16; }
    [[nodiscard]] bool plausible() const noexcept {
        constexpr std::uint64_t most = std::uint64_t{1} << 40;
        return size() != 0 && value_ < most && skipped() != 0 && skipped() <= granule;
    }

private:
    explicit mark(std::uint64_t value) noexcept : value_(value) {}
    static const std::byte* before(const void* block) noexcept {
        return static_cast<const std::byte*>(block) - sizeof(std::uint64_t);
    }
    static std::uint64_t disguise(const void* block) noexcept {
        constexpr std::uint64_t odd = 0x9e3779b97f4a7c15; // 2^64 / the golden ratio
        return reinterpret_cast<std::uintptr_t>(block) * odd;
    }
    std::uint64_t value_;
};

void* system_block(std::size_t size) {
    if (!pooling) return ::operator new(size, std::align_val_t(frame_alignment));
    constexpr auto most = std::numeric_limits<std::size_t>::max();
    if (size > most - 2 * granule) throw std::bad_alloc();
    size = rounded(size);
    auto* const begin = static_cast<std::byte*>(::operator new(size + granule));
    const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(begin) % frame_alignment;
    const std::size_t skipped = frame_alignment - past;
    std::byte* const block = begin + skipped;
    mark(size, skipped).put(block);
    return block;
}

/// Makes the mark of a block that goes back to the system implausible. Where a compiler puts a
/// frame into its caller's, frame_holds() reads what lies before it: a mark that is still there
/// from a block at the same address would be taken for the frame's own.
void wipe(void* block) noexcept {
    mark(0, 0).put(block);
    // Nobody may read it any more in the eyes of the compiler, which would leave the store out.
    asm volatile("" : : "r"(block) : "memory");
}

void give_back(void* block) noexcept {
    if (pooling) {
        const mark of = mark::of(block);
        wipe(block);
        ::operator delete(static_cast<std::byte*>(block) - of.skipped());
    } else {
        ::operator delete(block, std::align_val_t(frame_alignment));
    }
}

struct pool;

// Every live pool is listed, so that the frames of all threads can be counted together.
struct registry {
    process_lock lock;
    pool* first = nullptr;
    atomic<std::int64_t> of_ended_threads{0};
};

registry& pools() noexcept {
    return never_destroyed<registry>();
}
const made_early<registry> pools_early;

struct pool {
    frame_lists& own = own_frames; // of the thread that has the pool

    /// A class, as the fast path does not see it.
    struct aging {
        /// Not needed since the period began: taken only when the list is empty.
        const kept_block* reserve = &frame_lists::none;
        unsigned limit = 0;   ///< of blocks in the list and the reserve together
        unsigned since = 0;   ///< the tick at which the period began
        unsigned refused = 0; ///< freed beyond the limit, not missed so far
        unsigned missed = 0;  ///< of those, not kept so far
    };
    std::array<aging, classes> ages{};
    allocation_watcher* watcher = nullptr;
    unsigned ticks = 0;
    std::size_t allowed = 0;                          // bytes that all limits together allow
    const kept_block* condemned = &frame_lists::none; // of one class; goes back a few at a time
    std::size_t condemned_cost = 0;
    pool* next = nullptr;
    pool* previous = nullptr;

    pool() {
        own.frees_to_tick = frees_per_tick;
        reset_limits();
        auto& all = pools();
        const std::lock_guard hold(all.lock);
        next = all.first;
        if (next) next->previous = this;
        all.first = this;
    }

    ~pool() {
        drain();
        for (frame_lists::list& each : own.lists) each.limit = 0;
        auto& all = pools();
        const std::lock_guard hold(all.lock);
        all.of_ended_threads.fetch_add(own.live.load(std::memory_order_relaxed),
                                       std::memory_order_relaxed);
        own.live.store(0, std::memory_order_relaxed);
        if (next) next->previous = previous;
        (previous ? previous->next : all.first) = next;
    }

    static void* pop(const kept_block*& list) noexcept {
        const kept_block* const first = std::exchange(list, list->next);
        return const_cast<kept_block*>(first);
    }
    static void give_back_all(const kept_block*& list) noexcept {
        while (list->next) give_back(pop(list));
    }

    void drain() noexcept {
        for (frame_lists::list& each : own.lists) give_back_all(each.first);
        for (aging& each : ages) {
            give_back_all(each.reserve);
            each = aging{};
        }
        give_back_all(condemned);
    }

    // With nothing allowed, every request takes the slow path, where the watcher is asked.
    void reset_limits() noexcept {
        allowed = 0;
        for (std::size_t index = 0; index < classes; ++index) {
            ages[index].limit = watcher ? 0 : static_cast<unsigned>(first_limit / cost(index));
            allow(index);
            allowed += ages[index].limit * cost(index);
        }
    }
    // The list may hold what the reserve leaves of the limit.
    void allow(std::size_t index) noexcept {
        own.lists[index].limit = ages[index].limit - ages[index].reserve->kept;
    }
    [[nodiscard]] unsigned kept(std::size_t index) const noexcept {
        return own.lists[index].first->kept + ages[index].reserve->kept;
    }

    void count_free() noexcept {
        if (--own.frees_to_tick == 0) [[unlikely]]
            tick();
    }

    /// The list is empty. Returns a block of the reserve; null: the system has to give one.
    void* miss(std::size_t index) noexcept {
        aging& age = ages[index];
        if (age.reserve->next) {
            void* const taken = pop(age.reserve);
            allow(index);
            return taken;
        }
        if (age.refused > 0) {
            --age.refused;
            ++age.missed;
        }
        return nullptr;
    }

    /// Raises the limit of a class that is full by one block; false: it is to go back.
    bool may_keep_one_more(std::size_t index) noexcept {
        aging& age = ages[index];
        if (age.missed == 0 || allowed + condemned_bytes() + cost(index) > most_kept) {
            // Of no use beyond what a thread may keep.
            if (age.refused < most_kept / cost(index)) ++age.refused;
            return false;
        }
        --age.missed;
        ++age.limit;
        allow(index);
        allowed += cost(index);
        return true;
    }

    void tick() noexcept {
        own.frees_to_tick = frees_per_tick;
        for (unsigned i = 0; condemned->next && i < frees_per_tick; ++i) {
            give_back(pop(condemned));
        }
        const std::size_t index = ++ticks % classes;
        const std::uint64_t frees = std::uint64_t{ticks - ages[index].since} * frees_per_tick;
        if (!condemned->next && frees >= std::uint64_t{kept(index)} * frees_per_block) {
            end_period(index);
        }
    }

    // What is in the reserve now has not been needed, not even when the fewest were there.
    void end_period(std::size_t index) noexcept {
        aging& age = ages[index];
        age.since = ticks;
        const auto least = static_cast<unsigned>(least_limit / cost(index));
        if (kept(index) <= least) return;
        const unsigned lower = std::max(least, age.limit - age.reserve->kept);
        allowed -= (age.limit - lower) * cost(index);
        age.limit = lower;
        condemned = age.reserve;
        condemned_cost = cost(index);
        age.reserve = std::exchange(own.lists[index].first, &frame_lists::none);
        allow(index);
    }

    [[nodiscard]] std::size_t condemned_bytes() const noexcept {
        return condemned->kept * condemned_cost;
    }
    [[nodiscard]] std::size_t bytes() const noexcept {
        std::size_t sum = condemned_bytes();
        for (std::size_t index = 0; index < classes; ++index) sum += kept(index) * cost(index);
        return sum;
    }
};

// Null before the thread's first block and after its last: a static destructor may free a frame
// when the pool has gone.
thread_local constinit pool* own_pool = nullptr;
thread_local constinit bool pool_gone = false;

/// Counts a frame of this thread in or out; `own` is its pool, or null when that has gone.
void count_frame(pool* own, std::int64_t change) noexcept {
    if (own) {
        own->own.add_live(change);
    } else {
        pools().of_ended_threads.fetch_add(change, std::memory_order_relaxed);
    }
}

struct pool_holder {
    pool own;
    pool_holder() { own_pool = &own; }
    ~pool_holder() {
        own_pool = nullptr;
        pool_gone = true;
    }
};

pool* this_thread_pool() {
    if (own_pool) return own_pool;
    if (pool_gone) return nullptr;
    thread_local pool_holder holder;
    return &holder.own;
}

} // namespace

thread_local constinit frame_lists own_frames;

void* allocate_new_frame(std::size_t size) {
    pool* const own = this_thread_pool();
    if (own && own->watcher) {
        if (own->watcher->refuses()) throw std::bad_alloc();
    } else if (pooling && own && size <= frame_lists::largest) {
        if (void* const kept = own->miss(frame_lists::index_of(size))) {
            own->own.add_live(1);
            return kept;
        }
    }
    void* const made = system_block(size);
    count_frame(own, 1);
    return made;
}

void free_frame_slowly(void* frame, std::size_t size) noexcept {
    pool* const own = this_thread_pool();
    if (pooling && own && size <= frame_lists::largest && !own->watcher) {
        frame_lists::list& to = own->own.lists[frame_lists::index_of(size)];
        // The thread's first may be a free: then the limits have only just been set.
        if (to.first->kept < to.limit || own->may_keep_one_more(frame_lists::index_of(size))) {
            free_frame(frame, size);
            return;
        }
        own->count_free();
    }
    count_frame(own, -1);
    give_back(frame);
}

void age_frames() noexcept {
    own_pool->tick();
}

void* allocate_frame(std::size_t size, std::align_val_t alignment) {
    if (static_cast<std::size_t>(alignment) <= frame_alignment) return allocate_frame(size);
    pool* own = this_thread_pool();
    if (own && own->watcher && own->watcher->refuses()) throw std::bad_alloc();
    const auto before = pooling ? static_cast<std::size_t>(alignment) : 0;
    if (size > std::numeric_limits<std::size_t>::max() - before - granule)
        throw std::bad_alloc();
    if (pooling) size = rounded(size);
    auto* const begin = static_cast<std::byte*>(::operator new(size + before, alignment));
    std::byte* const block = begin + before;
    if (pooling) mark(size, granule).put(block);
    count_frame(own, 1);
    return block;
}

void free_frame(void* frame, std::size_t size, std::align_val_t alignment) noexcept {
    if (static_cast<std::size_t>(alignment) <= frame_alignment) {
        free_frame(frame, size);
        return;
    }
    count_frame(this_thread_pool(), -1);
    if (pooling) wipe(frame);
    const auto before = pooling ? static_cast<std::size_t>(alignment) : 0;
    ::operator delete(static_cast<std::byte*>(frame) - before, alignment);
}

bool frame_holds(const void* frame, const void* object) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(frame);
    const auto place = reinterpret_cast<std::uintptr_t>(object);
    if (place < begin) return false;
#if TOADSTONE_ASAN || TOADSTONE_TSAN
    return __sanitizer_get_ownership(frame) != 0 &&
           place - begin < __sanitizer_get_allocated_size(frame);
#else
    const mark of = mark::of(frame);
    return of.plausible() && place - begin < of.size();
#endif
}

allocation_watcher* watch_allocations(allocation_watcher* by) noexcept {
    pool* own = this_thread_pool();
    if (!own) return nullptr;
    allocation_watcher* const before = std::exchange(own->watcher, by);
    own->drain();
    own->reset_limits();
    return before;
}

std::size_t kept_frame_bytes() noexcept {
    const pool* own = this_thread_pool();
    return own ? own->bytes() : 0;
}

std::int64_t live_frames() noexcept {
    auto& all = pools();
    const std::lock_guard hold(all.lock);
    std::int64_t sum = all.of_ended_threads.load(std::memory_order_relaxed);
    for (pool* each = all.first; each; each = each->next) {
        sum += each->own.live.load(std::memory_order_relaxed);
    }
    return sum;
}

} // namespace toadstone::detail
