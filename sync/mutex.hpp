// mutex<T>: an async mutex that owns its data, and that knows when its holder left in the
// middle.
#ifndef TOADSTONE_SYNC_MUTEX_HPP
#define TOADSTONE_SYNC_MUTEX_HPP

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>
#include <toadstone/sync/detail/lock_or_recover.hpp>
#include <toadstone/sync/detail/with_lock.hpp>
#include <toadstone/sync/guard.hpp>
#include <toadstone/sync/policy.hpp>
#include <toadstone/sync/rollback_guard.hpp>
#include <toadstone/sync/transaction.hpp>
#include <toadstone/sync/would_deadlock.hpp>

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
namespace detail {

template <class T, class Guard>
class lock_awaiter;
template <class T, class Guard>
class lock_or_poison_awaiter;
template <class T, class Guard>
class recover_awaiter;
template <class T, class Guard>
class timed_lock_awaiter;

template <class Awaiter, class T, class... What>
using lock_operation = toadstone::detail::called_from<Awaiter, mutex_core&, T&, What...>;
template <class T, class Guard>
using lock_request = lock_operation<lock_awaiter<T, Guard>, T, wants, policies>;
template <class T, class Guard>
using lock_or_poison_request = lock_operation<lock_or_poison_awaiter<T, Guard>, T, policies>;
template <class T, class Guard>
using recover_request = lock_operation<recover_awaiter<T, Guard>, T, policies>;
template <class T, class Guard>
using timed_lock_request =
    lock_operation<timed_lock_awaiter<T, Guard>, T, policies, toadstone::detail::time_limit>;

} // namespace detail

/// Data behind a lock. A section that is left by an exception, or by the task's cancellation at
/// a co_await inside it, poisons the mutex: whoever comes next gets a poison_error that tells
/// the cause, until somebody repairs the data with recover().
///
/// Poisoning: a guard poisons when it dies at a higher level than it was born
///     (docs/poisoning.md). Waiting never poisons; unlock() never does; an exception that is
///     caught inside the section does not. OnCancel and OnException choose other behaviour for
///     this mutex.
/// Fairness: first come, first served; made with fairness::batched, by workers in turn.
///     try_lock() does not overtake a queue; unlock() hands the lock to the next waiter, which
///     is resumed by its own worker, never inline.
/// Threads: tasks of any worker and plain threads (blocking_lock) may share it.
/// Shape: constant-initialised when T is; no allocation per wait (the node is in the frame).
/// Lifetime: destroying it while it is held or waited for is a contract violation, but for
///     what exit() destroys: a global one, from the first runtime on any one.
/// Source: the queue and hand-over after parking_lot and nsync; poisoning after
///     std::sync::Mutex and cancel-safe-futures' RobustMutex (Rust).
template <class T, on_cancel OnCancel = on_cancel::poison,
          on_exception OnException = on_exception::poison, class Core = detail::mutex_core>
class mutex {
    static constexpr detail::policies policy{OnCancel, OnException};

public:
    /// The data's type.
    using value_type = T;
    /// A rollback_guard<T> if one of the policies is rollback.
    using guard = std::conditional_t<policy.rolls_back(), rollback_guard<T>, sync::guard<T>>;
    /// What recover() gives.
    using recovery = sync::recovery<T, guard>;
    /// Where a lock is taken, for causes and reports.
    using here = std::source_location;

    /// With a T of its own.
    constexpr mutex()
        requires std::is_default_constructible_v<T>
    = default;
    /// `name` appears in causes; it is not copied, so it must outlive the mutex (a literal).
    constexpr explicit mutex(T value, std::string_view name = {})
        : core_(name), value_(std::move(value)) {}
    /// The same with an order: see fairness.
    constexpr mutex(T value, std::string_view name, fairness order)
        : core_(name, order), value_(std::move(value)) {}

