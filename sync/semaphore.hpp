// semaphore: a number of permits, which come back by themselves.
#ifndef TOADSTONE_SYNC_SEMAPHORE_HPP
#define TOADSTONE_SYNC_SEMAPHORE_HPP

#include <toadstone/sync/closed_error.hpp>
#include <toadstone/sync/detail/placed.hpp>
#include <toadstone/sync/detail/semaphore_core.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace toadstone::sync {

namespace detail {
class acquire_awaiter;
class timed_acquire_awaiter;
using acquire_request =
    toadstone::detail::operation<acquire_awaiter, semaphore_core&, std::uint64_t>;
using timed_acquire_request =
    toadstone::detail::operation<timed_acquire_awaiter, toadstone::detail::time_limit,
                                 semaphore_core&, std::uint64_t>;
} // namespace detail

/// Lets a number of holders at a time pass: permits that are acquired, and given back however
/// their holder ends. Nothing is poisoned: it guards no data.
///
/// Fairness: first come, first served: nobody acquires past a queue, also if he wants less.
/// Threads: tasks of any worker and plain threads share it.
/// Shape: constant-initialised; no allocation per wait.
/// Lifetime: not destroyed while somebody waits, nor while permits live.
class semaphore {
public:
    class permit;

    /// `permits`: at most 2^60 - 1. `name` appears in errors; it is not copied.
    constexpr explicit semaphore(std::size_t permits, std::string_view name = {}) noexcept
        : core_(permits, name) {}

    /// Waits for `count` permits, 0 being none. Returns: a permit that holds them.
    /// Errors: closed_error when it is closed, before or meanwhile.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves the
    ///     queue at once, and those behind him that want no more than there is go on; permits
    ///     that were granted meanwhile go to the next.
    [[nodiscard]] detail::acquire_request acquire(std::size_t count = 1) noexcept;
    /// Acquires if that many are free and nobody waits. Errors: closed_error.
    [[nodiscard]] std::optional<permit> try_acquire(std::size_t count = 1);
    /// Waits for at most `limit`. Returns: nothing when the time was up first; a permit at the
    /// same moment wins. Errors and cancellation: as acquire(); std::invalid_argument, at the
    /// call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] detail::timed_acquire_request
    try_acquire_for(std::chrono::duration<Rep, Period> limit, std::size_t count = 1) {
        return within(toadstone::detail::time_limit(limit), count);
    }
    /// try_acquire_for() up to a point in time, by steady_clock or system_clock.
    /// Cancellation: as acquire().
    template <class Clock, class Duration>
    [[nodiscard]] detail::timed_acquire_request
    try_acquire_until(std::chrono::time_point<Clock, Duration> limit, std::size_t count = 1) {
        return within(toadstone::detail::time_limit(limit), count);
    }
    /// Blocks the calling thread, which must not be a worker if it has to wait.
    /// Errors: closed_error; std::logic_error on a worker that would block.
    [[nodiscard]] permit blocking_acquire(std::size_t count = 1);

    /// More permits, for good. Errors: std::invalid_argument beyond 2^60 - 1 in all.
    void add_permits(std::size_t count);
    /// From here on nobody acquires: those who wait fail, at once. Permits that are held come
    /// back as ever.
    void close() noexcept { core_.close(); }
    /// close() was called.
    [[nodiscard]] bool is_closed() const noexcept { return core_.is_closed(); }
    /// Free permits: a hint, while others acquire.
    [[nodiscard]] std::size_t available() const noexcept { return core_.available(); }
    /// As it was given.
    [[nodiscard]] std::string_view name() const noexcept { return core_.name(); }

private:
    [[nodiscard]] detail::timed_acquire_request within(toadstone::detail::time_limit limit,
                                                       std::size_t count) noexcept;

    detail::semaphore_core core_;
};

/// Permits of a semaphore; they go back when it dies, however that is. Move-only; one that was
/// moved from holds none. Threads: it may die on any. Lifetime: not longer than the semaphore.
class [[nodiscard("name it: a temporary permit goes back at once")]] semaphore::permit {
public:
    permit(permit&& other) noexcept
        : place_(other.place_), core_(other.core_), count_(std::exchange(other.count_, 0)) {}
    permit& operator=(permit&& other) noexcept {
        if (this != &other) {
            release();
            other.place_.check();
            core_ = other.core_;
            count_ = std::exchange(other.count_, 0);
        }
        return *this;
    }
    ~permit() { release(); }

    /// Permits that it holds.
    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    /// It holds some.
    explicit operator bool() const noexcept { return count_ != 0; }
    /// Gives them back before it dies.
    void release() noexcept {
        place_.check();
        if (const std::uint64_t held = std::exchange(count_, 0)) core_->release(held);
    }
    /// They never come back: the semaphore has fewer from now on.
    void forget() noexcept { count_ = 0; }
    /// A permit of its own for `count` of them. Errors: std::invalid_argument if it has fewer.
    [[nodiscard]] permit split(std::size_t count);
    /// Takes over the permits of another one. Errors: std::invalid_argument if that is of
    /// another semaphore.
    void merge(permit&& other);

    /// For the library.
    permit(detail::semaphore_core& core, std::uint64_t count) noexcept
        : core_(&core), count_(count) {}

private:
    detail::placed place_;
    detail::semaphore_core* core_;
    std::uint64_t count_;
};

namespace detail {

class acquire_awaiter : public permit_leaf {
public:
    acquire_awaiter(semaphore_core& core, std::uint64_t wanted) noexcept
        : permit_leaf(core, wanted) {}
    semaphore::permit await_resume() {
        check();
        return semaphore::permit(*core_, wanted_);
    }
};

class timed_acquire_awaiter : public toadstone::detail::timed_wait<permit_leaf> {
public:
    timed_acquire_awaiter(toadstone::detail::time_limit limit, semaphore_core& core,
                          std::uint64_t wanted) noexcept
        : timed_wait(limit, core, wanted) {}
    std::optional<semaphore::permit> await_resume() {
        if (!in_time()) return std::nullopt;
        check();
        return std::optional<semaphore::permit>(std::in_place, *core_, wanted_);
    }
};

} // namespace detail

inline detail::acquire_request semaphore::acquire(std::size_t count) noexcept {
    return detail::acquire_request(core_, count);
}
inline detail::timed_acquire_request semaphore::within(toadstone::detail::time_limit limit,
                                                       std::size_t count) noexcept {
    return detail::timed_acquire_request(limit, core_, count);
}

} // namespace toadstone::sync

#endif
