// Beginning and ending slices, for the loop and level.cpp.
#ifndef TOADSTONE_RUNTIME_DETAIL_THREAD_SLICE_HPP
#define TOADSTONE_RUNTIME_DETAIL_THREAD_SLICE_HPP

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/level.hpp>

namespace toadstone::detail {

inline void begin_slice(thread_slice& slice, context* task) noexcept {
    slice.now.base = slice.globals->uncaught;
    slice.now.handler = slice.globals->caught;
    slice.now.depth = 0;
    slice.now.record = nullptr;
    slice.now.task = task;
    slice.now.serial = ++slice.last_serial;
}
inline void end_slice(thread_slice& slice) noexcept {
    slice.now.task = nullptr;
    if (slice.unexplained) [[unlikely]] {
        if (slice.globals->uncaught == 0) forget_unexplained_causes();
        slice.now.serial = ++slice.last_serial;
    }
}

/// The worker's loop opens one slice, which is nobody's, and puts one context after the other
/// into it. All else is as that slice began: no coroutine suspends with an exception in flight,
/// and whatever nests restores it.
inline void put_into_slice(thread_slice& slice, context& task) noexcept {
    slice.now.task = &task;
}

} // namespace toadstone::detail

#endif
