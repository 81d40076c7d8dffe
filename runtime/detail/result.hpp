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

/// What of a result is there, in one byte: the usual end is one comparison.
class result_state {
public:
    void set_value() noexcept { flags_ |= value; }
    void set_error(std::exception_ptr error) noexcept {
        error_ = std::move(error);
        flags_ |= failed;
    }
    void mark_acquired() noexcept { flags_ |= acquired; }
    [[nodiscard]] bool has_value() const noexcept { return (flags_ & value) != 0; }
    [[nodiscard]] bool is_to_be_handed_back() const noexcept {
        return (flags_ & (acquired | taken)) == acquired;
    }
    void value_gone() noexcept { flags_ &= static_cast<unsigned char>(~value); }
    [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
    [[nodiscard]] std::exception_ptr* error_place() noexcept { return &error_; }

    /// Before the value is fetched. Rethrows the exception, once; throws std::logic_error if it
    /// was fetched before, or if a path of the coroutine ended without co_return.
    void take() {
        if (flags_ != value) [[unlikely]]
            take_what_is_there();
        flags_ |= taken;
    }

private:
    // An error that was reported meanwhile is none, and a value may be there all the same.
    [[gnu::cold]] void take_what_is_there() {
        if ((flags_ & taken) != 0) throw_misuse("a task's result is fetched once");
        if (!error_ && has_value()) return;
        flags_ |= taken;
        if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
        throw_misuse("a task gives a value: a path of its coroutine ends without co_return");
    }

    static constexpr unsigned char value = 1;
    static constexpr unsigned char taken = 2;
    static constexpr unsigned char failed = 4;
    static constexpr unsigned char acquired = 8;

    std::exception_ptr error_;
    unsigned char flags_ = 0;
};

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
        state_.set_value();
    }
    void set_error(std::exception_ptr error) noexcept { state_.set_error(std::move(error)); }

    /// Destroys a value that nobody takes. A guard in it is judged by the slice that is active.
    void drop() noexcept {
        if (!has_value()) return;
        state_.value_gone();
        if (state_.is_to_be_handed_back()) [[unlikely]] {
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
    void mark_acquired() noexcept { state_.mark_acquired(); }

    [[nodiscard]] bool has_value() const noexcept { return state_.has_value(); }
    [[nodiscard]] const std::exception_ptr& error() const noexcept { return state_.error(); }
    [[nodiscard]] std::exception_ptr* error_place() noexcept { return state_.error_place(); }

    /// The value, moved out, or the exception, rethrown. Errors: std::logic_error the second
    /// time.
    T take() {
        state_.take();
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
    result_state state_;
};

template <>
class result<void> {
public:
    result() = default;
    result(const result&) = delete;
    result& operator=(const result&) = delete;

    void set_value() noexcept { state_.set_value(); }
    void set_error(std::exception_ptr error) noexcept { state_.set_error(std::move(error)); }
    void mark_acquired() noexcept {}
    void drop() noexcept { state_.value_gone(); }
    void drop(const teardown_record&) noexcept { state_.value_gone(); }
    [[nodiscard]] bool has_value() const noexcept { return state_.has_value(); }
    [[nodiscard]] const std::exception_ptr& error() const noexcept { return state_.error(); }
    [[nodiscard]] std::exception_ptr* error_place() noexcept { return state_.error_place(); }
    void take() { state_.take(); }

private:
    result_state state_;
};

} // namespace toadstone::detail

#endif
