// shield: runs to its end whatever is requested outside.
#ifndef TOADSTONE_RUNTIME_SHIELD_HPP
#define TOADSTONE_RUNTIME_SHIELD_HPP

#include <toadstone/runtime/detail/boundary.hpp>

#include <coroutine>
#include <utility>

namespace toadstone {
namespace detail {

template <class T>
class shield_awaiter final : public single_boundary<T> {
public:
    using single_boundary<T>::single_boundary;

    bool cancel(cancel_reason reason, bool force) noexcept override {
        if (force) this->inside().request(reason, true);
        return false;
    }
    bool taken() noexcept override { return this->inside().unwound(); }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        auto& inside = this->prepare(frame);
        inside.shut_off();
        if (this->ctx_->forced()) inside.request(this->ctx_->reason(), true);
        this->begin();
    }
    T await_resume() { return this->take(); }

private:
    context* child_ended(context& child) noexcept override {
        return child.unwound() ? this->pass_on(child.reason()) : this->complete();
    }
};

} // namespace detail

/// Runs `awaitable` to its end, whatever is requested outside.
///
/// Returns: its result. Errors: what it throws.
/// Cancellation: no cancellation point. A request that is pending or arrives meanwhile is not
///     seen inside; the result is delivered, and the next cancellation point ends the task.
///     Only the destruction of a runtime, after the grace of its shutdown, reaches through a
///     shield.
template <class A>
[[nodiscard]] auto shield(A&& awaitable) {
    using T = detail::await_result_t<A>;
    return detail::awaitable<detail::all_acquire<A>, detail::shield_awaiter<T>, task<T>>(
        detail::as_task(std::forward<A>(awaitable)));
}

} // namespace toadstone

#endif
