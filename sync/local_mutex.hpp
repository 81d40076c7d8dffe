// local_mutex<T>: the mutex for data that the tasks of one worker share. No atomics.
#ifndef TOADSTONE_SYNC_LOCAL_MUTEX_HPP
#define TOADSTONE_SYNC_LOCAL_MUTEX_HPP

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/detail/local_lock_leaf.hpp>
#include <toadstone/sync/detail/lock_or_recover.hpp>
#include <toadstone/sync/detail/with_lock.hpp>
#include <toadstone/sync/local_guard.hpp>
#include <toadstone/sync/policy.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#include <chrono>
#include <cstddef>
#include <iosfwd>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::sync {
namespace detail {

template <class T, class Result, class Leaf>
class local_lock_awaiter;
template <class T, class Result, wants What>
class local_lock;
template <class T, class Guard>
struct local_lock_to_repair;

template <class T, class Result>
using local_operation =
    toadstone::detail::operation<local_lock_awaiter<T, Result, local_policy_leaf>,
                                 local_data<T>&, wants, policies>;
template <class T, class Result>
using local_operation_from =
    toadstone::detail::called_from<local_lock_awaiter<T, Result, local_policy_leaf>,
                                   local_data<T>&, wants, policies>;
template <class T, class Guard>
using timed_local_operation =
    toadstone::detail::operation<local_lock_awaiter<T, std::optional<Guard>, timed_local_leaf>,
                                 toadstone::detail::time_limit, local_data<T>&, wants,
                                 policies>;

} // namespace detail

/// Data that only tasks of one worker use, behind a lock that may be held across a co_await.
/// A section that is left by an exception, or by the task's cancellation at a co_await inside
/// it, poisons it, as it does a mutex<T>.
///
/// Poisoning: as mutex<T>, with all its policies. In a cause, a section begins where its lock
///     is awaited.
/// Fairness: first come, first served; try_lock() does not overtake a queue; unlock() hands the
///     lock to the first waiter and resumes nobody.
/// Threads: one worker. The worker of the task that locks it first is its home; a lock() or
///     try_lock() from elsewhere, a plain thread included, ends the process with a sentence. So
///     does a guard that dies elsewhere if somebody waits or the lock is poisoned; otherwise
///     that, and a question such as is_locked(), is a data race which nobody sees.
/// Shape: constant-initialised when T is; no allocation per wait.
/// Lifetime: destroying it while it is held or waited for is a contract violation.
template <class T, on_cancel OnCancel = on_cancel::poison,
          on_exception OnException = on_exception::poison>
class local_mutex {
    static constexpr detail::policies policy{OnCancel, OnException};
    // Nothing has to be done, or to be known, when a section begins.
    static constexpr bool begins_plainly = !policy.defers() && !policy.notes_touch();
    template <class Result, detail::wants What = detail::wants::healthy>
    using request = std::conditional_t<begins_plainly, detail::local_lock<T, Result, What>,
                                       detail::local_operation<T, Result>>;

public:
    /// The data's type.
    using value_type = T;
    /// A local_rollback_guard<T> if one of the policies is rollback.
    using guard =
        std::conditional_t<policy.rolls_back(), local_rollback_guard<T>, local_guard<T>>;
    /// What recover() gives.
    using recovery = local_recovery<T, guard>;
    /// Where a lock is taken, for causes and reports.
    using here = std::source_location;

    /// With a T of its own.
    constexpr local_mutex()
        requires std::is_default_constructible_v<T>
        : data_(std::string_view(), policy) {}
    /// `name` appears in causes; it is not copied, so it must outlive the mutex (a literal).
    constexpr explicit local_mutex(T value, std::string_view name = {})
        : data_(std::move(value), name, policy) {}

