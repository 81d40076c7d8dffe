// when_all: several awaitables at once, until all have ended.
#ifndef TOADSTONE_RUNTIME_WHEN_ALL_HPP
#define TOADSTONE_RUNTIME_WHEN_ALL_HPP

#include <toadstone/runtime/detail/group.hpp>

#include <cstddef>
#include <tuple>
#include <utility>
#include <vector>

namespace toadstone {
namespace detail {

/// The part of when_all that does not depend on types.
class all_of : public group_boundary {
protected:
    using group_boundary::group_boundary;
    ~all_of() = default;
    /// Rethrows the first failure.
    void check() const;

private:
    void one_ended(context& child, const std::exception_ptr& error) noexcept override;
    [[nodiscard]] bool delivers(const context& member) const noexcept override;
    [[nodiscard]] std::exception_ptr delivered_failure() const noexcept override;

    std::exception_ptr first_failure_;
};

template <class... T>
class all_awaiter final : public all_of {
public:
    all_awaiter(context& ctx, std::source_location where, task<T>&&... bodies) noexcept
        : all_of(ctx, where), children_(group_start(*this, std::move(bodies))...) {}

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        suspend_always(frame);
        std::apply([this](auto&... each) { (add(each), ...); }, children_);
        std::apply([](auto&... each) { (each.begin(), ...); }, children_);
        begun();
    }
    std::tuple<no_void<T>...> await_resume() {
        check();
        return std::apply(
            [](auto&... each) { return std::tuple<no_void<T>...>(each.take()...); }, children_);
    }

private:
    std::tuple<group_child<T>...> children_;
};

template <class T>
class all_vector_awaiter final : public all_of {
public:
    all_vector_awaiter(context& ctx, std::source_location where, std::vector<task<T>>&& bodies)
        : all_of(ctx, where) {
        for (auto& body : bodies) {
            if (!body.valid()) refuse_spent_task();
            children_.emplace_back(group_start(*this, std::move(body)));
        }
    }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        suspend_always(frame);
        for (auto& each : children_) add(each);
        for (auto& each : children_) each.begin();
        begun();
    }
    auto await_resume() {
        check();
        if constexpr (!std::is_void_v<T>) {
            std::vector<storable<T>> values;
            values.reserve(children_.size());
            for (auto& each : children_) values.push_back(to_store<T>(each.take()));
            return values;
        }
    }

private:
    std::deque<group_child<T>> children_;
};

} // namespace detail

/// Runs all awaitables at the same time, on this worker, and waits for all of them.
///
/// Returns: a tuple of their results, std::monostate in the place of void.
/// Errors: the first exception; the others are then cancelled with sibling_failed and torn down
///     before it is rethrown.
/// Cancellation: a request to the caller reaches all of them. Nothing of them is left when the
///     caller goes on or is torn down.
/// Poisoning: a guard in a result that is not delivered because this throws, or the caller is
///     torn down, poisons: its section may be half done. One that came straight from lock(),
///     through other boundaries too, is handed back clean.
template <class... A>
[[nodiscard]] auto when_all(A&&... awaitables) {
    if constexpr (detail::fit_to_group<A...>()) {
        return detail::awaitable<detail::all_acquire<A...>,
                                 detail::all_awaiter<detail::await_result_t<A>...>,
                                 task<detail::await_result_t<A>>...>(
            detail::as_task(std::forward<A>(awaitables))...);
    } else {
        return detail::misused_awaitable();
    }
}

/// when_all() of a number known at run time. Returns: a vector in the order given, of
/// pointers for task<T&>, or nothing for task<void>. Cancellation: as above.
template <class T>
[[nodiscard]] auto when_all(std::vector<task<T>>&& tasks) {
    return detail::awaitable<false, detail::all_vector_awaiter<T>, std::vector<task<T>>>(
        std::move(tasks));
}

} // namespace toadstone

#endif
