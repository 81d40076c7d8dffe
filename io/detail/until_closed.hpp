// until_closed: an operation on what has no shutdown(2), ended by the close() of another task.
#ifndef TOADSTONE_IO_DETAIL_UNTIL_CLOSED_HPP
#define TOADSTONE_IO_DETAIL_UNTIL_CLOSED_HPP

#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/detail/fused.hpp>
#include <toadstone/runtime/with_token.hpp>

#include <coroutine>
#include <source_location>
#include <utility>

namespace toadstone::io::detail {

/// How an operation ended that close() may have ended.
enum class end_of_operation : unsigned char {
    by_itself,
    cut,     ///< by close(), while it was under way
    refused, ///< close() had begun before it did
};

/// A leaf under the token that close() cancels, as with_token() does it, but for what follows:
/// the task goes on, and is told.
template <class A>
class until_closed
    : public toadstone::detail::fused_around<A, toadstone::detail::fused_token_leaf> {
    using base = toadstone::detail::fused_around<A, toadstone::detail::fused_token_leaf>;

public:
    until_closed(toadstone::detail::context& ctx, std::source_location where, A&& inside,
                 toadstone::cancellation_token&& closing)
        : base(std::move(inside), ctx, where, std::move(closing)) {
        this->limit_ends_task_ = false;
    }

    [[nodiscard]] bool await_ready() {
        return !this->is_cancelled() && this->leaf_inside().await_ready();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (this->is_cancelled()) {
            refused_ = true;
            this->stop_at_once(frame, this->token_reason());
            return;
        }
        this->leaf_inside().await_suspend(frame);
        if (this->stand_in()) this->listen();
    }

protected:
    ~until_closed() = default;

    /// First in await_resume().
    [[nodiscard]] end_of_operation settled() {
        using ending = typename toadstone::detail::fused_leaf::ending;
        this->check_stopped();
        this->stop_listening();
        if (this->how() <= ending::result) {
            this->has_result();
            return end_of_operation::by_itself;
        }
        return refused_ ? end_of_operation::refused : end_of_operation::cut;
    }

private:
    bool refused_ = false;
};

} // namespace toadstone::io::detail

#endif