    /// Waits for the lock. Returns: a guard.
    /// Errors: poison_error, holding nothing; would_deadlock when this task holds it already,
    ///     or what waits for this task does, as far as the guard lies in one of their frames.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves the
    ///     queue at once; a lock that was granted meanwhile goes on, clean, to the next.
    [[nodiscard]] request<guard> lock() noexcept {
        return ask<guard, detail::wants::healthy>();
    }
    /// lock() with its own policy for cancellation in this one section.
    [[nodiscard]] detail::local_operation<T, guard> lock(section_policy cancel) noexcept {
        static_assert(!policy.rolls_back(),
                      "a section of a mutex whose type rolls back has no policy of its own");
        return detail::local_operation<T, guard>(data_, detail::wants::healthy,
                                                 {cancel.what(), OnException});
    }
    /// lock() that waits out a poisoning until somebody has recovered the data.
    [[nodiscard]] request<guard, detail::wants::patience> lock(wait_recovery_t) noexcept {
        return ask<guard, detail::wants::patience>();
    }
    /// Waits for the lock, poisoned or not. Returns: a lock_result that holds it either way.
    /// Cancellation: as lock().
    [[nodiscard]] request<lock_result<T, guard>, detail::wants::anything>
    lock_or_poison() noexcept {
        return ask<lock_result<T, guard>, detail::wants::anything>();
    }
    /// Waits for the exclusive right to repair. Returns: a recovery; of a healthy mutex one
    /// whose cause() is empty. Cancellation: as lock().
    [[nodiscard]] request<recovery, detail::wants::anything> recover() noexcept {
        return ask<recovery, detail::wants::anything>();
    }
    /// lock() that repairs. What, returns, errors, cancellation: as mutex::lock_or_recover().
    template <class Fn>
        requires detail::repairs<std::decay_t<Fn>, T>
    [[nodiscard]] auto lock_or_recover(Fn&& repair, here where = here::current()) {
        using F = std::decay_t<Fn>;
        toadstone::detail::check_closures<Fn>();
        using what = detail::local_lock_to_repair<T, guard>;
        using awaiter = detail::lock_or_recover_awaiter<what, F>;
        return toadstone::detail::awaitable<true, awaiter, what, F>(
            what{data_, policy, where}, F(std::forward<Fn>(repair)));
    }
    /// Waits for the lock and copies the data. Returns: a transaction on the copy, exclusive.
    /// Errors: as lock(); what copying throws, after which the lock goes on, clean.
    /// Poisoning: none, whatever ends it: an uncommitted transaction has not happened.
    /// Cancellation: as lock().
    [[nodiscard]] request<local_transaction<T>> transaction() noexcept {
        return ask<local_transaction<T>, detail::wants::healthy>();
    }

    /// Acquires if nobody holds it or waits for it. Errors: poison_error.
    [[nodiscard]] std::optional<guard> try_lock(here where = here::current()) {
        if (!data_.acquire_now(where)) return std::nullopt;
        return std::optional<guard>(
            std::in_place, detail::local_seed{data_, policy.notes_touch()}, data_.value);
    }
    /// Waits for at most `limit`. Returns: nothing when the time was up first; a hand-over at
    /// the same moment wins. Errors and cancellation: as lock(); std::invalid_argument, at the
    /// call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] auto try_lock_for(std::chrono::duration<Rep, Period> limit) {
        return timed(toadstone::detail::time_limit(limit));
    }
    /// try_lock_for() up to a point in time, by steady_clock or, for the calendar, system_clock
    /// (see with_deadline()). Errors and cancellation: as try_lock_for().
    template <class Clock, class Duration>
    [[nodiscard]] auto try_lock_until(std::chrono::time_point<Clock, Duration> limit) {
        return timed(toadstone::detail::time_limit(limit));
    }

    /// Runs `fn(T&)`, which may be a coroutine, under the lock and gives its result. The strict
    /// form: poisons unless `fn` returned, whatever ended it, and whatever the policy says.
    template <class Fn>
    auto with_lock(Fn&& fn, here where = here::current()) {
        return detail::run_with_lock(*this, std::forward<Fn>(fn), where);
    }

    /// As mutex::is_poisoned().
    [[nodiscard]] bool is_poisoned() const noexcept { return data_.is_poisoned(); }
    /// Why it is poisoned; empty when healthy.
    [[nodiscard]] const poison_cause& cause() const noexcept { return data_.cause(); }
    /// As it was given.
    [[nodiscard]] std::string_view name() const noexcept { return data_.name(); }
    /// Whether somebody has it, and how many wait.
    [[nodiscard]] bool is_locked() const noexcept { return data_.is_held(); }
    /// Tasks that wait for it.
    [[nodiscard]] std::size_t waiters() const noexcept { return data_.count_waiters(); }
    /// For logs: "local_mutex 'accounts', held, 2 wait".
    [[nodiscard]] friend std::string to_string(const local_mutex& of) {
        return of.data_.state();
    }
    friend std::ostream& operator<<(std::ostream& out, const local_mutex& of) {
        return of.data_.print(out);
    }

    /// The data, for a sole owner: nobody may hold or wait. Errors: poison_error;
    /// std::logic_error if somebody holds it.
    [[nodiscard]] T& get_mut() {
        check_sole_owner();
        return data_.value;
    }
    /// The same, poisoned or not.
    [[nodiscard]] T& get_mut(ignore_poison_t) noexcept { return data_.value; }
    /// Takes the data out. Errors: as get_mut(); the data stays.
    [[nodiscard]] T into_inner() && {
        check_sole_owner();
        return std::move(data_.value);
    }
    /// The same, poisoned or not.
    [[nodiscard]] T into_inner(ignore_poison_t) && { return std::move(data_.value); }

    /// For the library: lock(), for a caller who is not the one that awaits.
    [[nodiscard]] detail::local_operation_from<T, guard> lock(here where) noexcept {
        return detail::local_operation_from<T, guard>(where, data_, detail::wants::healthy,
                                                      policy);
    }

