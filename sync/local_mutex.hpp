// local_mutex<T>: the mutex for data that the tasks of one worker share. No atomics.
#ifndef TOADSTONE_SYNC_LOCAL_MUTEX_HPP
#define TOADSTONE_SYNC_LOCAL_MUTEX_HPP

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/detail/local_core.hpp>
#include <toadstone/sync/policy.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#include <optional>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::sync {

template <class T>
class local_guard;
template <class T>
class local_lock_result;
template <class T>
class local_recovery;

namespace detail {

/// The mutex with its data: a guard that knows the one finds the other.
template <class T>
struct local_data : local_core {
    constexpr explicit local_data(std::string_view name)
        requires std::is_default_constructible_v<T>
        : local_core(name) {}
    constexpr local_data(T data, std::string_view name)
        : local_core(name), value(std::move(data)) {}
    T value{};
};

template <class T, class Result>
class local_lock;

} // namespace detail

/// Data that only tasks of one worker use, behind a lock that may be held across a co_await.
/// A section that is left by an exception, or by the task's cancellation at a co_await inside
/// it, poisons it, as it does a mutex<T>.
///
/// Poisoning: as mutex<T> with its default policies; there are no others, and no
///     wait_recovery. lock_or_poison() and recover() get at poisoned data.
/// Fairness: first come, first served; try_lock() does not overtake a queue; unlock() hands the
///     lock to the first waiter and resumes nobody.
/// Threads: one worker. The worker of the task that locks it first is its home; a lock() or
///     try_lock() from elsewhere, a plain thread included, ends the process with a sentence. So
///     does a guard that dies elsewhere if somebody waits or the lock is poisoned; otherwise
///     that is a data race which nobody sees.
/// Shape: constant-initialised when T is; no allocation per wait.
/// Lifetime: destroying it while it is held or waited for is a contract violation.
template <class T>
class local_mutex {
public:
    using value_type = T;
    using guard = local_guard<T>;
    using recovery = local_recovery<T>;
    using here = std::source_location;

    constexpr local_mutex()
        requires std::is_default_constructible_v<T>
        : data_(std::string_view()) {}
    /// `name` appears in causes; it is not copied, so it must outlive the mutex (a literal).
    constexpr explicit local_mutex(T value, std::string_view name = {})
        : data_(std::move(value), name) {}

    /// Waits for the lock. Returns: a guard.
    /// Errors: poison_error, holding nothing; would_deadlock when this task holds it already,
    ///     or what waits for this task does, as far as the guard lies in one of their frames.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves the
    ///     queue at once; a lock that was granted meanwhile goes on, clean, to the next.
    [[nodiscard]] detail::local_lock<T, guard> lock() noexcept { return {data_}; }
    /// Waits for the lock, poisoned or not. Returns: a local_lock_result that holds it either
    /// way. Cancellation: as lock().
    [[nodiscard]] detail::local_lock<T, local_lock_result<T>> lock_or_poison() noexcept {
        return {data_};
    }
    /// Waits for the exclusive right to repair. Returns: a local_recovery; of a healthy mutex
    /// one whose cause() is empty. Cancellation: as lock().
    [[nodiscard]] detail::local_lock<T, recovery> recover() noexcept { return {data_}; }
    /// Acquires if nobody holds it or waits for it. Errors: poison_error.
    [[nodiscard]] std::optional<guard> try_lock(here where = here::current()) {
        if (!data_.acquire_now(where)) return std::nullopt;
        return std::optional<guard>(std::in_place, data_);
    }

    [[nodiscard]] bool is_poisoned() const noexcept { return static_cast<bool>(cause()); }
    /// Why it is poisoned; empty when healthy.
    [[nodiscard]] const poison_cause& cause() const noexcept { return data_.cause(); }
    [[nodiscard]] std::string_view name() const noexcept { return data_.name(); }

    /// The data, for a sole owner: nobody may hold or wait. Errors: poison_error;
    /// std::logic_error if somebody holds it.
    [[nodiscard]] T& get_mut() {
        if (data_.is_held()) {
            toadstone::detail::throw_misuse("a sole owner's mutex is not held by anybody",
                                            data_.describe());
        }
        if (data_.cause()) throw poison_error(data_.cause());
        return data_.value;
    }
    [[nodiscard]] T& get_mut(ignore_poison_t) noexcept { return data_.value; }

private:
    detail::local_data<T> data_;
};

/// The right to the data of a local_mutex. Move-only; one that was moved from holds nothing.
///
/// Poisoning: as guard<T>. Threads: dies on the worker that its mutex belongs to.
/// Lifetime: not longer than the mutex.
template <class T>
class [[nodiscard("name it: a temporary guard releases at once")]] local_guard {
public:
    local_guard(local_guard&&) noexcept = default;
    local_guard& operator=(local_guard&&) noexcept = default;
    ~local_guard() = default;

    /// Errors: std::logic_error if it holds nothing, as of every member that needs the lock.
    [[nodiscard]] T& operator*() const { return data().value; }
    [[nodiscard]] T* operator->() const { return &data().value; }
    /// False after unlock() and after a move.
    [[nodiscard]] bool held() const noexcept { return core_.held(); }
    explicit operator bool() const noexcept { return held(); }

