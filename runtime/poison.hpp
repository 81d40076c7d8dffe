// poison<T>: the detection without a lock, for data that one task or thread owns.
#ifndef TOADSTONE_RUNTIME_POISON_HPP
#define TOADSTONE_RUNTIME_POISON_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/watch.hpp>
#include <toadstone/runtime/poison_cause.hpp>

#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone {

template <class T>
class poison;
template <class T>
class poison_recovery;

/// Access to the data of a poison<T>. Dying at a higher level than it was born, it poisons.
///
/// Lifetime: not longer than the poison<T>. Threads: as the data itself.
template <class T>
class [[nodiscard("name it: a temporary ends at once")]] poison_access {
public:
    poison_access(poison_access&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), watch_(other.watch_) {}
    poison_access& operator=(poison_access&&) = delete;
    ~poison_access() {
        if (owner_ && watch_.interrupted()) owner_->interrupted(watch_, {});
    }

    /// Errors: std::logic_error after release() and after a move, as of every member that needs
    /// the data.
    [[nodiscard]] T& operator*() const { return owner().value_; }
    /// The data.
    [[nodiscard]] T* operator->() const { return &owner().value_; }

    /// From here on, leaving early does no harm.
    void mark_consistent() noexcept { watch_.consistent = true; }
    /// From here on an interruption poisons again.
    void mark_inconsistent() noexcept { watch_.consistent = false; }
    /// Ends the access; never poisons.
    void release() noexcept { owner_ = nullptr; }
    /// Says that the data is broken.
    void poison_now(std::string_view why) {
        owner().interrupted(watch_, why.empty() ? "no reason given" : why);
    }
    /// Says that the data is right again.
    void clear_poison() { owner().cause_ = {}; }

private:
    friend class poison<T>;
    friend class poison_recovery<T>;
    [[nodiscard]] poison<T>& owner() const {
        if (!owner_) detail::throw_misuse("a poison_access gives access only until released");
        return *owner_;
    }
    poison_access(poison<T>& owner, std::source_location where) noexcept
        : owner_(&owner), watch_(detail::watch::begin(where)) {}

    poison<T>* owner_;
    detail::watch watch_;
};

/// The right to repair poisoned data. If complete() is not called before it dies, the data
/// stays poisoned, with a new cause chained to the old one.
///
/// Of healthy data, cause() is empty and a recovery behaves like an access.
/// Lifetime and threads: as poison_access.
template <class T>
class [[nodiscard("a recovery that is dropped has repaired nothing")]] poison_recovery {
public:
    poison_recovery(poison_recovery&& other) noexcept
        : access_(std::move(other.access_)), cause_(std::exchange(other.cause_, {})) {}
    poison_recovery& operator=(poison_recovery&&) = delete;
    ~poison_recovery() {
        if (!access_.owner_ || !cause_) return; // by the rule, in ~poison_access
        const detail::watch& section = access_.watch_;
        const bool torn = section.interrupted();
        std::exchange(access_.owner_, nullptr)
            ->interrupted(section, torn ? "" : "the repair was not completed");
    }

    /// Errors: std::logic_error after complete().
    [[nodiscard]] T& operator*() const { return *access_; }
    /// The data.
    [[nodiscard]] T* operator->() const { return &*access_; }
    /// What is to be repaired; empty when the data was healthy.
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    /// It was poisoned: there is something to repair.
    [[nodiscard]] bool needed() const noexcept { return static_cast<bool>(cause_); }
    /// The data is right. Returns: an access to it. Errors: std::logic_error the second time.
    poison_access<T> complete() {
        access_.clear_poison();
        return std::move(access_);
    }

private:
    friend class poison<T>;
    poison_recovery(poison<T>& owner, std::source_location where) noexcept
        : access_(owner, where), cause_(owner.cause()) {}

    poison_access<T> access_;
    poison_cause cause_;
};

/// A wrapper around data that one task or thread owns. An access that is interrupted, by an
/// exception or by a teardown, poisons it; the next access reports that.
///
/// Threads: as T itself; there is no lock. Shape: T and one counted pointer.
template <class T>
class poison {
public:
    /// Healthy, with a T of its own.
    poison() = default;
    /// Healthy. `name` appears in causes; it is not copied.
    explicit poison(T value, std::string_view name = {})
        : value_(std::move(value)), name_(name) {}

    /// Errors: poison_error when an earlier access was interrupted.
    poison_access<T> access(std::source_location where = std::source_location::current()) {
        if (cause_) throw poison_error(cause_);
        return poison_access<T>(*this, where);
    }
    /// Access all the same: to look at the damage, or to repair it and clear_poison().
    poison_access<T>
    access_anyway(std::source_location where = std::source_location::current()) noexcept {
        return poison_access<T>(*this, where);
    }

    /// The right to repair it; see poison_recovery.
    poison_recovery<T>
    recover(std::source_location where = std::source_location::current()) noexcept {
        return poison_recovery<T>(*this, where);
    }
    /// Runs `fn(T&)` and gives its result. The strict form: poisons unless `fn` returned,
    /// whatever ended it; it sees even pthread_exit() and pthread_cancel(). Errors: as
    /// access(); what `fn` throws.
    template <class Fn>
    auto with_access(Fn&& fn, std::source_location where = std::source_location::current())
        -> std::invoke_result_t<Fn, T&> {
        using R = std::invoke_result_t<Fn, T&>;
        static_assert(!detail::library_awaitable<R>,
                      "with_access() runs functions that return when they are "
                      "done: hold an access() in a coroutine");
        poison_access<T> held = access(where);
        held.watch_.strict = true;
        if constexpr (std::is_void_v<R>) {
            std::forward<Fn>(fn)(value_);
            held.release();
        } else {
            R result = std::forward<Fn>(fn)(value_);
            held.release();
            return static_cast<R&&>(result);
        }
    }

    /// Somebody has left it in the middle.
    [[nodiscard]] bool is_poisoned() const noexcept { return static_cast<bool>(cause_); }
    /// Empty when healthy.
    [[nodiscard]] poison_cause cause() const noexcept { return cause_; }
    /// As it was given.
    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    /// To look at the data only. Errors: as access().
    [[nodiscard]] const T& view() const {
        if (cause_) throw poison_error(cause_);
        return value_;
    }
    /// Takes the data out. Errors: as access(); the data stays.
    [[nodiscard]] T into_inner() && {
        if (cause_) throw poison_error(cause_);
        return std::move(value_);
    }

private:
    friend class poison_access<T>;
    friend class poison_recovery<T>;
    void interrupted(const detail::watch& watch, std::string_view why) noexcept {
        cause_ = poison_cause(detail::make_cause({.type = "data",
                                                  .during = "during the access begun at",
                                                  .name = name_,
                                                  .locked_at = watch.where,
                                                  .why = why,
                                                  .previous = cause_.state()}));
    }

    T value_{};
    std::string_view name_{}; // a literal, or something that outlives this
    poison_cause cause_;
};

} // namespace toadstone

#endif
