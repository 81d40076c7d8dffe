// completion and with_completion: one answer from anywhere, a C callback or a thread.
#ifndef TOADSTONE_RUNTIME_COMPLETION_HPP
#define TOADSTONE_RUNTIME_COMPLETION_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/completion_core.hpp>
#include <toadstone/runtime/detail/completion_wait.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/result.hpp>

#include <concepts>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace toadstone {

/// Thrown by a wait whose answer will never come: the last completion was dropped, or another
/// library has destroyed the coroutine that waited for it. what() names the co_await.
class broken_completion : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

namespace detail {

void explain_causes(const std::exception_ptr& error) noexcept;

template <class T>
class completion_state final : public completion_core {
public:
    using completion_core::completion_core;

    template <class... U>
    [[nodiscard]] bool answer(U&&... value) noexcept {
        if (!claim()) return false;
        try {
            outcome.set_value(std::forward<U>(value)...);
        } catch (...) {
            std::exception_ptr error = std::current_exception();
            explain_causes(error);
            outcome.set_error(std::move(error));
        }
        tell();
        return true;
    }
    [[nodiscard]] bool fail(std::exception_ptr error) noexcept {
        if (!claim()) return false;
        outcome.set_error(error ? std::move(error) : failed_with_nothing());
        tell();
        return true;
    }

    result<T> outcome; ///< of who has claimed it; then the waiter's

private:
    ~completion_state() override = default;
};

} // namespace detail

