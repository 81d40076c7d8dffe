// What of an async_generator does not depend on its type: whose its frame is, and how it ends.
//
//   state      frame   who may change it to what
//   fresh      there   next(): running
//   running    there   co_yield: paused; its last statement, an exception: ended; a teardown
//                      of the task that waits for the value: torn
//   paused     there   next(): running
//   ended      none
//   torn       none
//
// Only while it is running does the frame stand in a task's chain, between what it awaits and
// the frame that awaits next(). Then it ends as any frame of that chain. Paused, it is
// destroyed with the generator.
#ifndef TOADSTONE_RUNTIME_DETAIL_GENERATOR_HPP
#define TOADSTONE_RUNTIME_DETAIL_GENERATOR_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <exception>
#include <source_location>
#include <utility>

namespace toadstone::detail {

class generator_core;

struct generator_promise_base : task_promise {
    generator_promise_base() = default;
    generator_promise_base(const generator_promise_base&) = delete;
    generator_promise_base& operator=(const generator_promise_base&) = delete;
    ~generator_promise_base();

    /// Whose frame it is. It has one from its first step on.
    [[nodiscard]] generator_core& core() const noexcept;
    void unhandled_exception() noexcept;
    void return_void() const noexcept {}

    /// At its end the trampoline destroys the frame, and the consumer goes on. In a destruction
    /// by the generator itself only a destructor that has thrown leads here.
    struct at_end {
        at_end() noexcept {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
            frame.promise().at_its_end();
        }
        void await_resume() const noexcept {}
    };
    at_end final_suspend() const noexcept { return {}; }

    /// The value is where the consumer looks for it: it goes on.
    struct at_yield {
        at_yield() noexcept {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
            frame.promise().pause();
        }
        void await_resume() const noexcept {}
    };

    std::source_location yielded_at;       ///< the last co_yield
    std::exception_ptr* failure = nullptr; ///< with whoever awaits the value
    /// While the generator destroys the frame: what a destructor in it has thrown.
    std::exception_ptr* lost = nullptr;

private:
    void at_its_end() noexcept;
    void pause() noexcept;
};

class generator_core : public frame_owner {
public:
    enum class stage : unsigned char { fresh, running, paused, ended, torn };

    explicit generator_core(generator_promise_base& frame) noexcept { child = &frame; }
    generator_core(generator_core&& other) noexcept;
    generator_core& operator=(generator_core&&) = delete;
    ~generator_core();
    void swap(generator_core& other) noexcept;

    [[nodiscard]] stage now() const noexcept { return now_; }
    /// Of one that was torn down.
    [[nodiscard]] cancel_reason reason() const noexcept { return reason_; }
    [[nodiscard]] generator_promise_base* frame() const noexcept {
        return static_cast<generator_promise_base*>(child);
    }

    /// The frame becomes the innermost of the chain that ends at `consumer`.
    void enter(context& ctx, promise_base& consumer) noexcept;

private:
    friend struct generator_promise_base;
    void destroy_paused() noexcept;
    void destroy_frame_here(context* here) noexcept;
    void check_idle() const;

    stage now_ = stage::fresh;
    cancel_reason reason_ = cancel_reason::requested;
};

/// Awaits the next value. Not a leaf that others may know: what it waits for is a frame of the
/// same context, which awaits leaves of its own.
class generator_wait : leaf {
public:
    bool cancel(cancel_reason, bool) noexcept final { return false; } // queued already
    bool taken() noexcept final { return true; }                      // it has not gone on yet

    [[nodiscard]] bool await_ready() noexcept {
        return misused_ || (!from_.frame() && may_complete_at_once());
    }

protected:
    generator_wait(generator_core& from, context& ctx, std::source_location where) noexcept
        : from_(from), misused_(from.now() == generator_core::stage::running) {
        bind(ctx, where);
    }
    ~generator_wait() = default;

    /// Null if it has ended.
    [[nodiscard]] generator_promise_base* inside() const noexcept { return from_.frame(); }
    /// For await_suspend.
    void go_into(promise_base& consumer) noexcept;
    /// For await_resume: throws what there is instead of a value, or of an end.
    void check();

private:
    generator_core& from_;
    std::exception_ptr failure_;
    const bool misused_;
};

} // namespace toadstone::detail

#endif
