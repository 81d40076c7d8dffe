// lock_owned(): a guard that keeps its mutex alive.
#ifndef TOADSTONE_SYNC_OWNED_GUARD_HPP
#define TOADSTONE_SYNC_OWNED_GUARD_HPP

#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/mutex.hpp>

#include <memory>
#include <optional>
#include <source_location>
#include <utility>

namespace toadstone::sync {

/// A guard, and a share in its mutex: it may outlive everybody else who has one, in a queue, or
/// in another task. Move-only.
///
/// Poisoning: as the guard inside.
template <class Mutex>
class [[nodiscard("name it: a temporary guard releases at once")]] owned_guard {
public:
    /// The data's type.
    using value_type = typename Mutex::value_type;
    /// What the mutex gives.
    using guard_type = typename Mutex::guard;

    owned_guard(owned_guard&&) noexcept = default;
    owned_guard& operator=(owned_guard&& other) noexcept {
        if (this != &other) {
            guard_ = std::move(other.guard_); // first: it releases a mutex that is still there
            mutex_ = std::move(other.mutex_);
        }
        return *this;
    }
    ~owned_guard() = default;

    /// Errors: std::logic_error if it holds nothing.
    [[nodiscard]] value_type& operator*() const { return *guard_; }
    /// The data.
    [[nodiscard]] value_type* operator->() const { return &*guard_; }
    /// False after unlock() and after a move.
    [[nodiscard]] bool held() const noexcept { return guard_.held(); }
    /// held().
    explicit operator bool() const noexcept { return held(); }
    /// As guard<T>; the share in the mutex stays.
    void unlock() noexcept { guard_.unlock(); }
    /// All else that a guard can do. What map() makes of it has no share in the mutex.
    [[nodiscard]] guard_type& guard() noexcept { return guard_; }
    /// Empty after a move.
    [[nodiscard]] const std::shared_ptr<Mutex>& mutex() const noexcept { return mutex_; }

    /// For the library.
    owned_guard(std::shared_ptr<Mutex>&& mutex, guard_type&& guard) noexcept
        : mutex_(std::move(mutex)), guard_(std::move(guard)) {}

private:
    std::shared_ptr<Mutex> mutex_; // before the guard: it dies after it
    guard_type guard_;
};

namespace detail {

template <class Mutex>
task<owned_guard<Mutex>> lock_owned_by(std::shared_ptr<Mutex> mutex,
                                       std::source_location where) {
    auto held = co_await mutex->lock(where);
    co_return owned_guard<Mutex>(std::move(mutex), std::move(held));
}

template <class Mutex>
class [[nodiscard("write co_await")]] lock_owned_request {
    using owned = owned_guard<Mutex>;

public:
    static constexpr bool acquires = true;

    lock_owned_request(std::shared_ptr<Mutex>&& mutex, std::source_location where) noexcept
        : mutex_(std::move(mutex)), where_(where) {}
    toadstone::detail::task_awaiter<owned> make_awaiter(toadstone::detail::context&,
                                                        std::source_location) && {
        return toadstone::detail::task_awaiter<owned>(lock_owned_by(std::move(mutex_), where_));
    }

private:
    std::shared_ptr<Mutex> mutex_;
    std::source_location where_;
};

} // namespace detail

/// mutex::lock() of a mutex that the guard shares in. Returns: an owned_guard.
/// Errors: as lock(); std::bad_alloc; std::logic_error, at the call, of a null pointer.
/// Cancellation: as lock().
template <class T, on_cancel C, on_exception E>
[[nodiscard]] detail::lock_owned_request<mutex<T, C, E>>
lock_owned(std::shared_ptr<mutex<T, C, E>> of,
           std::source_location where = std::source_location::current()) {
    if (!of) toadstone::detail::throw_misuse("a mutex is locked that is there");
    return {std::move(of), where};
}
/// mutex::try_lock(), likewise.
template <class T, on_cancel C, on_exception E>
[[nodiscard]] std::optional<owned_guard<mutex<T, C, E>>>
try_lock_owned(std::shared_ptr<mutex<T, C, E>> of,
               std::source_location where = std::source_location::current()) {
    if (!of) toadstone::detail::throw_misuse("a mutex is locked that is there");
    using owned = owned_guard<mutex<T, C, E>>;
    auto held = of->try_lock(where);
    if (!held) return std::nullopt;
    return std::optional<owned>(std::in_place, std::move(of), std::move(*held));
}

} // namespace toadstone::sync

#endif
