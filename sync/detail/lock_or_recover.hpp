// lock_or_recover(): a lock whose first user after a poisoning repairs the data.
#ifndef TOADSTONE_SYNC_DETAIL_LOCK_OR_RECOVER_HPP
#define TOADSTONE_SYNC_DETAIL_LOCK_OR_RECOVER_HPP

#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/shield.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>
#include <toadstone/sync/guard.hpp>

#include <coroutine>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone::sync::detail {

/// What a repair gives: nothing, or a task of nothing.
template <class Fn, class T>
using repair_result_t = std::invoke_result_t<Fn&, T&, const poison_cause&>;
template <class Fn, class T>
concept repairs = std::is_invocable_v<Fn&, T&, const poison_cause&> &&
                  (std::is_void_v<repair_result_t<Fn, T>> ||
                   std::is_same_v<repair_result_t<Fn, T>, task<void>>);

/// The right to the data of a poisoned mutex, for a repair in everybody's name.
template <class T, class Guard>
class repair_awaiter : public lock_leaf {
public:
    repair_awaiter(mutex_core& core, T& value, policies policy) noexcept
        : lock_leaf(core, wants::repair, policy), value_(&value) {}
    recovery<T, Guard> await_resume() {
        check();
        recovery<T, Guard> right(make_guard(), *value_, core_->cause());
        right.repairs_for_others();
        return right;
    }

private:
    T* value_;
};

template <class T>
struct lock_to_repair {
    mutex_core& core;
    T& value;
    policies policy;
    std::source_location where;
};

/// The data is whole when this returns, and the lock is the caller's. What comes out is an
/// acquisition: nobody has used it before somebody takes it.
template <class T, class Guard, class Fn>
task<Guard> lock_and_repair(lock_to_repair<T> of, Fn& repair) {
    co_await toadstone::detail::mark_acquired();
    using request =
        toadstone::detail::called_from<repair_awaiter<T, Guard>, mutex_core&, T&, policies>;
    auto right = co_await request(of.where, of.core, of.value, of.policy);
    if (right.needed()) {
        if constexpr (std::is_void_v<repair_result_t<Fn, T>>) {
            repair(*right, right.cause());
        } else {
            auto undisturbed = shield(repair(*right, right.cause()));
            co_await std::move(undisturbed);
        }
    }
    co_return right.complete();
}

template <class T, class Guard, class Fn>
class lock_or_recover_awaiter final : public toadstone::detail::late_boundary<Guard> {
    using base = toadstone::detail::late_boundary<Guard>;

public:
    lock_or_recover_awaiter(toadstone::detail::context& ctx, std::source_location,
                            lock_to_repair<T>&& of, Fn&& repair)
        : base(ctx, of.where), of_(of), repair_(std::move(repair)) {}

    [[nodiscard]] bool await_ready() {
        if (of_.policy.defers()) return false;
        return this->may_complete_at_once() && of_.core.try_acquire();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) {
        this->suspend_always(frame);
        task<Guard> body = make_body();
        this->inherit_request(this->prepare(frame));
        this->begin(std::move(body));
    }
    Guard await_resume() {
        if (this->began()) return this->take();
        of_.core.set_owner(this->ctx_->serial());
        return Guard(guard_seed(of_.core, of_.where, of_.policy, false, 0), of_.value);
    }
    /// The task stops: what was locked for it goes on, clean.
    bool taken() noexcept override {
        if (this->inside().outcome.error()) return false;
        this->inside().outcome.drop();
        return true;
    }

private:
    task<Guard> make_body() {
        try {
            return lock_and_repair<T, Guard, Fn>(of_, repair_);
        } catch (...) { // no memory for its frame
            this->ctx_->suspension_undone();
            throw;
        }
    }
    toadstone::detail::context*
    child_ended(toadstone::detail::context& inside) noexcept override {
        return inside.unwound() ? this->pass_on(inside.reason()) : this->complete();
    }

    lock_to_repair<T> of_;
    Fn repair_;
};

} // namespace toadstone::sync::detail

#endif
