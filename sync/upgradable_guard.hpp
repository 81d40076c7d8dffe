// upgradable_guard: reading the data of a shared mutex, with the right to go on as a writer.
#ifndef TOADSTONE_SYNC_UPGRADABLE_GUARD_HPP
#define TOADSTONE_SYNC_UPGRADABLE_GUARD_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/sync/detail/reading.hpp>
#include <toadstone/sync/detail/shared_core.hpp>
#include <toadstone/sync/read_guard.hpp>

#include <chrono>
#include <optional>
#include <source_location>
#include <utility>

namespace toadstone::sync {

namespace detail {
template <class T, class Guard>
class upgrade_awaiter;
template <class T, class Guard>
class timed_upgrade_awaiter;
} // namespace detail

/// Reads together with other readers, and alone has the right to go on as a writer, with
/// nobody writing in between: what was read is still true. As a reader it never poisons.
/// Move-only; one that was moved from holds nothing. Threads: it may die on any. Lifetime: not
/// longer than the mutex; it stays where it is while an upgrade() of it waits.
template <class T, class Guard>
class [[nodiscard("name it: a temporary guard releases at once")]] upgradable_guard
    : public detail::reading<T> {
    using base = detail::reading<T>;
    using base::check;
    using base::core_;
    using base::value_;
    using upgrading =
        toadstone::detail::called_from<detail::upgrade_awaiter<T, Guard>, upgradable_guard&>;
    using timed_upgrading =
        toadstone::detail::called_from<detail::timed_upgrade_awaiter<T, Guard>,
                                       upgradable_guard&, toadstone::detail::time_limit>;

public:
    /// Where it is asked for, for causes and reports.
    using here = std::source_location;

    upgradable_guard(upgradable_guard&& other) noexcept
        : base(std::move(other)), policy_(other.policy_) {
        note_move();
    }
    upgradable_guard& operator=(upgradable_guard&& other) noexcept {
        if (this != &other) {
            unlock();
            base::operator=(std::move(other));
            policy_ = other.policy_;
            note_move();
        }
        return *this;
    }
    ~upgradable_guard() { unlock(); }

    /// Never suspends. Nothing happens if nothing is held.
    void unlock() noexcept {
        if (this->held()) this->let_go()->release_upgradable();
    }

    /// Waits until the readers who are here have gone; who comes waits. Returns: the guard of a
    /// writer; this one is empty then. Until then it holds what it held, whatever happens. (A
    /// writer's guard that a race drops undelivered lets go of all.)
    /// Errors: std::logic_error if it holds nothing, or while another upgrade of it waits; with
    ///     a policy rollback what copying T throws, after which nothing is held.
    /// Deadlock: a read_guard of the same task is waited for, without end.
    /// Cancellation: a cancellation point. It leaves this guard as it is, and those who came
    ///     meanwhile go on.
    [[nodiscard]] upgrading upgrade(here where = here::current()) {
        check();
        return upgrading(where, *this);
    }
    /// For at most `limit`. Returns: nothing when the time was up first, and this guard is as
    /// it was. Errors and cancellation: as upgrade(); std::invalid_argument, at the call, when
    /// `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] timed_upgrading try_upgrade_for(std::chrono::duration<Rep, Period> limit,
                                                  here where = here::current()) {
        check();
        return timed_upgrading(where, *this, toadstone::detail::time_limit(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] timed_upgrading
    /// try_upgrade_for() up to a point in time. Cancellation: as upgrade().
    try_upgrade_until(std::chrono::time_point<Clock, Duration> limit,
                      here where = here::current()) {
        check();
        return timed_upgrading(where, *this, toadstone::detail::time_limit(limit));
    }
    /// If nobody else reads. Errors: as upgrade().
    [[nodiscard]] std::optional<Guard> try_upgrade(here where = here::current()) {
        check();
        auto deferring = detail::task_that_defers(policy_.cancel());
        if (!detail::upgrade_here(*core_, false)) return std::nullopt;
        auto made = seed(where, std::move(deferring));
        return std::optional<Guard>(std::in_place, std::move(made), release_value());
    }
    /// Blocks the calling thread, which must not be a worker if it has to wait. Errors: as
    /// upgrade(); std::logic_error on a worker that would block.
    [[nodiscard]] Guard blocking_upgrade(here where = here::current()) {
        check();
        auto deferring = detail::task_that_defers(policy_.cancel());
        static_cast<void>(detail::upgrade_here(*core_, true));
        auto made = seed(where, std::move(deferring));
        return Guard(std::move(made), release_value());
    }
    /// Goes on as any reader, and another may have the right to upgrade.
    [[nodiscard]] read_guard<T> downgrade() {
        check();
        core_->give_up_upgradable();
        return read_guard<T>(*this->let_go(), *value_);
    }

    /// For the library.
    upgradable_guard(detail::shared_core& core, T& value, detail::policies policy) noexcept
        : base(core, value), policy_(policy) {}
    /// For the library.
    [[nodiscard]] detail::shared_core& core() const {
        check();
        return *core_;
    }
    /// For the library.
    [[nodiscard]] detail::policies policy() const noexcept { return policy_; }
    /// It is a writer's now.
    [[nodiscard]] T& release_value() noexcept {
        this->let_go();
        return *value_;
    }

private:
    void note_move() noexcept {
        if (core_) core_->owner_moved(this, toadstone::detail::current_serial());
    }
    [[nodiscard]] detail::guard_seed seed(here where,
                                          toadstone::detail::cancel_ref deferring) noexcept {
        return detail::seed_here(*core_, where, policy_, std::move(deferring));
    }

    detail::policies policy_;
};

namespace detail {

template <class T, class Guard>
class upgrade_awaiter : public upgrade_leaf {
public:
    explicit upgrade_awaiter(upgradable_guard<T, Guard>& from)
        : upgrade_leaf(from.core(), from.policy()), from_(&from) {}
    Guard await_resume() {
        check();
        auto made = make_guard();
        return Guard(std::move(made), from_->release_value());
    }

private:
    upgradable_guard<T, Guard>* from_;
};

template <class T, class Guard>
class timed_upgrade_awaiter : public toadstone::detail::timed_wait<upgrade_leaf> {
public:
    timed_upgrade_awaiter(upgradable_guard<T, Guard>& from, toadstone::detail::time_limit limit)
        : timed_wait(limit, from.core(), from.policy()), from_(&from) {}
    std::optional<Guard> await_resume() {
        if (!in_time()) return std::nullopt;
        check();
        auto made = make_guard();
        return std::optional<Guard>(std::in_place, std::move(made), from_->release_value());
    }

private:
    upgradable_guard<T, Guard>* from_;
};

template <class T, class Guard>
class upgradable_awaiter : public upgradable_leaf {
public:
    upgradable_awaiter(shared_core& core, T& value, policies policy) noexcept
        : upgradable_leaf(core), value_(&value), guards_(policy) {}
    upgradable_guard<T, Guard> await_resume() {
        check();
        return upgradable_guard<T, Guard>(*core_, *value_, guards_);
    }

private:
    T* value_;
    policies guards_;
};

template <class T, class Guard>
class timed_upgradable_awaiter : public toadstone::detail::timed_wait<upgradable_leaf> {
public:
    timed_upgradable_awaiter(shared_core& core, T& value, policies policy,
                             toadstone::detail::time_limit limit) noexcept
        : timed_wait(limit, core), value_(&value), guards_(policy) {}
    std::optional<upgradable_guard<T, Guard>> await_resume() {
        if (!in_time()) return std::nullopt;
        check();
        return std::optional<upgradable_guard<T, Guard>>(std::in_place, *core_, *value_,
                                                         guards_);
    }

private:
    T* value_;
    policies guards_;
};

} // namespace detail

} // namespace toadstone::sync

#endif
