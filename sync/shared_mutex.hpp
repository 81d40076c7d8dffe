// shared_mutex<T>: a mutex that owns its data and that readers can have together.
#ifndef TOADSTONE_SYNC_SHARED_MUTEX_HPP
#define TOADSTONE_SYNC_SHARED_MUTEX_HPP

#include <toadstone/sync/mutex.hpp>
#include <toadstone/sync/read_guard.hpp>
#include <toadstone/sync/upgradable_guard.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::sync {

/// Data that several may read at a time, or one may write. A writer who leaves in the middle
/// poisons it, as the holder of a mutex<T> does, for readers and writers; a reader never does.
///
/// Poisoning: as mutex<T>, by writers. OnCancel and OnException choose other behaviour for
///     them.
/// Fairness: first come, first served: a writer who waits stops the readers behind him, and
///     readers who stand next to each other go together. A writer who gives up lets the readers
///     behind him in at once.
/// Deadlock: who writes and asks again, to read or to write, gets would_deadlock, as of a
///     mutex<T>. Who reads and asks to write waits for himself: let go of the one first, or
///     read by upgradable(), whose guard goes on as a writer.
/// Threads, shape and lifetime: as mutex<T>.
template <class T, on_cancel OnCancel = on_cancel::poison,
          on_exception OnException = on_exception::poison>
class shared_mutex {
    using exclusive = mutex<T, OnCancel, OnException, detail::shared_core>;
    template <class Awaiter, class... What>
    using reading =
        toadstone::detail::called_from<Awaiter, detail::shared_core&, const T&, What...>;
    using read_request = reading<detail::read_awaiter<T>, detail::wants>;
    using read_or_poison_request = reading<detail::read_or_poison_awaiter<T>>;
    using timed_read_request =
        reading<detail::timed_read_awaiter<T>, toadstone::detail::time_limit>;
    template <class Awaiter, class... What>
    using upgradable_reading = toadstone::detail::called_from<Awaiter, detail::shared_core&, T&,
                                                              detail::policies, What...>;
    static constexpr detail::policies policy{OnCancel, OnException};

public:
    /// The data's type.
    using value_type = T;
    /// What write() gives.
    using guard = typename exclusive::guard;
    /// What recover() gives.
    using recovery = typename exclusive::recovery;
    /// What upgradable() gives.
    using upgradable_guard = sync::upgradable_guard<T, guard>;
    /// Where a lock is taken, for causes and reports.
    using here = std::source_location;

    /// With a T of its own.
    constexpr shared_mutex()
        requires std::is_default_constructible_v<T>
    = default;
    /// `name` appears in causes; it is not copied, so it must outlive the mutex (a literal).
    constexpr explicit shared_mutex(T value, std::string_view name = {})
        : data_(std::move(value), name) {}

