// Switching between a worker and a fiber, and unwinding a fiber.
#include <toadstone/runtime/detail/fiber_core.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/fiber/stack.hpp>

#include <boost/context/detail/fcontext.hpp>

#include <utility>

#if TOADSTONE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if TOADSTONE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace toadstone::detail {

namespace context_switch = boost::context::detail;

/// Where a fiber's stack begins.
struct fiber_entry {
    static void begin(context_switch::transfer_t from) noexcept {
        fiber_core& fiber = *static_cast<fiber_core*>(from.data);
        fiber.worker_ = from.fctx;
        fiber.live();
    }
};

void refuse_outside_of_fibers() {
    throw_misuse("fiber::await is for code that run_fiber() runs: a coroutine writes co_await, "
                 "and so do those that it calls unless they are on a fiber's stack");
}

void fiber_core::begin(context& task, promise_base& caller) {
    ctx_ = &task;
    const fiber_stack stack = take_fiber_stack(stack_size_);
    fiber_ = context_switch::make_fcontext(stack.top, stack.size, &fiber_entry::begin);
    memory_.begin = stack.top - stack.size;
    memory_.size = stack.size;
    ctx_->add_memory(memory_);
#if TOADSTONE_TSAN
    sanitizing_.fiber = __tsan_create_fiber(0);
#endif
    child = &frame_.promise;
    child->ctx = ctx_;
    child->parent = &caller;
    child->owner = this;
    ctx_->call(*child);
}

[[gnu::always_inline]] inline void fiber_core::switch_in() noexcept {
    thread_slice& slice = this_slice;
    exception_globals& globals = *slice.globals;
    const exception_globals outer = globals;
    const unsigned base = slice.now.base;
    globals.caught = caught_;
    globals.uncaught = base + uncaught_;
    slice_ = slice.now.serial;
    fiber_host* const around = std::exchange(fiber_here, this);
#if TOADSTONE_TSAN
    sanitizing_.worker = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(sanitizing_.fiber, 0);
#endif
#if TOADSTONE_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, memory_.begin, memory_.size);
#endif
    fiber_ = context_switch::jump_fcontext(fiber_, this).fctx;
#if TOADSTONE_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
    memory_.fake_stack = sanitizing_.fake;
#endif
    fiber_here = around;
    caught_ = globals.caught;
    uncaught_ = globals.uncaught - base;
    globals = outer;
}

[[gnu::always_inline]] inline void fiber_core::switch_out() noexcept {
#if TOADSTONE_TSAN
    __tsan_switch_to_fiber(sanitizing_.worker, 0);
#endif
#if TOADSTONE_ASAN
    __sanitizer_start_switch_fiber(ended_ ? nullptr : &sanitizing_.fake,
                                   sanitizing_.worker_bottom, sanitizing_.worker_size);
#endif
    worker_ = context_switch::jump_fcontext(worker_, nullptr).fctx;
#if TOADSTONE_ASAN
    __sanitizer_finish_switch_fiber(sanitizing_.fake, &sanitizing_.worker_bottom,
                                    &sanitizing_.worker_size);
#endif
}

fiber_core& fiber_core::of(fiber_frame* frame) noexcept {
    return *static_cast<fiber_core*>(frame->promise.owner);
}

void fiber_core::resume(fiber_frame* frame) noexcept {
    fiber_core& fiber = of(frame);
    fiber.switch_in();
    if (fiber.ended_) [[unlikely]]
        fiber.ctx_->ended(frame->promise);
}

void fiber_core::destroy(fiber_frame* frame) noexcept {
    fiber_core& fiber = of(frame);
    if (!fiber.ended_) {
        fiber.unwinding_ = true;
        --fiber.uncaught_; // what unwinds it counts for nothing: the teardown does
        fiber.switch_in();
    }
    fiber.ctx_->remove_memory(fiber.memory_);
#if TOADSTONE_TSAN
    __tsan_destroy_fiber(fiber.sanitizing_.fiber);
#endif
    const task_memory& stack = fiber.memory_;
    give_back_fiber_stack({stack.begin + stack.size, stack.size});
}

void fiber_core::note_fake_stack() noexcept {
#if TOADSTONE_ASAN
    memory_.fake_stack = __asan_get_current_fake_stack();
#endif
}

void fiber_core::live() noexcept {
#if TOADSTONE_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &sanitizing_.worker_bottom,
                                    &sanitizing_.worker_size);
#endif
    try {
        run_(argument_);
        if (unwinding_) unwind_swallowed();
    } catch (const fiber_unwind& arrived) {
        arrived.core = nullptr;
    } catch (...) {
        if (unwinding_) unwind_swallowed();
        error_ = std::current_exception();
        explain_causes(error_);
    }
    ended_ = true;
    switch_out();
    __builtin_unreachable();
}

void fiber_core::suspend() {
    switch_out();
    if (unwinding_) [[unlikely]]
        throw fiber_unwind(*this);
}

bool fiber_core::begin_wait(leaf& what) {
    check_await(must_return());
    what.bind(*ctx_, where_);
    if (!must_return() && ctx_->should_stop()) {
        ctx_->stop_here(frame_.promise, where_);
        return false;
    }
    ctx_->suspend_at(frame_.promise, &what, where_);
    return true;
}

void fiber_core::refuse_await() const noexcept {
    if (unwinding_) unwind_swallowed();
    TOADSTONE_ASSERT(no_unwind_ == 0,
                     "within fiber::no_unwind a cancellation could not unwind the fiber: use "
                     "fiber::try_await, and tell the C code by its own error code");
    contract_violated("a destructor of a coroutine's frame cannot await, on a fiber neither",
                      __FILE__, __LINE__);
}

void fiber_core::unwind_swallowed() const noexcept {
    contract_violated("this fiber is being unwound because its task was cancelled, and cannot "
                      "go on or await: a catch (...) on its stack has to end with throw;",
                      __FILE__, __LINE__);
}

} // namespace toadstone::detail