/// The right to answer one with_completion(). Copies share it: the first answer counts. When
/// the last copy goes and none was given, the wait ends with broken_completion.
///
/// Returns: complete() and fail() say whether theirs was the answer. It is not if another came
///     first, if the wait was cancelled, or if this object is empty: moved from, or released.
///     Not an error, because two callbacks that race (data, a timer of the other library) are
///     usual, and a C callback could not throw it.
/// Errors: none. What copying the value throws is the answer; so is a std::logic_error when
///     fail() is given a null pointer.
/// Threads: every member from any thread, also from one that ends or was never seen before; one
///     object by one thread at a time, as with std::shared_ptr. Not from a signal handler.
/// Shape: one pointer to one block on the heap. No member ever touches the awaiting frame
///     when the wait is over.
/// Lifetime: outlives the wait, the task and the runtime, if it has to.
template <class T = void>
class completion {
public:
    /// Of nobody who waits.
    completion() noexcept = default;
    completion(const completion& other) noexcept : state_(other.state_) {
        if (state_) state_->add_sender();
    }
    completion(completion&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    completion& operator=(completion other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~completion() {
        if (state_) state_->drop_sender();
    }

    /// Answers with a value, which is moved or copied in here.
    template <class U = T>
        requires(!std::is_void_v<T> && std::is_constructible_v<T, U>)
    bool complete(U&& value) noexcept {
        return state_ && state_->answer(std::forward<U>(value));
    }
    /// The same without a value.
    bool complete() noexcept
        requires std::is_void_v<T>
    {
        return state_ && state_->answer();
    }
    /// Answers with an exception, which co_await rethrows.
    bool fail(std::exception_ptr error) noexcept {
        return state_ && state_->fail(std::move(error));
    }

    /// False: an answer would be too late. True: it may be, by the time it is given.
    [[nodiscard]] bool wanted() const noexcept { return state_ && !state_->is_claimed(); }
    /// It has not been given away.
    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

    /// For the `void*` of a C callback: gives this object's share away. Whoever is called back
    /// takes it with from_token(), once; so does an on_cancel() that keeps the callback from
    /// being called. A token that nobody takes is a leak, and a wait without end.
    [[nodiscard("a token that nobody takes back is a leak")]] void* release_token() noexcept {
        return std::exchange(state_, nullptr);
    }
    /// Takes what release_token() of a completion of the same type has given.
    [[nodiscard]] static completion from_token(void* token) noexcept {
        return completion(static_cast<detail::completion_state<T>*>(token));
    }

    /// For the library.
    explicit completion(detail::completion_state<T>* share) noexcept : state_(share) {}

private:
    detail::completion_state<T>* state_ = nullptr;
};

namespace detail {

/// Nobody can keep the answer from coming.
struct waits_for_answer {
    [[nodiscard]] bool operator()() const noexcept { return false; }
};

template <class T, class Start, class OnCancel>
class completion_awaiter final : public completion_wait {
public:
    completion_awaiter(context& ctx, std::source_location where, Start&& start,
                       OnCancel&& on_cancel)
        : completion_wait(!std::is_same_v<OnCancel, waits_for_answer>),
          start_(std::move(start)), on_cancel_(std::move(on_cancel)) {
        this->bind(ctx, where);
    }

    T await_resume() {
        this->check_answered();
        result<T>& answer = static_cast<completion_state<T>&>(*this->core_).outcome;
        // Here, on the task's worker, and not wherever the last completion goes.
        const struct at_end {
            ~at_end() { of.drop(); }
            result<T>& of;
        } drops{answer};
        return answer.take();
    }

private:
    void start() override {
        auto* const state = new completion_state<T>(this->as_waiter());
        this->core_ = state;
        std::move(start_)(completion<T>(state));
    }
    [[nodiscard]] bool will_not_come() override { return on_cancel_(); }

    Start start_;
    OnCancel on_cancel_;
};

template <class T, class Start, class OnCancel>
[[nodiscard]] auto complete_with(Start&& start, OnCancel&& on_cancel) {
    using S = std::decay_t<Start>;
    using C = std::decay_t<OnCancel>;
    constexpr bool safe = safe_in_co_await<Start> && safe_in_co_await<OnCancel>;
    constexpr bool fits = fits_frame<T> && fits_frame<S> && fits_frame<C>;
    static_assert(safe, "g++ 12 destroys the captures of a temporary closure in a co_await "
                        "expression twice: name the lambda first, or capture by reference");
    static_assert(fits, "frames are aligned to 64 bytes: pass and return what needs more by "
                        "std::unique_ptr");
    if constexpr (!safe || !fits) {
        return misused_awaitable();
    } else if constexpr (!std::is_invocable_v<S, completion<T>>) {
        static_assert(never<T>, "the function of with_completion<T>() takes the completion by "
                                "value: [](completion<T> c) { ... }");
        return misused_awaitable();
    } else if constexpr (library_awaitable<std::invoke_result_t<S, completion<T>>>) {
        static_assert(never<T>, "the function of with_completion() starts something and "
                                "returns: a task that it makes would never run");
        return misused_awaitable();
    } else if constexpr (!std::is_invocable_r_v<bool, C&> ||
                         !std::is_same_v<std::invoke_result_t<C&>, bool>) {
        static_assert(never<T>, "on_cancel() takes nothing and returns a bool: true when no "
                                "callback will come any more, false when it still comes");
        return misused_awaitable();
    } else {
        return awaitable<false, completion_awaiter<T, S, C>, S, C>(
            S(std::forward<Start>(start)), C(std::forward<OnCancel>(on_cancel)));
    }
}

} // namespace detail

/// Calls `start(completion<T>)`, which sees to it that somebody answers, and waits for that
/// answer. `on_cancel()` is asked when the task has to stop.
///
/// `start` is called on the task's worker, and may answer at once. Both functions are moved
/// into the awaiting frame and destroyed with it, when the co_await is over.
///
/// Returns: the value, moved; references as references. Errors: the exception of fail(), what
///     `start` throws, whatever was answered besides; broken_completion; std::bad_alloc.
/// Cancellation: a cancellation point. With a request pending `start` is never called. Later,
///     `on_cancel` is called, once, on the task's worker. True: no answer will come any more,
///     and the task ends; the completions that are left, and those behind tokens, have to be
///     dropped all the same, then or later. False: the answer still comes, the task waits for
///     it, it is delivered, and the next cancellation point ends the task. So it is with one
///     that was there first, or that `on_cancel` itself has given, whatever it returns. That
///     the last completion was dropped unanswered is not thrown at a task that has to stop: it
///     ends. What `on_cancel` throws is told in the log, and counts as false. It must not
///     block.
///     Without `on_cancel`: as if it returned false. Force and time limits change nothing about
///     it: what the task waits for is named when the runtime shuts down.
/// Shape: one allocation, for what the completions share.
template <class T = void, class Start, class OnCancel>
[[nodiscard("nothing is started until this is awaited")]] auto
with_completion(Start&& start, OnCancel&& on_cancel) {
    return detail::complete_with<T>(std::forward<Start>(start),
                                    std::forward<OnCancel>(on_cancel));
}
/// The same without on_cancel. Cancellation: the answer is waited for.
template <class T = void, class Start>
[[nodiscard("nothing is started until this is awaited")]] auto with_completion(Start&& start) {
    return detail::complete_with<T>(std::forward<Start>(start), detail::waits_for_answer());
}

} // namespace toadstone

#endif
