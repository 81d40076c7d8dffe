// The part of a guard that does not depend on the data: what it holds, and the verdict.
#ifndef TOADSTONE_SYNC_DETAIL_GUARD_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_GUARD_CORE_HPP

#include <toadstone/runtime/detail/cancel_state.hpp>
#include <toadstone/runtime/detail/watch.hpp>
#include <toadstone/sync/detail/mutex_core.hpp>
#include <toadstone/sync/policy.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace toadstone::sync::detail {

struct policies {
    on_cancel cancel = on_cancel::poison;
    on_exception exception = on_exception::poison;
};

/// What a guard is made of. A guard is built in place from it: of one that moves, only its
/// place tells whose it is.
struct guard_seed {
    guard_seed(mutex_core& from, toadstone::detail::watch begun, policies what,
               toadstone::detail::cancel_ref task) noexcept
        : mutex(from), watch(begun), policy(what), deferring(std::move(task)) {}
    mutex_core& mutex;
    toadstone::detail::watch watch;
    policies policy;
    toadstone::detail::cancel_ref deferring;
};

class guard_core {
public:
    explicit guard_core(guard_seed&& seed) noexcept
        : mutex_(&seed.mutex), self_(this), watch_(seed.watch), policy_(seed.policy),
          deferring_(std::move(seed.deferring)) {}

    guard_core(guard_core&& other) noexcept
        : mutex_(other.take_mutex()), self_(this), watch_(other.watch_), policy_(other.policy_),
          deferring_(std::move(other.deferring_)) {
        watch_.rebase();
        if (mutex_) note_move();
    }
    guard_core& operator=(guard_core&& other) noexcept {
        if (this != &other) {
            release(); // by the same rule as the destructor
            mutex_ = other.take_mutex();
            watch_ = other.watch_;
            policy_ = other.policy_;
            deferring_ = std::move(other.deferring_);
            watch_.rebase();
            if (mutex_) note_move();
        }
        return *this;
    }
    ~guard_core() { release(); }

    /// Ends the section by the rule: poisons if it dies where it should not.
    void release() noexcept {
        if (!mutex_) return;
        check_place();
        if (watch_.interrupted()) {
            release_interrupted();
        } else {
            release_clean();
        }
    }
    /// Ends the section; never poisons.
    void release_clean() noexcept {
        mutex_core* const mutex = std::exchange(mutex_, nullptr);
        if (deferring_) stop_deferring();
        mutex->release();
    }

    /// Errors: std::logic_error if nothing is held.
    void declare_poisoned(std::string_view why);
    [[nodiscard]] mutex_core* mutex() const noexcept { return mutex_; }
    [[nodiscard]] toadstone::detail::watch& watch() noexcept { return watch_; }
    [[nodiscard]] const toadstone::detail::watch& watch() const noexcept { return watch_; }

    /// For a recovery: releases with the poison kept, and says why in a cause chained to it.
    void release_unrepaired() noexcept;

    /// g++ 12 copies the result of a co_await bit by bit in some expressions, such as
    /// `new guard(co_await m.lock())`, and destroys the original: the lock would be free
    /// without anybody noticing.
    void check_place() const noexcept {
        TOADSTONE_ASSERT_OF(self_ == this,
                            "a guard is not copied behind its back: with g++ 12, "
                            "name the result of co_await lock() first",
                            describe());
    }

private:
    /// "mutex 'accounts', taken at tracker.cpp:80".
    [[nodiscard, gnu::cold]] std::string describe() const;
    mutex_core* take_mutex() noexcept {
        if (mutex_) check_place();
        return std::exchange(mutex_, nullptr);
    }
    void release_interrupted() noexcept;
    void note_move() const noexcept;
    void stop_deferring() noexcept;

    mutex_core* mutex_;
    const guard_core* self_;
    toadstone::detail::watch watch_;
    policies policy_;
    toadstone::detail::cancel_ref deferring_; // the task whose cancellation waits for us
};

} // namespace toadstone::sync::detail

#endif
