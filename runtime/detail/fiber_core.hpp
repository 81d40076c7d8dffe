// A fiber: a function on a stack of its own, in the place of a coroutine that drives it.
#ifndef TOADSTONE_RUNTIME_DETAIL_FIBER_CORE_HPP
#define TOADSTONE_RUNTIME_DETAIL_FIBER_CORE_HPP

#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/fiber_host.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/detail/result.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone::detail {

/// What sanitizers want to be told of two stacks. There in any build: the library's may be
/// another than its user's.
struct fiber_sanitizing {
    void* fiber = nullptr; // ThreadSanitizer's names for the two
    void* worker = nullptr;
    void* fake = nullptr; // AddressSanitizer's second stack of the fiber
    const void* worker_bottom = nullptr;
    std::size_t worker_size = 0;
};

/// The head of a coroutine's frame, by the ABI that g++ and clang share: what resume() and
/// destroy() of its handle call. A fiber is one for the trampoline, and for leaves.
struct fiber_frame {
    void (*resume)(fiber_frame*);
    void (*destroy)(fiber_frame*);
    promise_base promise;
};

/// A fiber in the place of a coroutine, which the coroutine around awaits. Where that is
/// destroyed, as every frame of a cancelled task is, the fiber's stack is unwound first, from
/// where it stands, in the same teardown slice.
///
/// A fiber has exception globals of its own, counted from the beginning of the slice in which
/// it runs, so that a level means the same on its stack.
///
/// Threads: the home worker of the task.
class fiber_core final : public fiber_host, frame_owner {
public:
    using body = void (*)(void* argument);
    fiber_core(body run, void* argument, std::size_t stack_size,
               std::source_location where) noexcept
        : run_(run), argument_(argument), stack_size_(stack_size), where_(where) {}

    /// The task calls it, as it would a child: it runs when the caller has suspended. Errors:
    /// std::system_error where there is no stack.
    void begin(context& task, promise_base& caller);
    /// Errors: what the function threw.
    void check_end() const {
        if (error_) [[unlikely]]
            std::rethrow_exception(error_);
    }

    /// On the fiber's stack.
    [[nodiscard]] context& task() const noexcept override { return *ctx_; }
    [[nodiscard]] std::coroutine_handle<promise_base> frame() noexcept {
        return std::coroutine_handle<promise_base>::from_promise(frame_.promise);
    }
    /// Why it would be wrong to await here ends the process; `returns`: what is awaited ends as
    /// a value in any case.
    void check_await(bool returns) noexcept {
#if TOADSTONE_ASAN
        note_fake_stack();
#endif
        const bool right = !unwinding_ && (returns || no_unwind_ == 0);
        if (!right || this_slice.now.serial != slice_) [[unlikely]]
            refuse_await();
    }
    [[nodiscard]] bool unwinding() const noexcept override { return unwinding_; }
    void suspend() override;
    void forbid_unwind() noexcept { ++no_unwind_; }
    void allow_unwind() noexcept { --no_unwind_; }

    // For what blocks elsewhere.
    [[nodiscard]] bool begin_wait(leaf& what) override;
    void no_wait() noexcept override { ctx_->suspension_undone(); }
    [[nodiscard]] bool must_return() const noexcept override { return no_unwind_ != 0; }

private:
    friend struct fiber_unwind;
    friend struct fiber_entry;
    static void resume(fiber_frame* frame) noexcept;
    static void destroy(fiber_frame* frame) noexcept;
    [[nodiscard]] static fiber_core& of(fiber_frame* frame) noexcept;
    void switch_in() noexcept;
    void switch_out() noexcept;
    /// On the fiber's stack, from its beginning to its end.
    void live() noexcept;
    /// Where AddressSanitizer keeps the fiber's local variables. On the fiber.
    void note_fake_stack() noexcept;
    [[noreturn, gnu::cold]] void refuse_await() const noexcept;
    [[noreturn, gnu::cold]] void unwind_swallowed() const noexcept;

    const body run_;
    void* const argument_;
    const std::size_t stack_size_;
    fiber_frame frame_{&resume, &destroy, {}};
    context* ctx_ = nullptr;
    void* fiber_ = nullptr;  // where it goes on, while it does not run
    void* worker_ = nullptr; // where the worker goes on, while it runs
    void* caught_ = nullptr; // its exception globals, while it does not run
    unsigned uncaught_ = 0;
    unsigned slice_ = 0; // in which it runs
    unsigned no_unwind_ = 0;
    bool ended_ = false;
    bool unwinding_ = false;
    std::exception_ptr error_;
    std::source_location where_;
    task_memory memory_;
    fiber_sanitizing sanitizing_;
};