    /// Waits until nobody writes, nor waits to write. Returns: a read_guard.
    /// Errors: poison_error, holding nothing; would_deadlock when this task writes.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves the
    ///     queue at once, and those who waited because of him go on; what was granted meanwhile
    ///     goes back.
    [[nodiscard]] read_request read(here where = here::current()) noexcept {
        return read_request(where, core(), value(), detail::wants::healthy);
    }
    /// read() that waits out a poisoning until somebody has recovered the data.
    [[nodiscard]] read_request read(wait_recovery_t, here where = here::current()) noexcept {
        return read_request(where, core(), value(), detail::wants::patience);
    }
    /// Reads, poisoned or not. Returns: a read_result. Cancellation: as read().
    [[nodiscard]] read_or_poison_request read_or_poison(here where = here::current()) noexcept {
        return read_or_poison_request(where, core(), value());
    }
    /// Reads if nobody writes or waits. Errors: poison_error.
    [[nodiscard]] std::optional<read_guard<T>> try_read() {
        if (!detail::read_here(core(), detail::wants::healthy, false)) return std::nullopt;
        return std::optional<read_guard<T>>(std::in_place, core(), value());
    }
    /// Waits for at most `limit`. Returns: nothing when the time was up first; a grant at the
    /// same moment wins. Errors and cancellation: as read(); std::invalid_argument, at the
    /// call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] timed_read_request try_read_for(std::chrono::duration<Rep, Period> limit,
                                                  here where = here::current()) {
        return timed_read_request(where, core(), value(), toadstone::detail::time_limit(limit));
    }
    /// try_read_for() up to a point in time. Cancellation: as read().
    template <class Clock, class Duration>
    [[nodiscard]] timed_read_request
    try_read_until(std::chrono::time_point<Clock, Duration> limit,
                   here where = here::current()) {
        return timed_read_request(where, core(), value(), toadstone::detail::time_limit(limit));
    }
    /// Blocks the calling thread, which must not be a worker if it has to wait.
    /// Errors: as read(); std::logic_error on a worker that would block.
    [[nodiscard]] read_guard<T> blocking_read() {
        static_cast<void>(detail::read_here(core(), detail::wants::healthy, true));
        return read_guard<T>(core(), value());
    }

    /// Waits as read() does, and until nobody else has the right to upgrade. Returns: an
    /// upgradable_guard. In line he stops the readers behind him, as a writer would.
    /// Errors: poison_error; would_deadlock when this task writes or has the right already.
    /// Cancellation: as read().
    [[nodiscard]] auto upgradable(here where = here::current()) noexcept {
        using request = upgradable_reading<detail::upgradable_awaiter<T, guard>>;
        return request(where, core(), mutable_value(), policy);
    }
    /// If that is so at once, and nobody waits. Errors: poison_error.
    [[nodiscard]] std::optional<upgradable_guard> try_upgradable() {
        if (!detail::upgradable_here(core(), false)) return std::nullopt;
        return std::optional<upgradable_guard>(std::in_place, core(), mutable_value(), policy);
    }
    /// As try_read_for(), of upgradable(). Cancellation: as that.
    template <class Rep, class Period>
    [[nodiscard]] auto try_upgradable_for(std::chrono::duration<Rep, Period> limit,
                                          here where = here::current()) {
        return timed_upgradable(toadstone::detail::time_limit(limit), where);
    }
    /// The same up to a point in time. Cancellation: as read().
    template <class Clock, class Duration>
    [[nodiscard]] auto try_upgradable_until(std::chrono::time_point<Clock, Duration> limit,
                                            here where = here::current()) {
        return timed_upgradable(toadstone::detail::time_limit(limit), where);
    }
    /// As blocking_read(), of upgradable().
    [[nodiscard]] upgradable_guard blocking_upgradable() {
        static_cast<void>(detail::upgradable_here(core(), true));
        return upgradable_guard(core(), mutable_value(), policy);
    }

    /// mutex::lock(), and its family. Cancellation: as mutex::lock().
    [[nodiscard]] auto write(here where = here::current()) noexcept {
        return data_.lock(where);
    }
    /// mutex::lock() with a policy of its own. Cancellation: as write().
    [[nodiscard]] auto write(section_policy cancel, here where = here::current()) noexcept {
        return data_.lock(cancel, where);
    }
    /// mutex::lock(wait_recovery). Cancellation: as write().
    [[nodiscard]] auto write(wait_recovery_t, here where = here::current()) noexcept {
        return data_.lock(wait_recovery, where);
    }
    /// mutex::lock_or_poison(). Cancellation: as write().
    [[nodiscard]] auto write_or_poison(here where = here::current()) noexcept {
        return data_.lock_or_poison(where);
    }
    /// mutex::recover(). Cancellation: as write().
    [[nodiscard]] auto recover(here where = here::current()) noexcept {
        return data_.recover(where);
    }
    /// mutex::lock_or_recover(). Cancellation: as that.
    template <class Fn>
        requires detail::repairs<std::decay_t<Fn>, T>
    [[nodiscard]] auto write_or_recover(Fn&& repair, here where = here::current()) {
        return data_.lock_or_recover(std::forward<Fn>(repair), where);
    }
    /// mutex::transaction(). Cancellation: as write().
    [[nodiscard]] auto transaction(here where = here::current()) noexcept {
        return data_.transaction(where);
    }
    /// mutex::try_lock().
    [[nodiscard]] std::optional<guard> try_write(here where = here::current()) {
        return data_.try_lock(where);
    }
    /// mutex::try_lock_for(). Cancellation: as write().
    template <class Rep, class Period>
    [[nodiscard]] auto try_write_for(std::chrono::duration<Rep, Period> limit,
                                     here where = here::current()) {
        return data_.try_lock_for(limit, where);
    }
    /// mutex::try_lock_until(). Cancellation: as write().
    template <class Clock, class Duration>
    [[nodiscard]] auto try_write_until(std::chrono::time_point<Clock, Duration> limit,
                                       here where = here::current()) {
        return data_.try_lock_until(limit, where);
    }
    /// mutex::blocking_lock().
    [[nodiscard]] guard blocking_write(here where = here::current()) {
        return data_.blocking_lock(where);
    }
    /// mutex::with_lock(). Cancellation: as that.
    template <class Fn>
    auto with_write(Fn&& fn, here where = here::current()) {
        return data_.with_lock(std::forward<Fn>(fn), where);
    }

    /// A writer goes on as a reader: from here on its interruption poisons nothing. The readers
    /// who wait first in line come in. Errors: std::logic_error if the guard does not hold this
    /// mutex, or if its section works on a copy.
    [[nodiscard]] read_guard<T> downgrade(sync::guard<T>&& writer) {
        take_from(writer);
        core().downgrade();
        return read_guard<T>(core(), value());
    }
    /// The same, with the right to write again. Errors: as downgrade().
    [[nodiscard]] upgradable_guard downgrade_to_upgradable(sync::guard<T>&& writer) {
        take_from(writer);
        core().set_owner(toadstone::detail::current_serial());
        core().downgrade(true);
        return upgradable_guard(core(), mutable_value(), policy);
    }

    /// A hint, unless the caller holds the lock.
    [[nodiscard]] bool is_poisoned() const noexcept { return data_.is_poisoned(); }
    /// Why it is poisoned; empty when healthy.
    [[nodiscard]] poison_cause cause() const noexcept { return data_.cause(); }
    /// As it was given.
    [[nodiscard]] std::string_view name() const noexcept { return data_.name(); }
    /// Those who read now: a hint.
    [[nodiscard]] std::size_t readers() const noexcept {
        return const_cast<shared_mutex*>(this)->core().reader_count();
    }

    /// Hints, as of a mutex<T>; of the owner: who writes, or may upgrade.
    [[nodiscard]] bool is_locked() const noexcept { return data_.is_locked(); }
    /// How many wait: a hint, as of a mutex.
    [[nodiscard]] std::size_t waiters() const noexcept { return data_.waiters(); }
    /// Who writes, or may upgrade: a hint, as of a mutex.
    [[nodiscard]] std::uint64_t owner() const noexcept { return data_.owner(); }
    /// For logs: "shared_mutex 'prices', read by 3, 1 waits".
    [[nodiscard]] friend std::string to_string(const shared_mutex& of) {
        return to_string(of.data_);
    }
    friend std::ostream& operator<<(std::ostream& out, const shared_mutex& of) {
        return out << of.data_;
    }

    /// As of a mutex<T>.
    [[nodiscard]] T& get_mut() { return data_.get_mut(); }
    /// As mutex::get_mut(ignore_poison).
    [[nodiscard]] T& get_mut(ignore_poison_t) noexcept { return data_.get_mut(ignore_poison); }
    /// As mutex::into_inner().
    [[nodiscard]] T into_inner() && { return std::move(data_).into_inner(); }
    /// As mutex::into_inner(ignore_poison).
    [[nodiscard]] T into_inner(ignore_poison_t) && {
        return std::move(data_).into_inner(ignore_poison);
    }
    /// For the library.
    [[nodiscard]] exclusive& of_writers() noexcept { return data_; }

private:
    [[nodiscard]] detail::shared_core& core() noexcept { return data_.core(); }
    [[nodiscard]] T& mutable_value() noexcept { return data_.get_mut(ignore_poison); }
    [[nodiscard]] const T& value() noexcept { return mutable_value(); }
    void take_from(sync::guard<T>& writer) {
        if (!writer.held() || writer.core().mutex() != &core()) {
            toadstone::detail::throw_misuse("a writer of this shared_mutex is downgraded",
                                            core().describe());
        }
        writer.core().let_go_unreleased();
    }
    [[nodiscard]] auto timed_upgradable(toadstone::detail::time_limit limit,
                                        here where) noexcept {
        using request = upgradable_reading<detail::timed_upgradable_awaiter<T, guard>,
                                           toadstone::detail::time_limit>;
        return request(where, core(), mutable_value(), policy, limit);
    }

    exclusive data_;
};

} // namespace toadstone::sync

#endif
