// outcome<T>: how a task ended, as a value, an exception or a cancellation.
#ifndef TOADSTONE_RUNTIME_OUTCOME_HPP
#define TOADSTONE_RUNTIME_OUTCOME_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/result.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace toadstone {

/// Thrown to whoever wants the value of a task that was cancelled.
class task_cancelled : public std::runtime_error {
public:
    /// As the library throws it.
    explicit task_cancelled(cancel_reason reason)
        : std::runtime_error("the task was cancelled (" + std::string(to_string(reason)) + ")"),
          reason_(reason) {}
    /// What it was cancelled for.
    [[nodiscard]] cancel_reason reason() const noexcept { return reason_; }

private:
    cancel_reason reason_;
};

namespace detail {

/// What throw_if_cancelled() throws: where it leaves the task, or the inside of a boundary,
/// that was asked to stop, that has been cancelled.
class stopped_by_request final : public task_cancelled {
public:
    using task_cancelled::task_cancelled;
};

} // namespace detail

/// Thrown by with_timeout and with_deadline when the time is up. what() says what did not
/// finish and the limit: "not finished within 250 ms: the co_await at store.cpp:88, under the
/// limit set at store.cpp:80".
class timeout_error : public std::runtime_error {
public:
    /// With the usual sentence.
    timeout_error() : std::runtime_error("the operation did not finish in time") {}
    /// With a sentence of its own.
    explicit timeout_error(const std::string& what) : std::runtime_error(what) {}
};

/// How a task ended. Exactly one of has_value(), has_exception(), is_cancelled() is true. That
/// of a task<T&> refers to what the task returned, and does not keep it alive.
template <class T = void>
class [[nodiscard]] outcome {
    static constexpr bool refers = std::is_reference_v<T>;
    using held = std::conditional_t<std::is_void_v<T>, std::monostate,
                                    std::conditional_t<refers, std::add_pointer_t<T>, T>>;

public:
    /// It has returned.
    [[nodiscard]] bool has_value() const noexcept { return how_.index() == 0; }
    /// An exception has left it.
    [[nodiscard]] bool has_exception() const noexcept { return how_.index() == 1; }
    /// It was cancelled.
    [[nodiscard]] bool is_cancelled() const noexcept { return how_.index() == 2; }
    /// It has returned.
    explicit operator bool() const noexcept { return has_value(); }

    /// The value; rethrows the exception; throws task_cancelled.
    decltype(auto) value() & { return access(*this); }
    /// The value, or throws what the task threw, or task_cancelled.
    decltype(auto) value() const& { return access(*this); }
    /// The same; the value is moved out.
    T value() && {
        check();
        if constexpr (refers) {
            return static_cast<T>(*std::get<0>(how_));
        } else if constexpr (!std::is_void_v<T>) {
            return std::get<0>(std::move(how_));
        }
    }
    /// Null unless has_exception().
    [[nodiscard]] std::exception_ptr exception() const noexcept {
        return has_exception() ? std::get<1>(how_) : nullptr;
    }
    /// Meaningful when is_cancelled().
    [[nodiscard]] cancel_reason reason() const noexcept {
        return is_cancelled() ? std::get<2>(how_) : cancel_reason::requested;
    }

    /// Of a task that has returned.
    template <class... A>
    static outcome of_value(A&&... value) {
        if constexpr (refers) {
            static_assert((std::is_lvalue_reference_v<A> && ...), "it would dangle");
            return outcome(std::in_place_index<0>, std::addressof(value)...);
        } else {
            return outcome(std::in_place_index<0>, std::forward<A>(value)...);
        }
    }
    /// Of a task that an exception has left.
    static outcome of_exception(std::exception_ptr error) {
        return outcome(std::in_place_index<1>, std::move(error));
    }
    /// Of a task that was cancelled.
    static outcome of_cancellation(cancel_reason reason) {
        return outcome(std::in_place_index<2>, reason);
    }

    /// For the library.
    void hand_back() noexcept {
        if (has_value()) detail::hand_back(std::get<0>(how_));
    }
    /// For the library: moves a result out.
    static outcome from(detail::result<T>& result, bool unwound, cancel_reason reason) {
        if (unwound) return of_cancellation(reason);
        if (result.error()) return of_exception(result.error());
        if constexpr (std::is_void_v<T>) {
            result.take();
            return of_value();
        } else {
            return of_value(result.take());
        }
    }

private:
    template <std::size_t I, class... A>
    explicit outcome(std::in_place_index_t<I> which, A&&... arguments)
        : how_(which, std::forward<A>(arguments)...) {}

    template <class Self>
    static decltype(auto) access(Self& self) {
        self.check();
        if constexpr (refers) {
            return static_cast<std::remove_reference_t<T>&>(*std::get<0>(self.how_));
        } else if constexpr (!std::is_void_v<T>) {
            return (std::get<0>(self.how_));
        }
    }
    void check() const {
        if (has_exception()) std::rethrow_exception(std::get<1>(how_));
        if (is_cancelled()) throw task_cancelled(std::get<2>(how_));
    }

    std::variant<held, std::exception_ptr, cancel_reason> how_;
};

} // namespace toadstone

#endif