private:
    template <class Result, detail::wants What>
    [[nodiscard]] request<Result, What> ask() noexcept {
        if constexpr (begins_plainly) {
            return request<Result, What>(data_);
        } else {
            return request<Result, What>(data_, What, policy);
        }
    }
    [[nodiscard]] auto timed(toadstone::detail::time_limit limit) noexcept {
        return detail::timed_local_operation<T, guard>(limit, data_, detail::wants::healthy,
                                                       policy);
    }
    void check_sole_owner() const {
        if (data_.is_held()) {
            toadstone::detail::throw_misuse("a sole owner's mutex is not held by anybody",
                                            data_.describe());
        }
        if (data_.cause()) throw poison_error(data_.cause());
    }

    detail::local_data<T> data_;
};

namespace detail {

template <class T, class Result, class Leaf>
class [[nodiscard]] local_lock_awaiter : public Leaf {
public:
    template <class... Args>
    explicit local_lock_awaiter(Args&&... args) noexcept : Leaf(std::forward<Args>(args)...) {}
    Result await_resume() {
        if constexpr (std::is_same_v<Leaf, timed_local_leaf>) {
            if (!this->in_time()) return std::nullopt;
            local_seed seed = this->granted();
            return Result(std::in_place, std::move(seed), data());
        } else {
            local_seed seed = this->granted();
            if constexpr (std::is_constructible_v<Result, local_seed, T&>) {
                return Result(std::move(seed), data());
            } else {
                return Result(std::move(seed), data(), this->core_->cause());
            }
        }
    }

private:
    [[nodiscard]] T& data() const noexcept {
        return static_cast<local_data<T>&>(*this->core_).value;
    }
};

/// Makes its leaf where it is awaited; that is where the section begins.
template <class T, class Result, wants What>
class [[nodiscard("write co_await")]] local_lock {
public:
    static constexpr bool acquires = true;

    explicit local_lock(local_data<T>& mutex) noexcept : mutex_(&mutex) {}
    local_lock_awaiter<T, Result, local_lock_leaf>
    make_awaiter(toadstone::detail::context& ctx, std::source_location where) const noexcept {
        return local_lock_awaiter<T, Result, local_lock_leaf>(*mutex_, What, ctx, where);
    }

private:
    local_data<T>* mutex_;
};

/// lock_to_repair, of a local mutex.
template <class T, class Guard>
struct local_lock_to_repair {
    using value_type = T;
    using guard = Guard;

    local_data<T>& data;
    policies policy;
    std::source_location where;

    [[nodiscard]] auto recover() const noexcept {
        return local_operation_from<T, sync::recovery<T, Guard>>(where, data, wants::repair,
                                                                 policy);
    }
    [[nodiscard]] bool try_acquire(toadstone::detail::context& task) const noexcept {
        return data.try_acquire(task.home(), where);
    }
    [[nodiscard]] Guard take(toadstone::detail::context& task) const {
        return Guard(data.begin_as(policy, task), data.value);
    }
};

} // namespace detail

} // namespace toadstone::sync

#endif
