// Waiting for what code outside of the library ends: a callback, another library's coroutine,
// an operation of the user's own.
#ifndef TOADSTONE_RUNTIME_DETAIL_OUTSIDE_WAIT_HPP
#define TOADSTONE_RUNTIME_DETAIL_OUTSIDE_WAIT_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/unstoppable.hpp>

#include <coroutine>
#include <exception>

namespace toadstone::detail {

/// The leaf without its operation.
///
///     not begun   cancelled here, start() is never called
///     starting    start() runs; a request that it causes is looked at behind it
///     pending     end_wait() comes once, from any thread; or withdraw() ends it, asked once
///     over        end_wait() was called, or start() has thrown and nothing comes
///
/// Home worker only, but for end_wait(). Between begin() and that call the task is suspended,
/// and so this object stays.
class outside_wait : public leaf, unstoppable_wait {
public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) begin();
    }
    bool cancel(cancel_reason reason, bool force) noexcept final;
    bool taken() noexcept final { return !error_ && hand_back(); }

protected:
    /// `what` it waits for, in a report; `stoppable`: withdraw() may say yes.
    outside_wait(const char* what, bool stoppable) noexcept
        : unstoppable_wait(what), stoppable_(stoppable) {}
    ~outside_wait() override { forget(); }

    /// Makes the task ready: the last thing that anybody does with this object before the task
    /// itself. Any thread.
    void end_wait() noexcept;
    /// First thing in await_resume: rethrows what start() has thrown.
    void check_started() {
        forget();
        if (error_) [[unlikely]]
            rethrow();
    }

private:
    /// Begins. The task's code, in its slice.
    virtual void start() = 0;
    /// start() has thrown. True: end_wait() will not be called. False: it was, or will be.
    [[nodiscard]] virtual bool nothing_comes() noexcept = 0;
    /// Asked once, after start() has returned, in a slice that is nobody's. True: end_wait()
    /// will not be called.
    [[nodiscard]] virtual bool withdraw(cancel_reason reason) noexcept = 0;
    /// leaf::taken(), if start() has not thrown.
    [[nodiscard]] virtual bool hand_back() noexcept = 0;

    void begin() noexcept;
    void start_failed() noexcept;
    void list() noexcept;
    void forget() noexcept;
    [[noreturn, gnu::cold]] void rethrow();

    std::exception_ptr error_;
    const bool stoppable_;
    bool started_ = false;
    bool asked_early_ = false; ///< while start() ran
    bool asked_ = false;
    bool over_ = false; ///< start() has thrown, and the task is ready
    bool listed_ = false;
};

} // namespace toadstone::detail

#endif