    /// Waits for the lock. Returns: a guard.
    /// Errors: poison_error, holding nothing; would_deadlock when this task holds it already,
    ///     or what waits for this task does. A guard that was moved is known by the frame that
    ///     it lies in, of this task, or of one that waits for it and had it before: one on the
    ///     heap is waited for.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves the
    ///     queue at once; a lock that was granted meanwhile goes on, clean, to the next.
    [[nodiscard]] detail::lock_request<T, guard> lock(here where = here::current()) noexcept {
        return detail::lock_request<T, guard>(where, core_, value_, detail::wants::healthy,
                                              policy);
    }
    /// lock() with its own policy for cancellation in this one section.
    [[nodiscard]] detail::lock_request<T, guard> lock(section_policy cancel,
                                                      here where = here::current()) noexcept {
        static_assert(!policy.rolls_back(),
                      "a section of a mutex whose type rolls back has no policy of its own");
        return detail::lock_request<T, guard>(where, core_, value_, detail::wants::healthy,
                                              {cancel.what(), OnException});
    }
    /// lock() that waits out a poisoning until somebody has recovered the data.
    [[nodiscard]] detail::lock_request<T, guard> lock(wait_recovery_t,
                                                      here where = here::current()) noexcept {
        return detail::lock_request<T, guard>(where, core_, value_, detail::wants::patience,
                                              policy);
    }
    /// Waits for the lock, poisoned or not. Returns: a lock_result that holds it either way.
    /// Cancellation: as lock().
    [[nodiscard]] detail::lock_or_poison_request<T, guard>
    lock_or_poison(here where = here::current()) noexcept {
        return detail::lock_or_poison_request<T, guard>(where, core_, value_, policy);
    }
    /// Waits for the exclusive right to repair. Returns: a recovery; of a healthy mutex one
    /// whose cause() is empty. Cancellation: as lock().
    [[nodiscard]] detail::recover_request<T, guard>
    recover(here where = here::current()) noexcept {
        return detail::recover_request<T, guard>(where, core_, value_, policy);
    }

    /// lock() that repairs: of those who come to poisoned data the first runs
    /// `repair(T&, const poison_cause&)`, a plain function or a coroutine, alone and shielded;
    /// the others wait and go on with healthy data.
    /// Returns: a guard.
    /// Errors: what the repair throws, for whoever ran it; poison_error for those who waited
    ///     for it then. The data stays poisoned, with a new cause chained to the old one, and
    ///     whoever comes later tries again. would_deadlock as lock().
    /// Cancellation: as lock(). A request during the repair: it runs to its end, the lock goes
    ///     on, clean, and the task stops. The destruction of the runtime ends a repair that
    ///     hangs; give one that may a with_timeout() inside.
    template <class Fn>
        requires detail::repairs<std::decay_t<Fn>, T>
    [[nodiscard]] auto lock_or_recover(Fn&& repair, here where = here::current()) {
        using F = std::decay_t<Fn>;
        toadstone::detail::check_closures<Fn>();
        using what = detail::lock_to_repair<T, guard>;
        using awaiter = detail::lock_or_recover_awaiter<what, F>;
        return toadstone::detail::awaitable<true, awaiter, what, F>(
            what{core_, value_, policy, where}, F(std::forward<Fn>(repair)));
    }

    /// Waits for the lock and copies the data. Returns: a transaction on the copy, exclusive.
    /// Errors: as lock(); what copying throws, after which the lock goes on, clean.
    /// Poisoning: none, whatever ends it: an uncommitted transaction has not happened.
    /// Cancellation: as lock().
    [[nodiscard]] detail::lock_request<T, sync::transaction<T>>
    transaction(here where = here::current()) noexcept {
        return detail::lock_request<T, sync::transaction<T>>(where, core_, value_,
                                                             detail::wants::healthy, policy);
    }

