// checkpoint and yield_now: cancellation points that wait for nothing.
#ifndef TOADSTONE_RUNTIME_CHECKPOINT_HPP
#define TOADSTONE_RUNTIME_CHECKPOINT_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/executor.hpp>

#include <coroutine>

namespace toadstone {
namespace detail {

/// Goes on at once, or after everybody else who is ready.
class yield_awaiter : public leaf {
public:
    explicit yield_awaiter(bool always) noexcept : always_(always) {}

    [[nodiscard]] bool await_ready() noexcept { return !always_ && may_complete_at_once(); }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (!suspend(frame)) return;
        ctx_->home().push(*ctx_);
    }
    void await_resume() const noexcept {}

    bool cancel(cancel_reason, bool) noexcept override { return false; } // queued already
    bool taken() noexcept override { return true; }

private:
    bool always_;
};

/// checkpoint() in a coroutine of the library, at the place of its caller.
[[nodiscard]] inline called_from<yield_awaiter, bool>
checkpoint_for(std::source_location where) noexcept {
    return called_from<yield_awaiter, bool>(where, false);
}

} // namespace detail

/// Ends the task here if its cancellation was requested; else goes on. Now and then, by the
/// cooperative budget, it lets others run first.
///
/// Cancellation: a cancellation point.
[[nodiscard]] inline detail::operation<detail::yield_awaiter, bool> checkpoint() noexcept {
    return detail::operation<detail::yield_awaiter, bool>(false);
}

/// Lets every other ready task of this worker run before going on.
///
/// Cancellation: a cancellation point, before and after the others ran.
[[nodiscard]] inline detail::operation<detail::yield_awaiter, bool> yield_now() noexcept {
    return detail::operation<detail::yield_awaiter, bool>(true);
}

} // namespace toadstone

#endif
