// Where a thread keeps its slice. Only for the loop, level.cpp, and what belongs to one worker:
// a coroutine may not cache the address of a thread-local object.
#ifndef TOADSTONE_RUNTIME_DETAIL_THREAD_SLICE_HPP
#define TOADSTONE_RUNTIME_DETAIL_THREAD_SLICE_HPP

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/level.hpp>

namespace toadstone::detail {

/// The head of the Itanium C++ ABI's per-thread exception record. libstdc++ and libc++abi agree
/// on it; reading it directly costs a third of std::uncaught_exceptions().
struct exception_globals {
    void* caught;
    unsigned uncaught;
};

struct thread_slice {
    exception_globals* globals = nullptr; ///< null until the first slice
    slice_state now;
    unsigned last_serial = 0;
    bool unexplained = false; ///< a cause of this thread waits for its exception
};

extern thread_local constinit thread_slice this_slice;

/// level() of the thread that has this slice, which is the one that asks.
inline unsigned level_in(const thread_slice& slice) noexcept {
    const unsigned in_flight = slice.globals->uncaught - slice.now.base;
    // Nothing is in flight any more: a cause that still waits for its exception would get a
    // wrong one.
    if (slice.unexplained && in_flight == 0) [[unlikely]]
        settle_unexplained_causes();
    return in_flight + slice.now.depth;
}

/// In the place of the slice that is active, which belongs to nobody: the worker's loop opens
/// one and puts one context after the other into it.
inline void begin_slice(thread_slice& slice, context* task) noexcept {
    slice.now.base = slice.globals->uncaught;
    slice.now.depth = 0;
    slice.now.record = nullptr;
    slice.now.task = task;
    slice.now.serial = ++slice.last_serial;
}
inline void end_slice(thread_slice& slice) noexcept {
    slice.now.task = nullptr;
    if (slice.unexplained && slice.globals->uncaught == 0) [[unlikely]]
        forget_unexplained_causes();
}

} // namespace toadstone::detail

#endif