    /// Acquires if nobody holds it or waits for it. Errors: poison_error.
    [[nodiscard]] std::optional<guard> try_lock(here where = here::current()) {
        auto deferring = detail::task_that_defers(OnCancel);
        if (!detail::lock_here(core_, false)) return std::nullopt;
        return std::optional<guard>(std::in_place, make_guard(where, std::move(deferring)),
                                    value_);
    }
    /// Waits for at most `limit`. Returns: nothing when the time was up first; a hand-over at
    /// the same moment wins. Errors and cancellation: as lock(); std::invalid_argument, at the
    /// call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] detail::timed_lock_request<T, guard>
    try_lock_for(std::chrono::duration<Rep, Period> limit, here where = here::current()) {
        return detail::timed_lock_request<T, guard>(where, core_, value_, policy,
                                                    toadstone::detail::time_limit(limit));
    }
    /// try_lock_for() up to a point in time, by steady_clock or, for the calendar, system_clock
    /// (see with_deadline()). Errors and cancellation: as try_lock_for().
    template <class Clock, class Duration>
    [[nodiscard]] detail::timed_lock_request<T, guard>
    try_lock_until(std::chrono::time_point<Clock, Duration> limit,
                   here where = here::current()) {
        return detail::timed_lock_request<T, guard>(where, core_, value_, policy,
                                                    toadstone::detail::time_limit(limit));
    }

    /// Blocks the calling thread, which must not be a worker if it has to wait.
    /// Errors: poison_error; would_deadlock; std::logic_error on a worker that would block.
    [[nodiscard]] guard blocking_lock(here where = here::current()) {
        auto deferring = detail::task_that_defers(OnCancel);
        static_cast<void>(detail::lock_here(core_, true));
        return guard(make_guard(where, std::move(deferring)), value_);
    }

    /// transaction() on a plain thread. Errors: as blocking_lock() and transaction().
    [[nodiscard]] sync::transaction<T> blocking_transaction(here where = here::current()) {
        auto deferring = detail::task_that_defers(OnCancel);
        static_cast<void>(detail::lock_here(core_, true));
        return sync::transaction<T>(make_guard(where, std::move(deferring)), value_);
    }

    /// Runs `fn(T&)`, which may be a coroutine, under the lock and gives its result. The strict
    /// form: poisons unless `fn` returned, whatever ended it, and whatever the policy says.
    template <class Fn>
    auto with_lock(Fn&& fn, here where = here::current());
    /// The same on a plain thread; it sees even pthread_exit() and pthread_cancel().
    template <class Fn>
    auto blocking_with_lock(Fn&& fn, here where = here::current())
        -> std::invoke_result_t<Fn, T&>;

    /// A hint, unless the caller holds the lock.
    [[nodiscard]] bool is_poisoned() const noexcept { return core_.is_poisoned(); }
    /// Why it is poisoned; empty when healthy.
    [[nodiscard]] poison_cause cause() const noexcept { return core_.cause(); }
    /// As it was given.
    [[nodiscard]] std::string_view name() const noexcept { return core_.name(); }
    /// Hints, true when they were asked for: whether somebody has it, and how many wait.
    [[nodiscard]] bool is_locked() const noexcept { return core_.is_held(); }
    /// Goes through the queue, under its lock.
    [[nodiscard]] std::size_t waiters() const noexcept { return core_.count_waiters(); }
    /// A hint: the id of the task that has it; 0 if nobody has, and if that is not known: of a
    /// plain thread, of a lock that was taken inside a boundary (with_timeout()), of a guard
    /// that was moved.
    [[nodiscard]] std::uint64_t owner() const noexcept { return core_.owner_task(); }
    /// For logs: "mutex 'accounts', held by task 7, 2 wait".
    [[nodiscard]] friend std::string to_string(const mutex& of) { return of.core_.state(); }
    friend std::ostream& operator<<(std::ostream& out, const mutex& of) {
        return of.core_.print(out);
    }

