// Slices and the level: how a guard learns whether it dies in normal control flow.
//
// Every time the runtime enters user code, to run it or to tear it down, a slice starts. The
// level is the number of exceptions thrown since then and not yet caught, plus one if the slice
// is a teardown. A guard poisons when it dies at a higher level than it was born.
#ifndef TOADSTONE_RUNTIME_DETAIL_LEVEL_HPP
#define TOADSTONE_RUNTIME_DETAIL_LEVEL_HPP

#include <toadstone/runtime/cancel_reason.hpp>

#include <exception>
#include <source_location>

namespace toadstone::detail {

class context;
class executor;

/// Why a frame is being destroyed before it returned. Lives on the stack of whoever destroys.
struct teardown_record {
    enum class kind : unsigned char { cancelled, abandoned, exception };
    kind what = kind::cancelled;
    cancel_reason reason = cancel_reason::requested;
    std::source_location where;    ///< the co_await at which the task was stopped
    const context* task = nullptr; ///< whose frames these are
    std::exception_ptr error;      ///< for kind::exception
};

/// What is saved and replaced whenever the runtime enters user code.
struct slice_state {
    unsigned base = 0;  ///< uncaught exceptions when the slice began
    unsigned depth = 0; ///< 1 in a teardown slice
    const teardown_record* record = nullptr;
    context* task = nullptr;       ///< the logical task that runs, if any
    unsigned serial = 0;           ///< tells the slices of a thread apart
    const void* handler = nullptr; ///< the `catch` handler in which the slice began
};

/// Starts a slice and returns the one that it interrupts.
[[gnu::noinline]] slice_state enter_slice(context* task,
                                          const teardown_record* record) noexcept;
[[gnu::noinline]] void leave_slice(const slice_state& outer) noexcept;

/// The head of the Itanium C++ ABI's per-thread exception record. libstdc++ and libc++abi agree
/// on it; reading it directly costs a third of std::uncaught_exceptions().
struct exception_globals {
    void* caught;
    unsigned uncaught;
};

/// Where a thread keeps its slice.
struct thread_slice {
    exception_globals* globals = nullptr; ///< null until the first slice
    slice_state now;
    unsigned last_serial = 0;
    /// A cause of this thread waits for its exception, or `globals` is still unknown.
    bool unsettled = true;
    bool unexplained = false; ///< the former
};
extern thread_local constinit thread_slice this_slice;
/// Of this thread, found if need be.
[[nodiscard]] exception_globals& globals_here() noexcept;

[[gnu::noinline, gnu::cold]] unsigned settled_level() noexcept;

/// level() of the thread that has this slice, which is the one that asks.
[[nodiscard]] inline unsigned level_in(const thread_slice& slice) noexcept {
    if (slice.unsettled) [[unlikely]]
        return settled_level();
    return slice.globals->uncaught - slice.now.base + slice.now.depth;
}
/// The level now. In a coroutine, too: neither g++, which splits it before it optimises, nor
/// clang from 16 on keeps the address of a thread-local object across a suspension, after which
/// the coroutine can be on another thread.
[[nodiscard]] inline unsigned level() noexcept {
    return level_in(this_slice);
}

/// Exceptions thrown in this slice and not yet caught.
[[gnu::noinline]] unsigned exceptions_in_slice() noexcept;

/// The innermost `catch` handler that is running, if it began in this slice; else null.
[[gnu::noinline]] const void* handler_in_slice() noexcept;

/// What ends a section now: an exception, in flight or in the record of a teardown.
[[gnu::noinline]] bool interrupted_by_exception() noexcept;

/// The slice that is active on this thread.
[[gnu::noinline]] slice_state current_slice() noexcept;
[[gnu::noinline]] context* current_context() noexcept;

/// Opens a slice for the extent of a block.
class slice_scope {
public:
    explicit slice_scope(context* task, const teardown_record* record = nullptr) noexcept
        : outer_(enter_slice(task, record)) {}
    ~slice_scope() { leave_slice(outer_); }
    slice_scope(const slice_scope&) = delete;
    slice_scope& operator=(const slice_scope&) = delete;

private:
    slice_state outer_;
};

} // namespace toadstone::detail

#endif
