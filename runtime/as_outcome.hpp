// as_outcome: how an awaitable ended, as a value.
#ifndef TOADSTONE_RUNTIME_AS_OUTCOME_HPP
#define TOADSTONE_RUNTIME_AS_OUTCOME_HPP

#include <toadstone/runtime/detail/boundary.hpp>

#include <coroutine>
#include <utility>

namespace toadstone {
namespace detail {

template <class T>
class outcome_awaiter final : public single_boundary<T> {
public:
    using single_boundary<T>::single_boundary;

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        this->inherit_request(this->prepare(frame));
        this->begin();
    }
    outcome<T> await_resume() { return this->take_outcome(); }

private:
    context* child_ended(context&) noexcept override { return this->complete(); }
};

} // namespace detail

/// Runs `awaitable` and gives its outcome: value, exception or cancelled(reason).
///
/// Errors: none; exceptions are in the outcome.
/// Cancellation: a boundary. What cancels only the inside (a token of with_token) ends here as
///     a value. A request to the caller itself tears down the inside and then the caller.
template <class A>
[[nodiscard]] auto as_outcome(A&& awaitable) {
    using T = detail::await_result_t<A>;
    return detail::awaitable<detail::all_acquire<A>, detail::outcome_awaiter<T>, task<T>>(
        detail::as_task(std::forward<A>(awaitable)));
}

} // namespace toadstone

#endif
