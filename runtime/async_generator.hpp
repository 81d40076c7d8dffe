// async_generator<T>: a coroutine that gives one value after the other, and awaits in between.
#ifndef TOADSTONE_RUNTIME_ASYNC_GENERATOR_HPP
#define TOADSTONE_RUNTIME_ASYNC_GENERATOR_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/generator.hpp>

#include <concepts>
#include <coroutine>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone {

template <class T>
class TOADSTONE_CORO_TASK async_generator;

namespace detail {

/// What co_await next() gives.
template <class T>
using generated =
    std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, std::optional<T>>;

template <class T>
class generator_promise final : public generator_promise_base {
public:
    async_generator<T> get_return_object() noexcept;

    /// The default argument is for `co_yield {a, b};`.
    template <class U = T>
        requires std::convertible_to<U, T>
    at_yield yield_value(U&& value,
                         std::source_location where = std::source_location::current()) {
        if constexpr (std::is_reference_v<T>) {
            T bound = std::forward<U>(value);
            *out = std::addressof(bound);
        } else {
            out->emplace(std::forward<U>(value));
        }
        yielded_at = where;
        return {};
    }

    generated<T>* out = nullptr; ///< with whoever awaits the value
};

template <class T>
class [[nodiscard]] generator_awaiter final : public generator_wait {
public:
    generator_awaiter(generator_core& from, context& ctx, std::source_location where) noexcept
        : generator_wait(from, ctx, where) {}

    /// Not before: another may still wait for its value.
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (auto* const inside = static_cast<generator_promise<T>*>(this->inside()))
            inside->out = &value_;
        go_into(frame.promise());
    }
    generated<T> await_resume() {
        check();
        return std::move(value_);
    }

private:
    generated<T> value_{};
};

template <class T>
class [[nodiscard("write co_await")]] generator_step {
public:
    explicit generator_step(generator_core& of) noexcept : of_(&of) {}
    generator_awaiter<T> make_awaiter(context& ctx, std::source_location where) const noexcept {
        return generator_awaiter<T>(*of_, ctx, where);
    }

private:
    generator_core* of_;
};

} // namespace detail

/// A coroutine that gives values with `co_yield` and may `co_await` as a task does. It runs
/// inside whoever asks it for a value, as a task that is awaited; in between it stands still.
///
///     async_generator<line> lines(io::tcp_stream& from);
///     ...
///     auto all = lines(stream);
///     while (auto next = co_await all.next()) use(*next);
///
/// Errors: what it throws goes to whoever awaits next(), once; it has ended then.
/// Cancellation: next() is a cancellation point before the generator goes on, and so is every
///     one inside. A request to the task that awaits, or to the boundary in which it does,
///     tears the generator down with it, innermost frame first. One that was torn down in a
///     boundary has no further values: next() throws task_cancelled with the reason.
/// Poisoning: a guard that it holds at a co_yield is judged when its frame goes. Run to its
///     end: clean. Destroyed before that, by a consumer that gives it up in normal control
///     flow: poisoned, abandoned at that co_yield; by one that throws, or is torn down:
///     poisoned with the consumer's exception, or reason. Never started: clean.
/// Threads: it may be handed from task to task, also to another worker, while nobody awaits a
///     value. One task awaits at a time: a second gets a std::logic_error.
/// Shape: one frame, as of a task; a value is made where the consumer takes it from. It is
///     destroyed, or moved, only while nobody awaits its next value.
template <class T>
class [[nodiscard("a generator does nothing until it is asked for a value")]]
TOADSTONE_CORO_TASK async_generator {
    static_assert(!std::is_void_v<T>, "a generator gives values");

public:
    /// For the compiler.
    using promise_type = detail::generator_promise<T>;
    /// What it yields.
    using value_type = T;

    async_generator(async_generator&& other) noexcept = default;
    async_generator& operator=(async_generator&& other) noexcept {
        async_generator(std::move(other)).swap(*this);
        return *this;
    }
    ~async_generator() = default;
    /// Exchanges two generators.
    void swap(async_generator& other) noexcept { core_.swap(other.core_); }

    /// `co_await next()` gives a std::optional<T> with the next value, of an
    /// async_generator<T&> a pointer to it: empty, or null, when the generator has ended, and
    /// ever after. What a pointer points to is the generator's, until it goes on.
    [[nodiscard]] detail::generator_step<T> next() noexcept {
        return detail::generator_step<T>(core_);
    }

private:
    friend promise_type;
    explicit async_generator(promise_type& frame) noexcept : core_(frame) {}

    detail::generator_core core_;
};

namespace detail {

template <class T>
async_generator<T> generator_promise<T>::get_return_object() noexcept {
    return async_generator<T>(*this);
}

} // namespace detail
} // namespace toadstone

/// The compiler asks here for the promise of a coroutine, and tells its parameters.
template <class T, class... Parameters>
struct std::coroutine_traits<toadstone::async_generator<T>, Parameters...> {
    static_assert((toadstone::detail::fits_frame<Parameters> && ...) &&
                      toadstone::detail::fits_frame<T>,
                  "coroutine frames are aligned to 64 bytes: pass what needs more by reference "
                  "or by std::unique_ptr");
    using promise_type = typename toadstone::async_generator<T>::promise_type;
};

#endif
