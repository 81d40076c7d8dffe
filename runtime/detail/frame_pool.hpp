// Memory for coroutine frames and task records: a pool per thread, in size classes of 64 bytes,
// aligned to 64.
#ifndef TOADSTONE_RUNTIME_DETAIL_FRAME_POOL_HPP
#define TOADSTONE_RUNTIME_DETAIL_FRAME_POOL_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>

namespace toadstone::detail {

/// What every frame and record is aligned to. Neither g++ 12 nor clang 19 tells a promise's
/// operator new what a frame needs, unless clang is given -fcoro-aligned-allocation.
inline constexpr std::size_t frame_alignment = 64;

/// Blocks that a thread keeps, by size class: what every allocation and every free touches.
struct frame_lists {
    static constexpr std::size_t largest = 2048; ///< bytes of a block that is kept
    static constexpr std::size_t count = largest / frame_alignment;
    [[nodiscard]] static constexpr std::size_t index_of(std::size_t size) noexcept {
        return (size - 1) / frame_alignment;
    }

    struct block {
        const block* next; ///< null: this is no block, it is behind the last of a list
        unsigned kept;     ///< blocks from this one to the last
    };
    static constexpr block none{nullptr, 0};

    struct list {
        const block* first = &none;
        unsigned limit = 0; ///< of blocks; 0, too, while the thread has no pool
    };
    std::array<list, count> lists{};
    /// Handed out and not returned. The owning thread writes, any may read.
    unmodelled_atomic<std::int64_t> live{0};
    unsigned frees_to_tick = 1;

    void add_live(std::int64_t change) noexcept {
        live.store(live.load(std::memory_order_relaxed) + change, std::memory_order_relaxed);
    }
};
extern thread_local constinit frame_lists own_frames;

/// Sanitizers, and a model, are to see each block come and go.
#ifdef TOADSTONE_MODEL_CHECK
inline constexpr bool frames_are_kept = false;
#else
inline constexpr bool frames_are_kept = !TOADSTONE_ASAN && !TOADSTONE_TSAN;
#endif

[[nodiscard]] [[gnu::noinline, gnu::cold]] void* allocate_new_frame(std::size_t size);
[[gnu::noinline, gnu::cold]] void free_frame_slowly(void* frame, std::size_t size) noexcept;
/// Now and then, as the thread frees: what nobody needs goes back to the system.
[[gnu::noinline, gnu::cold]] void age_frames() noexcept;

/// Returns at least `size` bytes, aligned to frame_alignment. Throws std::bad_alloc.
/// Shape: classes up to 2 KiB are kept on a list per thread; larger blocks go to the system,
///     whose own alignment of 16 costs 64 bytes a block on top of its 16.
[[nodiscard]] inline void* allocate_frame(std::size_t size) {
    if (frames_are_kept && size <= frame_lists::largest) {
        frame_lists& own = own_frames;
        frame_lists::list& from = own.lists[frame_lists::index_of(size)];
        const frame_lists::block* const first = from.first;
        if (first->next) [[likely]] {
            from.first = first->next;
            own.add_live(1);
            return const_cast<frame_lists::block*>(first);
        }
    }
    return allocate_new_frame(size);
}

/// Takes back what allocate_frame(size) returned, on whichever thread; it stays with that
/// thread.
/// Shape: at first a thread keeps 1 MiB of each class, later what it has needed again, up to
///     256 MiB in all, also if only other threads allocate what it frees. What has not been
///     needed during 16 frees for each block of its class goes back, down to 16 KiB a class: as
///     the thread frees, not while it sleeps.
inline void free_frame(void* frame, std::size_t size) noexcept {
    if (frames_are_kept && size <= frame_lists::largest) {
        frame_lists& own = own_frames;
        frame_lists::list& to = own.lists[frame_lists::index_of(size)];
        const unsigned kept = to.first->kept;
        if (kept < to.limit) [[likely]] {
            to.first = ::new (frame) frame_lists::block{to.first, kept + 1};
            own.add_live(-1);
            if (--own.frees_to_tick == 0) [[unlikely]]
                age_frames();
            return;
        }
    }
    free_frame_slowly(frame, size);
}

/// The same for a frame that says what alignment it needs: beyond frame_alignment it comes from
/// the system, and is not kept.
[[nodiscard]] void* allocate_frame(std::size_t size, std::align_val_t alignment);
void free_frame(void* frame, std::size_t size, std::align_val_t alignment) noexcept;

/// `object` lies inside `frame`, the beginning of a live frame of any thread. False, too, where
/// the compiler has put the frame into its caller's, which is asked by itself then.
[[nodiscard]] bool frame_holds(const void* frame, const void* object) noexcept;

/// Blocks handed out and not returned, over all threads. Exact when no task is running.
[[nodiscard]] std::int64_t live_frames() noexcept;

/// Bytes that this thread keeps for frames to come.
[[nodiscard]] std::size_t kept_frame_bytes() noexcept;

/// Asked before each block of this thread is allocated, for simulations and tests.
class allocation_watcher {
public:
    virtual bool refuses() noexcept = 0; ///< true: std::bad_alloc

protected:
    ~allocation_watcher() = default;
};

/// Has `by` asked from now on, on this thread; null: nobody. Returns who was asked before.
/// Costs those that are not watched nothing: the fast path stays as it is.
allocation_watcher* watch_allocations(allocation_watcher* by) noexcept;

/// A base for what lives in the pool: frames, by their promise, and records.
struct pooled {
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
        free_frame(block, size);
    }
    static void* operator new(std::size_t size, std::align_val_t alignment) {
        return allocate_frame(size, alignment);
    }
    static void operator delete(void* block, std::size_t size,
                                std::align_val_t alignment) noexcept {
        free_frame(block, size, alignment);
    }
};

} // namespace toadstone::detail

#endif
