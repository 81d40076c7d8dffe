// when_any_success: several awaitables at once, until one has succeeded and the others are
// gone.
#ifndef TOADSTONE_RUNTIME_WHEN_ANY_SUCCESS_HPP
#define TOADSTONE_RUNTIME_WHEN_ANY_SUCCESS_HPP

#include <toadstone/runtime/aggregate_error.hpp>
#include <toadstone/runtime/when_any.hpp>

#include <cstddef>
#include <exception>
#include <source_location>
#include <utility>
#include <vector>

namespace toadstone {
namespace detail {

/// The first value wins. Without one: the failures together, or, if the caller was asked to
/// stop, its stop.
class any_success_of : public group_boundary {
protected:
    /// Room for all failures, so that no end needs memory. Errors: std::bad_alloc.
    any_success_of(context& ctx, std::source_location where, std::size_t branches);
    ~any_success_of() = default;
    [[nodiscard]] std::size_t winner();

private:
    void one_ended(context& child, const std::exception_ptr& error) noexcept override;
    [[nodiscard]] bool delivers(const context& member) const noexcept override;
    [[nodiscard]] std::exception_ptr delivered_failure() const noexcept override {
        return nullptr; // then there is no result that could be dropped
    }
    void stop(context& child) noexcept;

    bool decided_ = false;
    std::size_t winner_ = 0;
    std::vector<std::exception_ptr> failures_;
};

} // namespace detail

/// Runs all awaitables at the same time, on this worker, until the first has succeeded.
///
/// Returns: as when_any(): the winner's index and value. Errors: aggregate_error with all
///     failures, in their order, when all branches have failed; one that was cancelled by
///     itself is among them as task_cancelled. Failures beside a success are dropped, and not
///     reported.
/// Cancellation: when one has succeeded the others are cancelled with lost_race AND joined
///     before this returns. A failure cancels nobody. A request to the caller reaches all, and
///     tears the caller down if none succeeds all the same; failures are then reported.
/// Poisoning: as when_any().
template <class... A>
[[nodiscard]] auto when_any_success(A&&... awaitables) {
    if constexpr (detail::fit_to_group<A...>()) {
        using awaiter =
            detail::race_awaiter<detail::any_success_of, detail::await_result_t<A>...>;
        return detail::awaitable<detail::all_acquire<A...>, awaiter,
                                 task<detail::await_result_t<A>>...>(
            detail::as_task(std::forward<A>(awaitables))...);
    } else {
        return detail::misused_awaitable();
    }
}

/// when_any_success() of a number known at run time. Errors: std::invalid_argument for none.
/// Cancellation: as above.
template <class T>
[[nodiscard]] auto when_any_success(std::vector<task<T>>&& tasks) {
    if (tasks.empty()) detail::throw_empty_race();
    return detail::awaitable<false, detail::race_vector_awaiter<detail::any_success_of, T>,
                             std::vector<task<T>>>(std::move(tasks));
}

} // namespace toadstone

#endif
