// condition_variable: waits, its lock open meanwhile, for what others do to the data.
#ifndef TOADSTONE_SYNC_CONDITION_VARIABLE_HPP
#define TOADSTONE_SYNC_CONDITION_VARIABLE_HPP

#include <toadstone/runtime/task.hpp>
#include <toadstone/runtime/this_task.hpp>
#include <toadstone/sync/detail/condition_core.hpp>
#include <toadstone/sync/guard.hpp>

#include <chrono>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone::sync {

/// Lets go of the guard's mutex, waits to be notified, and takes the mutex again.
///
/// Cancellation: wait() is a cancellation point. A wait that is cancelled takes the mutex
///     again, even if it is poisoned, before any destructor of the task runs: they may use the
///     guard. It does not poison: the section was open to others. (A token of a with_token()
///     around the wait, inside the section, ends the section: that poisons.) A notification
///     that it had been given goes to the next. A guard with on_cancel::defer defers nothing
///     while it is open.
/// Poisoning: where the mutex is poisoned meanwhile, wait() throws poison_error, and the guard
///     holds nothing then.
/// Fairness: first come, first served, here and at the mutex, to whose queue a notified waiter
///     goes at once. No wake-up is spurious; but what a notification said may be true no more.
/// Threads: tasks of any worker and plain threads, all with one mutex<T> at a time.
/// Shape: constant-initialised; no allocation per wait. Notifying suspends and resumes nobody.
/// Lifetime: not destroyed while somebody waits.
class condition_variable {
    using request =
        toadstone::detail::called_from<detail::condition_leaf, detail::condition_core&,
                                       detail::guard_core&>;
    using timed_request =
        toadstone::detail::called_from<detail::timed_condition_leaf, detail::condition_core&,
                                       detail::guard_core&, toadstone::detail::time_limit>;

public:
    /// Where a wait stands, for causes and reports.
    using here = std::source_location;

    /// Nobody waits.
    constexpr condition_variable() noexcept = default;

    /// Until it is notified. Errors: poison_error, as above; std::logic_error if the guard
    /// holds nothing, or if others wait with another mutex; nothing is let go of then.
    template <class T>
    [[nodiscard]] request wait(guard<T>& held, here where = here::current()) noexcept {
        return request(where, core_, held.core());
    }
    /// Until `done()` holds, under the lock; it is asked first. Errors: as wait(); what `done`
    /// throws.
    template <class T, class Predicate>
        requires std::is_invocable_r_v<bool, Predicate&>
    [[nodiscard]] task<> wait(guard<T>& held, Predicate done, here where = here::current()) {
        while (!done()) co_await wait(held, where);
    }

    /// For at most `limit`. Returns: false when the time was up first; a notification at the
    /// same moment wins. The mutex is held again either way. Errors: as wait();
    /// std::invalid_argument, at the call, when `limit` is NaN.
    template <class T, class Rep, class Period>
    [[nodiscard]] timed_request wait_for(guard<T>& held,
                                         std::chrono::duration<Rep, Period> limit,
                                         here where = here::current()) {
        return timed_request(where, core_, held.core(), toadstone::detail::time_limit(limit));
    }
    /// wait_for() up to a point in time, by steady_clock or system_clock.
    template <class T, class Clock, class Duration>
    [[nodiscard]] timed_request wait_until(guard<T>& held,
                                           std::chrono::time_point<Clock, Duration> limit,
                                           here where = here::current()) {
        return timed_request(where, core_, held.core(), toadstone::detail::time_limit(limit));
    }
    /// Until `done()` holds, or the time is up. Returns: what `done()` says in the end.
    template <class T, class Clock, class Duration, class Predicate>
        requires std::is_invocable_r_v<bool, Predicate&>
    [[nodiscard]] task<bool> wait_until(guard<T>& held,
                                        std::chrono::time_point<Clock, Duration> limit,
                                        Predicate done, here where = here::current()) {
        for (;;) {
            if (done()) co_return true;
            const bool in_time = co_await wait_until(held, limit, where);
            if (!in_time) co_return done();
        }
    }
    /// wait_until() for so long. Cancellation: as wait().
    template <class T, class Rep, class Period, class Predicate>
        requires std::is_invocable_r_v<bool, Predicate&>
    [[nodiscard]] TOADSTONE_CORO_WRAPPER task<bool>
    wait_for(guard<T>& held, std::chrono::duration<Rep, Period> limit, Predicate done,
             here where = here::current()) {
        return wait_until(held, this_task::now() + limit, std::move(done), where);
    }

    /// On a plain thread; on a fiber, where it waits as wait(). Errors: as wait();
    /// std::logic_error elsewhere on a worker.
    template <class T>
    void blocking_wait(guard<T>& held) {
        detail::wait_here(core_, held.core());
    }
    /// blocking_wait() until `done()` is true.
    template <class T, class Predicate>
        requires std::is_invocable_r_v<bool, Predicate&>
    void blocking_wait(guard<T>& held, Predicate done) {
        while (!done()) blocking_wait(held);
    }

    /// The first who waits goes on when he has the mutex.
    void notify_one() noexcept { core_.notify(false); }
    /// All who wait do, one after the other.
    void notify_all() noexcept { core_.notify(true); }

private:
    detail::condition_core core_;
};

} // namespace toadstone::sync

#endif
