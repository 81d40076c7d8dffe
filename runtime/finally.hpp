// finally: a cleanup that may await, and that runs however the body ended.
#ifndef TOADSTONE_RUNTIME_FINALLY_HPP
#define TOADSTONE_RUNTIME_FINALLY_HPP

#include <toadstone/runtime/detail/boundary.hpp>

#include <coroutine>
#include <optional>
#include <utility>

namespace toadstone {
namespace detail {

template <class T>
class finally_awaiter final : public single_boundary<T> {
public:
    finally_awaiter(context& ctx, std::source_location where, task<T>&& body,
                    task<void>&& cleanup) noexcept
        : single_boundary<T>(ctx, where, std::move(body)), cleanup_(std::move(cleanup)) {}

    bool cancel(cancel_reason reason, bool force) noexcept override {
        if (!cleaning_) {
            this->inside().request(reason, force);
        } else if (force) {
            cleaning_->request(reason, true);
        }
        return false;
    }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        this->inherit_request(this->prepare(frame));
        this->begin();
    }
    T await_resume() {
        if (!this->inside().outcome.error() && cleaning_->outcome.error()) {
            cleaning_->outcome.take();
        }
        return this->take();
    }

private:
    context* child_ended(context& child) noexcept override {
        if (!cleaning_) {
            cleaning_.emplace(*this->ctx_, *this);
            cleaning_->shut_off();
            if (this->ctx_->forced()) cleaning_->request(this->ctx_->reason(), true);
            cleaning_->begin(std::move(cleanup_));
            return nullptr;
        }
        const bool body_lost = this->inside().unwound() || this->inside().outcome.error();
        if (body_lost && cleaning_->outcome.error()) {
            report_lost_failure(child, "its cleanup", cleaning_->outcome.error());
        }
        if (cleaning_->unwound() || cleaning_->outcome.error()) {
            this->inside().outcome.drop(
                end_without_result(*cleaning_, cleaning_->outcome.error()));
        }
        if (this->inside().unwound()) return this->pass_on(this->inside().reason());
        if (cleaning_->unwound()) return this->pass_on(cleaning_->reason());
        return this->complete();
    }

    task<void> cleanup_;
    std::optional<detail::child<void>> cleaning_;
};

} // namespace detail

/// Runs `body`, then `cleanup`, however `body` ended: value, exception or cancellation.
///
/// Returns: the body's result. Errors: the body's exception; if the body succeeded, the
///     cleanup's. A cleanup that fails after the body did is reported on stderr.
/// Cancellation: reaches the body only. The cleanup runs shielded, before any outer frame is
///     torn down; give it a with_timeout() if it may take long.
template <class A, class C>
[[nodiscard]] auto finally(A&& body, C&& cleanup) {
    using T = detail::await_result_t<A>;
    return detail::awaitable<detail::all_acquire<A>, detail::finally_awaiter<T>, task<T>,
                             task<void>>(detail::as_task(std::forward<A>(body)),
                                         detail::as_task(std::forward<C>(cleanup)));
}

} // namespace toadstone

#endif
