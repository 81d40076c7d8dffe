// A place for what a coroutine returns or throws; it outlives the coroutine's frame.
#ifndef TOADSTONE_RUNTIME_DETAIL_RESULT_HPP
#define TOADSTONE_RUNTIME_DETAIL_RESULT_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/level.hpp>

#include <exception>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace toadstone::detail {

/// Rethrows the exception, once. Throws std::logic_error if the result was fetched before, or
/// if a path of the coroutine ended without co_return.
[[noreturn, gnu::cold]] inline void take_no_value(std::exception_ptr& error, bool& taken) {
    if (std::exchange(taken, true)) throw_misuse("a task's result is fetched once");
    if (error) std::rethrow_exception(std::exchange(error, nullptr));
    throw_misuse("a task gives a value: a path of its coroutine ends without co_return");
}

/// To where it came from, by what an acquisition gives that has more to it than a release, and
/// by what boundaries make of such.
template <class... T>
void hand_back(std::tuple<T...>& values) noexcept;
template <class... T>
void hand_back(std::variant<T...>& value) noexcept;
template <class T>
void hand_back(T& value) noexcept {
    if constexpr (requires { value.hand_back(); }) value.hand_back();
}
template <class... T>
void hand_back(std::tuple<T...>& values) noexcept {
    std::apply([](T&... each) { (detail::hand_back(each), ...); }, values);
}
template <class... T>
void hand_back(std::variant<T...>& value) noexcept {
    if (value.valueless_by_exception()) return;
    std::visit([](auto& one) { detail::hand_back(one); }, value);
}

template <class T>
class result {
    // A reference is kept as a pointer.
    using stored =
        std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, std::remove_cv_t<T>>;

public:
    result() noexcept {}
    result(const result&) = delete;
    result& operator=(const result&) = delete;
    ~result() { drop(); }

    template <class U>
    void set_value(U&& value) {
        if constexpr (std::is_reference_v<T>) {
            T bound = std::forward<U>(value);
            std::construct_at(&value_, std::addressof(bound));
        } else {
            std::construct_at(&value_, std::forward<U>(value));
        }
        has_value_ = true;
    }
    void set_error(std::exception_ptr error) noexcept { error_ = std::move(error); }

    /// Destroys a value that nobody takes. A guard in it is judged by the slice that is active.
    void drop() noexcept {
        if (!has_value_) return;
        has_value_ = false;
        if (acquired_ && !taken_) [[unlikely]] {
            const slice_scope calm(current_context());
            detail::hand_back(value_);
            std::destroy_at(&value_);
        } else {
            std::destroy_at(&value_);
        }
    }
    /// The same where the joiner was torn down, or failed: the section of a guard in it may be
    /// half done, so it is destroyed as in a teardown.
    void drop(const teardown_record& end) noexcept {
        const slice_scope torn(current_context(), &end);
        drop();
    }
    /// The value will come straight from an acquisition: no code of the user has had it before
    /// somebody takes it, so that it is handed back, clean, if nobody does.
    void mark_acquired() noexcept { acquired_ = true; }

    [[nodiscard]] bool has_value() const noexcept { return has_value_; }
    [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
    [[nodiscard]] std::exception_ptr* error_place() noexcept { return &error_; }

    /// The value, moved out, or the exception, rethrown. Errors: std::logic_error the second
    /// time.
    T take() {
        if (error_ || taken_ || !has_value_) take_no_value(error_, taken_);
        taken_ = true;
        if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(*value_);
        } else {
            return std::move(value_);
        }
    }

private:
    union {
        stored value_;
    };
    std::exception_ptr error_;
    bool has_value_ = false;
    bool taken_ = false;
    bool acquired_ = false;
};

template <>
class result<void> {
public:
    result() = default;
    result(const result&) = delete;
    result& operator=(const result&) = delete;

    void set_value() noexcept { has_value_ = true; }
    void set_error(std::exception_ptr error) noexcept { error_ = std::move(error); }
    void mark_acquired() noexcept {}
    void drop() noexcept { has_value_ = false; }
    void drop(const teardown_record&) noexcept { has_value_ = false; }
    [[nodiscard]] bool has_value() const noexcept { return has_value_; }
    [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
    [[nodiscard]] std::exception_ptr* error_place() noexcept { return &error_; }
    void take() {
        if (error_ || taken_ || !has_value_) take_no_value(error_, taken_);
        taken_ = true;
    }

private:
    std::exception_ptr error_;
    bool has_value_ = false;
    bool taken_ = false;
};

} // namespace toadstone::detail

#endif
