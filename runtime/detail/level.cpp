// The thread-local state behind slices and levels.
#include <toadstone/runtime/detail/level.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/thread_slice.hpp>

#include <cxxabi.h>

namespace toadstone::detail {

thread_local constinit thread_slice this_slice;

namespace {

exception_globals* globals_of(thread_slice& slice) noexcept {
    if (!slice.globals) [[unlikely]] {
        slice.globals = reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
        slice.unsettled = slice.unexplained;
    }
    return slice.globals;
}

} // namespace

exception_globals& globals_here() noexcept {
    return *globals_of(this_slice);
}

slice_state enter_slice(context* task, const teardown_record* record) noexcept {
    auto& slice = this_slice;
    const slice_state outer = slice.now;
    globals_of(slice);
    begin_slice(slice, task);
    slice.now.depth = record ? 1 : 0;
    slice.now.record = record;
    return outer;
}

void leave_slice(const slice_state& outer) noexcept {
    auto& slice = this_slice;
    end_slice(slice);
    slice.now = outer;
}

unsigned settled_level() noexcept {
    auto& slice = this_slice;
    const unsigned in_flight = globals_of(slice)->uncaught - slice.now.base;
    // Nothing is in flight any more: a cause that still waits for its exception would get a
    // wrong one.
    if (slice.unexplained && in_flight == 0) settle_unexplained_causes();
    return in_flight + slice.now.depth;
}

unsigned exceptions_in_slice() noexcept {
    auto& slice = this_slice;
    return globals_of(slice)->uncaught - slice.now.base;
}

const void* handler_in_slice() noexcept {
    auto& slice = this_slice;
    const void* const handler = globals_of(slice)->caught;
    return handler == slice.now.handler ? nullptr : handler;
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
