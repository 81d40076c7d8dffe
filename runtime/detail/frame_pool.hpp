// Memory for coroutine frames and task records: a pool per thread, in size classes of 64 bytes,
// aligned to 64.
#ifndef TOADSTONE_RUNTIME_DETAIL_FRAME_POOL_HPP
#define TOADSTONE_RUNTIME_DETAIL_FRAME_POOL_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <new>

namespace toadstone::detail {

/// What every frame and record is aligned to. Neither g++ 12 nor clang 19 tells a promise's
/// operator new what a frame needs, unless clang is given -fcoro-aligned-allocation.
inline constexpr std::size_t frame_alignment = 64;

/// Returns at least `size` bytes, aligned to frame_alignment. Throws std::bad_alloc.
/// Shape: classes up to 2 KiB are kept on a list per thread; larger blocks go to the system,
///     whose own alignment of 16 costs 64 bytes a block on top of its 16.
[[nodiscard]] void* allocate_frame(std::size_t size);

/// Takes back what allocate_frame(size) returned, on whichever thread; it stays with that
/// thread.
/// Shape: at first a thread keeps 1 MiB of each class, later what it has needed again, up to
///     256 MiB in all, also if only other threads allocate what it frees. What has not been
///     needed during 16 frees for each block of its class goes back, down to 16 KiB a class: as
///     the thread frees, not while it sleeps.
void free_frame(void* frame, std::size_t size) noexcept;

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
