// read_guard: reading the data of a shared mutex together with other readers.
#ifndef TOADSTONE_SYNC_READ_GUARD_HPP
#define TOADSTONE_SYNC_READ_GUARD_HPP

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/reading.hpp>
#include <toadstone/sync/detail/shared_core.hpp>

#include <optional>
#include <utility>

namespace toadstone::sync {

/// The right to read the data of a shared_mutex. It never poisons, however it ends. Move-only;
/// one that was moved from holds nothing. Threads: it may die on any. Lifetime: not longer than
/// the mutex.
template <class T>
class [[nodiscard("name it: a temporary guard releases at once")]] read_guard
    : public detail::reading<const T> {
public:
    read_guard(read_guard&&) noexcept = default;
    read_guard& operator=(read_guard&& other) noexcept {
        if (this != &other) {
            unlock();
            detail::reading<const T>::operator=(std::move(other));
        }
        return *this;
    }
    ~read_guard() { unlock(); }

    /// Never suspends. Nothing happens if nothing is held.
    void unlock() noexcept {
        if (this->held()) this->let_go()->release_read();
    }
    /// Whether a writer had poisoned it when it was taken by read_or_poison(). Errors:
    /// std::logic_error if it holds nothing.
    [[nodiscard]] bool is_poisoned() const {
        this->check();
        return this->core_->is_poisoned();
    }

    /// For the library.
    read_guard(detail::shared_core& core, const T& value) noexcept
        : detail::reading<const T>(core, value) {}
};

/// What read_or_poison() gives: the right to read, and whether the data is healthy.
template <class T>
class [[nodiscard]] read_result {
public:
    /// The data is healthy.
    explicit operator bool() const noexcept { return !cause_; }
    /// The lock, in either case.
    [[nodiscard]] read_guard<T>& guard() noexcept { return guard_; }
    /// Empty when healthy.
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    /// The lock, moved out.
    [[nodiscard]] read_guard<T> into_guard() { return std::move(guard_); }

    /// For the library.
    read_result(detail::shared_core& core, const T& value, poison_cause cause) noexcept
        : guard_(core, value), cause_(std::move(cause)) {}

private:
    read_guard<T> guard_;
    poison_cause cause_;
};

namespace detail {

template <class T>
class read_awaiter : public read_leaf {
public:
    read_awaiter(shared_core& core, const T& value, wants what) noexcept
        : read_leaf(core, what), value_(&value) {}
    read_guard<T> await_resume() {
        check();
        return read_guard<T>(*core_, *value_);
    }

private:
    const T* value_;
};

template <class T>
class read_or_poison_awaiter : public read_leaf {
public:
    read_or_poison_awaiter(shared_core& core, const T& value) noexcept
        : read_leaf(core, wants::anything), value_(&value) {}
    read_result<T> await_resume() {
        check();
        return read_result<T>(*core_, *value_, core_->cause());
    }

private:
    const T* value_;
};

template <class T>
class timed_read_awaiter : public toadstone::detail::timed_wait<read_leaf> {
public:
    timed_read_awaiter(shared_core& core, const T& value,
                       toadstone::detail::time_limit limit) noexcept
        : timed_wait(limit, core, wants::healthy), value_(&value) {}
    std::optional<read_guard<T>> await_resume() {
        if (!in_time()) return std::nullopt;
        check();
        return std::optional<read_guard<T>>(std::in_place, *core_, *value_);
    }

private:
    const T* value_;
};

} // namespace detail

} // namespace toadstone::sync

#endif
