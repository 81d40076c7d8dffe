// when_any: several awaitables at once, until one has ended and the others are gone.
#ifndef TOADSTONE_RUNTIME_WHEN_ANY_HPP
#define TOADSTONE_RUNTIME_WHEN_ANY_HPP

#include <toadstone/runtime/detail/group.hpp>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace toadstone {

/// Which branch won, and its result. `value` is a T if all branches give T, std::monostate for
/// void; a std::variant with one alternative per branch otherwise, in which a T& is a T*.
template <class T>
struct any_result {
    /// As when_any() makes it.
    any_result(std::size_t which, T&& result) : index(which), value(std::forward<T>(result)) {}
    /// Makes the variant in place: of one that moves, g++ 12 fears that it is uninitialized.
    template <std::size_t I, class Result>
    any_result(std::in_place_index_t<I> which, Result&& result)
        : index(I), value(which, std::forward<Result>(result)) {}
    /// For the library.
    void hand_back() noexcept { detail::hand_back(value); }
    /// Which of them has won, counted from 0.
    std::size_t index;
    /// Its result.
    T value;
};

namespace detail {

class any_of : public group_boundary {
protected:
    any_of(context& ctx, std::source_location where, std::size_t) noexcept
        : group_boundary(ctx, where) {}
    ~any_of() = default;
    [[nodiscard]] std::size_t winner() const {
        check_stopped();
        return winner_;
    }

private:
    void one_ended(context& child, const std::exception_ptr& error) noexcept override;
    [[nodiscard]] bool delivers(const context& member) const noexcept override;
    [[nodiscard]] std::exception_ptr delivered_failure() const noexcept override;

    bool decided_ = false;
    std::size_t winner_ = 0;
    std::exception_ptr winner_failure_;
};

template <class T, class... Rest>
inline constexpr bool all_same = (std::is_same_v<T, Rest> && ...);
template <class... T>
using any_value =
    std::conditional_t<all_same<T...>, no_void<std::tuple_element_t<0, std::tuple<T...>>>,
                       std::variant<storable<T>...>>;

/// A race of which `Rules` say who wins.
template <class Rules, class... T>
class race_awaiter final : public Rules {
    using value = any_value<T...>;

public:
    race_awaiter(context& ctx, std::source_location where, task<T>&&... bodies)
        : Rules(ctx, where, sizeof...(T)), children_(group_start(*this, std::move(bodies))...) {
    }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        this->suspend_always(frame);
        std::apply([this](auto&... each) { (this->add(each), ...); }, children_);
        std::apply([](auto&... each) { (each.begin(), ...); }, children_);
        this->begun();
    }
    any_result<value> await_resume() { return take<0>(this->winner()); }

private:
    template <std::size_t I>
    any_result<value> take(std::size_t index) {
        if constexpr (I + 1 < sizeof...(T)) {
            if (index != I) return take<I + 1>(index);
        }
        if constexpr (all_same<T...>) {
            return any_result<value>(I, std::get<I>(children_).take());
        } else {
            using branch = std::tuple_element_t<I, std::tuple<std::type_identity<T>...>>;
            return any_result<value>(
                std::in_place_index<I>,
                to_store<typename branch::type>(std::get<I>(children_).take()));
        }
    }

    std::tuple<group_child<T>...> children_;
};

template <class Rules, class T>
class race_vector_awaiter final : public Rules {
public:
    race_vector_awaiter(context& ctx, std::source_location where, std::vector<task<T>>&& bodies)
        : Rules(ctx, where, bodies.size()) {
        for (auto& body : bodies) {
            if (!body.valid()) refuse_spent_task();
            children_.emplace_back(group_start(*this, std::move(body)));
        }
    }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        this->suspend_always(frame);
        for (auto& each : children_) this->add(each);
        for (auto& each : children_) each.begin();
    }
    any_result<no_void<T>> await_resume() {
        const std::size_t index = this->winner();
        return any_result<no_void<T>>(index, children_[index].take());
    }

private:
    std::deque<group_child<T>> children_;
};

[[noreturn]] void throw_empty_race();

} // namespace detail

/// Runs all awaitables at the same time, on this worker, until the first has ended.
///
/// Returns: any_result with the winner's index and value. Errors: the winner's exception.
/// Cancellation: the losers are cancelled with lost_race AND joined before this returns, so
///     that none of them is left holding or waiting for anything: a guard that a loser holds is
///     poisoned by then, a lock that was handed to it has gone to the next in line. A result of
///     a loser that finished all the same is destroyed. A request to the caller reaches all.
/// Poisoning: a guard in a result that is not delivered because this throws, or the caller is
///     torn down, poisons: its section may be half done. One that came straight from lock(),
///     through other boundaries too, is handed back clean, and so is any where another branch
///     has won with a value.
template <class... A>
[[nodiscard]] auto when_any(A&&... awaitables) {
    if constexpr (detail::fit_to_group<A...>()) {
        return detail::awaitable<
            detail::all_acquire<A...>,
            detail::race_awaiter<detail::any_of, detail::await_result_t<A>...>,
            task<detail::await_result_t<A>>...>(
            detail::as_task(std::forward<A>(awaitables))...);
    } else {
        return detail::misused_awaitable();
    }
}

/// when_any() of a number known at run time. Errors: std::invalid_argument for none.
/// Cancellation: as above.
template <class T>
[[nodiscard]] auto when_any(std::vector<task<T>>&& tasks) {
    if (tasks.empty()) detail::throw_empty_race();
    return detail::awaitable<false, detail::race_vector_awaiter<detail::any_of, T>,
                             std::vector<task<T>>>(std::move(tasks));
}

} // namespace toadstone

#endif
