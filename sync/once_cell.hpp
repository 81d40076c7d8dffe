// once_cell<T>: a value that is made once, by whoever needs it first.
#ifndef TOADSTONE_SYNC_ONCE_CELL_HPP
#define TOADSTONE_SYNC_ONCE_CELL_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/mutex.hpp>

#include <optional>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::sync {

/// Empty until its value has been made; then it has that value, for good.
///
/// Cancellation: get_or_init() is a cancellation point while the cell is empty. An initialiser
///     that fails or is cancelled leaves it empty: the next in line runs his own.
/// Poisoning: none: there is no half-made value that anybody could see.
/// Threads: any task, any thread. Shape: constant-initialised; once it is full, one load.
/// Lifetime: not destroyed while somebody waits for it.
template <class T>
class once_cell {
public:
    /// Where it is asked for, for reports.
    using here = std::source_location;

    /// `name` appears in errors; it is not copied.
    constexpr explicit once_cell(std::string_view name = {}) : value_(std::nullopt, name) {}

    /// The value. If there is none, makes it by `fn()`, which may be a coroutine; the others
    /// wait meanwhile. Errors: what `fn` throws, for who ran it; would_deadlock when `fn` asks
    /// for the cell itself.
    template <class Fn>
    [[nodiscard]] task<T&> get_or_init(Fn fn, here where = here::current()) {
        if (T* const made = get()) co_return *made;
        auto held = co_await value_.lock(where);
        if (!held->has_value()) {
            if constexpr (toadstone::detail::any_task<std::invoke_result_t<Fn&>>) {
                held->emplace(co_await fn());
            } else {
                held->emplace(fn());
            }
            full_.store(true, std::memory_order_release);
        }
        co_return **held;
    }
    /// The same on a plain thread; `fn` is a plain function. Errors: as get_or_init();
    /// std::logic_error on a worker that would block.
    template <class Fn>
    T& blocking_get_or_init(Fn fn, here where = here::current()) {
        if (T* const made = get()) return *made;
        auto held = value_.blocking_lock(where);
        if (!held->has_value()) {
            held->emplace(fn());
            full_.store(true, std::memory_order_release);
        }
        return **held;
    }

    /// Null while it is empty.
    [[nodiscard]] T* get() noexcept {
        if (!full_.load(std::memory_order_acquire)) return nullptr;
        return &*value_.get_mut(ignore_poison);
    }
    /// Fills an empty cell. False: it is full, or somebody is making its value.
    [[nodiscard]] bool try_set(T value, here where = here::current()) {
        auto held = value_.try_lock(where);
        if (!held || (*held)->has_value()) return false;
        (*held)->emplace(std::move(value));
        full_.store(true, std::memory_order_release);
        return true;
    }

private:
    mutex<std::optional<T>, on_cancel::release, on_exception::release> value_;
    toadstone::detail::atomic<bool> full_{false}; // (R) behind the value; (A) before it is read
};

} // namespace toadstone::sync

#endif