    /// Releases; never poisons, never suspends. Nothing happens if nothing is held.
    void unlock() noexcept { core_.release(); }

    /// Says that the data is broken: everybody else gets a poison_error with this reason.
    void poison(std::string_view why) {
        core_.mutex().poison(why.empty() ? "no reason given" : why);
    }
    /// Says that the data is right again.
    void clear_poison() { core_.mutex().clear_poison(); }
    [[nodiscard]] bool is_poisoned() const { return static_cast<bool>(core_.mutex().cause()); }

    /// From here on, leaving early does no harm: an interruption leaves the lock clean.
    void mark_consistent() { core_.mutex().set_consistent(true); }
    /// Takes mark_consistent() back.
    void mark_inconsistent() { core_.mutex().set_consistent(false); }

    /// For the library.
    explicit local_guard(detail::local_data<T>& mutex) noexcept : core_(mutex) {}
    explicit local_guard(detail::local_guard_core&& core) noexcept : core_(std::move(core)) {}

private:
    [[nodiscard]] detail::local_data<T>& data() const {
        return static_cast<detail::local_data<T>&>(core_.mutex());
    }

    detail::local_guard_core core_;
};

/// What lock_or_poison() gives: the lock, and whether the data is healthy. Both arms hold it.
template <class T>
class [[nodiscard]] local_lock_result {
public:
    /// The data is healthy.
    explicit operator bool() const noexcept { return !cause_; }
    /// The guard, whatever the state of the data.
    [[nodiscard]] local_guard<T>& guard() noexcept { return guard_; }
    /// Empty when healthy.
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    /// Takes the guard, whatever the state of the data. The poison stays until clear_poison().
    [[nodiscard]] local_guard<T> into_guard() { return std::move(guard_); }

    /// For the library.
    explicit local_lock_result(detail::local_data<T>& mutex) noexcept
        : guard_(mutex), cause_(mutex.cause()) {}

private:
    local_guard<T> guard_;
    poison_cause cause_;
};

/// The exclusive right to repair poisoned data. If complete() is not called before it dies, the
/// mutex stays poisoned, with a new cause chained to the old one, and the next in line may try.
///
/// Of a mutex that was healthy, cause() is empty and a recovery behaves like a guard.
template <class T>
class [[nodiscard("a recovery that is dropped has repaired nothing")]] local_recovery {
public:
    local_recovery(local_recovery&&) noexcept = default;
    local_recovery& operator=(local_recovery&& other) noexcept {
        if (this != &other) {
            give_up();
            core_ = std::move(other.core_);
            cause_ = std::move(other.cause_);
        }
        return *this;
    }
    ~local_recovery() { give_up(); }

    /// Errors: std::logic_error after complete().
    [[nodiscard]] T& operator*() const { return data().value; }
    [[nodiscard]] T* operator->() const { return &data().value; }
    /// What is to be repaired; empty when the mutex was healthy.
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    [[nodiscard]] bool needed() const noexcept { return static_cast<bool>(cause_); }

    /// The data is right: clears the poison while the lock is still held. Errors:
    /// std::logic_error the second time.
    local_guard<T> complete() {
        if (!core_.held()) toadstone::detail::throw_misuse("a recovery is completed once");
        core_.mutex().clear_poison();
        return local_guard<T>(std::move(core_));
    }

    /// For the library.
    explicit local_recovery(detail::local_data<T>& mutex) noexcept
        : core_(mutex), cause_(mutex.cause()) {}
    /// For the library: nobody was given it, so nothing was tried. The poison stays as it is.
    void hand_back() noexcept { core_.release(); }

private:
    void give_up() noexcept {
        if (cause_) core_.release_unrepaired(); // else by the rule, in ~local_guard_core
    }

    [[nodiscard]] detail::local_data<T>& data() const {
        return static_cast<detail::local_data<T>&>(core_.mutex());
    }

    detail::local_guard_core core_;
    poison_cause cause_;
};

namespace detail {

template <class T, class Result>
class [[nodiscard]] local_lock_awaiter final : public local_lock_leaf {
public:
    local_lock_awaiter(local_data<T>& mutex, toadstone::detail::context& ctx,
                       std::source_location where) noexcept
        : local_lock_leaf(mutex, !std::is_same_v<Result, local_guard<T>>, ctx, where) {}
    Result await_resume() { return Result(static_cast<local_data<T>&>(granted())); }
};

/// Makes its leaf where it is awaited; that is where the section begins.
template <class T, class Result>
class [[nodiscard("write co_await")]] local_lock {
public:
    local_lock(local_data<T>& mutex) noexcept : mutex_(&mutex) {}
    local_lock_awaiter<T, Result> make_awaiter(toadstone::detail::context& ctx,
                                               std::source_location where) const noexcept {
        return {*mutex_, ctx, where};
    }

private:
    local_data<T>* mutex_;
};

} // namespace detail

} // namespace toadstone::sync

#endif