    /// The data, for a sole owner: nobody may hold or wait. Errors: poison_error;
    /// std::logic_error if somebody holds it.
    [[nodiscard]] T& get_mut() {
        check_sole_owner();
        return value_;
    }
    /// The same, poisoned or not.
    [[nodiscard]] T& get_mut(ignore_poison_t) noexcept { return value_; }
    /// Takes the data out. Errors: as get_mut(); the data stays.
    [[nodiscard]] T into_inner() && {
        check_sole_owner();
        return std::move(value_);
    }
    /// The same, poisoned or not.
    [[nodiscard]] T into_inner(ignore_poison_t) && { return std::move(value_); }
    /// For the library.
    [[nodiscard]] Core& core() noexcept { return core_; }
    /// For the library.
    [[nodiscard]] static constexpr detail::policies policy_of_type() noexcept { return policy; }

private:
    detail::guard_seed make_guard(here where,
                                  toadstone::detail::cancel_ref deferring) noexcept {
        return detail::seed_here(core_, where, policy, std::move(deferring));
    }
    void check_sole_owner() const {
        if (core_.is_held()) {
            toadstone::detail::throw_misuse("a sole owner's mutex is not held by anybody",
                                            core_.describe());
        }
        if (core_.is_poisoned()) throw poison_error(core_.cause());
    }

    [[no_unique_address]] Core core_{std::string_view()};
    [[no_unique_address]] T value_{};
};

namespace detail {

template <class T, class Guard>
class lock_awaiter : public lock_leaf {
public:
    lock_awaiter(mutex_core& core, T& value, wants what, policies policy) noexcept
        : lock_leaf(core, what, policy), value_(&value) {}
    Guard await_resume() {
        check();
        return Guard(make_guard(), *value_);
    }

private:
    T* value_;
};

template <class T, class Guard>
class lock_or_poison_awaiter : public lock_leaf {
public:
    lock_or_poison_awaiter(mutex_core& core, T& value, policies policy) noexcept
        : lock_leaf(core, wants::anything, policy), value_(&value) {}
    lock_result<T, Guard> await_resume() {
        check();
        return lock_result<T, Guard>(make_guard(), *value_, core_->cause());
    }

private:
    T* value_;
};

template <class T, class Guard>
class recover_awaiter : public lock_leaf {
public:
    recover_awaiter(mutex_core& core, T& value, policies policy) noexcept
        : lock_leaf(core, wants::anything, policy), value_(&value) {}
    recovery<T, Guard> await_resume() {
        check();
        return recovery<T, Guard>(make_guard(), *value_, core_->cause());
    }

private:
    T* value_;
};

template <class T, class Guard>
class timed_lock_awaiter : public timed_lock_leaf {
public:
    timed_lock_awaiter(mutex_core& core, T& value, policies policy,
                       toadstone::detail::time_limit limit) noexcept
        : timed_lock_leaf(limit, core, wants::healthy, policy), value_(&value) {}
    std::optional<Guard> await_resume() {
        if (!in_time()) return std::nullopt;
        check();
        return std::optional<Guard>(std::in_place, make_guard(), *value_);
    }

private:
    T* value_;
};

} // namespace detail

template <class T, on_cancel C, on_exception E, class Core>
template <class Fn>
auto mutex<T, C, E, Core>::with_lock(Fn&& fn, here where) {
    return detail::run_with_lock(*this, std::forward<Fn>(fn), where);
}

template <class T, on_cancel C, on_exception E, class Core>
template <class Fn>
auto mutex<T, C, E, Core>::blocking_with_lock(Fn&& fn, here where)
    -> std::invoke_result_t<Fn, T&> {
    guard held = blocking_lock(where);
    held.make_strict();
    using R = std::invoke_result_t<Fn, T&>;
    if constexpr (std::is_void_v<R>) {
        detail::call_on(std::forward<Fn>(fn), *held);
        held.unlock();
    } else {
        R result = detail::call_on(std::forward<Fn>(fn), *held);
        held.unlock();
        return static_cast<R&&>(result);
    }
}

} // namespace toadstone::sync

#endif
