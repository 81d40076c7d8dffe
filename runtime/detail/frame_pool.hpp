// Memory for coroutine frames and task records: a pool per thread, in size classes of 64 bytes.
#ifndef TOADSTONE_RUNTIME_DETAIL_FRAME_POOL_HPP
#define TOADSTONE_RUNTIME_DETAIL_FRAME_POOL_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <cstdint>

namespace toadstone::detail {

/// Returns at least `size` bytes, aligned to 16. Throws std::bad_alloc.
/// Shape: classes up to 2 KiB are kept on a list per thread; larger blocks go to the system.
[[nodiscard]] void* allocate_frame(std::size_t size);

/// Takes back what allocate_frame(size) returned, on whichever thread; it stays with that
/// thread.
void free_frame(void* frame, std::size_t size) noexcept;

/// Blocks handed out and not returned, over all threads. Exact when no task is running.
[[nodiscard]] std::int64_t live_frames() noexcept;

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

/// A base for records that live in the pool.
struct pooled {
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
        free_frame(block, size);
    }
};

} // namespace toadstone::detail

#endif
