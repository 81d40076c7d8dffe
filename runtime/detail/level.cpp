// The thread-local state behind slices and levels.
#include <toadstone/runtime/detail/level.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>

#include <cxxabi.h>

namespace toadstone::detail {
namespace {

// The head of the Itanium C++ ABI's per-thread exception record. libstdc++ and libc++abi agree
// on it; reading it directly costs a third of std::uncaught_exceptions().
struct exception_globals {
    void* caught;
    unsigned uncaught;
};

struct thread_slice {
    exception_globals* globals = nullptr;
    slice_state now;
    unsigned last_serial = 0;
};

thread_local constinit thread_slice this_slice;

exception_globals* globals_of(thread_slice& slice) noexcept {
    if (!slice.globals) {
        slice.globals = reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
    }
    return slice.globals;
}

} // namespace

slice_state enter_slice(context* task, const teardown_record* record) noexcept {
    auto& slice = this_slice;
    const slice_state outer = slice.now;
    slice.now.base = globals_of(slice)->uncaught;
    slice.now.depth = record ? 1 : 0;
    slice.now.record = record;
    slice.now.task = task;
    slice.now.serial = ++slice.last_serial;
    return outer;
}

void leave_slice(const slice_state& outer) noexcept {
    auto& slice = this_slice;
    if (globals_of(slice)->uncaught == 0) forget_unexplained_causes();
    slice.now = outer;
}

unsigned level() noexcept {
    auto& slice = this_slice;
    // Nothing is in flight any more: a cause that still waits for its exception would get a
    // wrong one.
    if (globals_of(slice)->uncaught == slice.now.base) settle_unexplained_causes();
    return globals_of(slice)->uncaught - slice.now.base + slice.now.depth;
}

unsigned exceptions_in_slice() noexcept {
    auto& slice = this_slice;
    return globals_of(slice)->uncaught - slice.now.base;
}

bool interrupted_by_exception() noexcept {
    const slice_state& now = this_slice.now;
    if (exceptions_in_slice() > 0) return true;
    return now.record && now.record->what == teardown_record::kind::exception;
}

slice_state current_slice() noexcept {
    return this_slice.now;
}

context* current_context() noexcept {
    return this_slice.now.task;
}

} // namespace toadstone::detail