/// What unwinds a fiber. Not a std::exception: nobody but a `catch (...)` takes it by mistake.
struct fiber_unwind {
    explicit fiber_unwind(const fiber_core& of) noexcept : core(&of) {}
    fiber_unwind(const fiber_unwind&) noexcept {}
    fiber_unwind& operator=(const fiber_unwind&) = delete;
    ~fiber_unwind() {
        if (core) core->unwind_swallowed();
    }
    mutable const fiber_core* core = nullptr; ///< until it has arrived at the fiber's beginning
};

[[noreturn, gnu::cold]] void refuse_outside_of_fibers();

/// The fiber that runs here, or null.
[[nodiscard]] inline fiber_core* find_fiber() noexcept {
    return static_cast<fiber_core*>(fiber_here);
}
/// The same. Errors: std::logic_error if there is none.
[[nodiscard]] inline fiber_core& this_fiber() {
    fiber_core* const fiber = find_fiber();
    if (!fiber) [[unlikely]]
        refuse_outside_of_fibers();
    return *fiber;
}

/// Refers to the fiber: g++ 12 would copy it otherwise.
class fiber_awaiter {
public:
    explicit fiber_awaiter(fiber_core& fiber) noexcept : fiber_(&fiber) {}
    void bind(context& ctx, std::source_location) noexcept { ctx_ = &ctx; }
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) {
        fiber_->begin(*ctx_, frame.promise());
    }
    void await_resume() const { fiber_->check_end(); }

private:
    fiber_core* fiber_;
    context* ctx_ = nullptr;
};

template <class Fn>
class fiber_call {
public:
    using value = std::invoke_result_t<Fn&>;
    explicit fiber_call(Fn& fn) noexcept : fn_(&fn) {}
    static void run(void* call) {
        auto& self = *static_cast<fiber_call*>(call);
        if constexpr (std::is_void_v<value>) {
            (*self.fn_)();
            self.result_.set_value();
        } else {
            self.result_.set_value((*self.fn_)());
        }
    }
    value take() { return result_.take(); }

private:
    Fn* fn_;
    result<value> result_;
};

template <class Fn>
task<std::invoke_result_t<Fn&>> drive_fiber(Fn fn, std::size_t stack_size,
                                            std::source_location where) {
    fiber_call<Fn> call(fn);
    fiber_core fiber(&fiber_call<Fn>::run, &call, stack_size, where);
    co_await fiber_awaiter(fiber);
    co_return call.take();
}

/// Awaits in the place of a coroutine.
template <class Awaiter>
decltype(auto) await_by(fiber_core& fiber, Awaiter& awaiter) {
    if (!awaiter.await_ready()) {
        using suspended = decltype(awaiter.await_suspend(fiber.frame()));
        if constexpr (std::is_void_v<suspended>) {
            awaiter.await_suspend(fiber.frame());
            fiber.suspend();
        } else {
            static_assert(std::is_same_v<suspended, bool>);
            if (awaiter.await_suspend(fiber.frame())) fiber.suspend();
        }
    }
    return awaiter.await_resume();
}

template <class A>
decltype(auto) await_here(fiber_core& fiber, A&& awaitable, std::source_location where) {
    using plain = std::remove_cvref_t<A>;
    static_assert(
        library_awaitable<A>,
        "a fiber awaits tasks and the awaitables of this library; anything else could "
        "not be cancelled");
    if constexpr (any_task<A>) {
        static_assert(!std::is_lvalue_reference_v<A>,
                      "a task is awaited once: write fiber::await(std::move(task))");
        task_awaiter<typename plain::value_type> awaiter(std::move(awaitable));
        return await_by(fiber, awaiter);
    } else if constexpr (convertible_to_awaiter<A>) {
        auto&& awaiter = static_cast<A&&>(awaitable).make_awaiter(fiber.task(), where);
        return await_by(fiber, awaiter);
    } else {
        static_assert(bindable<plain>, "with_timeout(), when_all() and their like are awaited "
                                       "once: write fiber::await(std::move(x))");
        awaitable.bind(fiber.task(), where);
        return await_by(fiber, awaitable);
    }
}

/// As as_outcome(), but a request to the task itself ends here as a value, too.
template <class T>
class try_awaiter final : public single_boundary<T> {
public:
    using single_boundary<T>::single_boundary;

    bool taken() noexcept override { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        this->inherit_request(this->prepare(frame));
        this->begin();
    }
    outcome<T> await_resume() { return this->take_outcome(); }

private:
    context* child_ended(context&) noexcept override { return this->complete(); }
};

} // namespace toadstone::detail

#endif
