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

/// What lock_or_recover() is asked for: of a mutex, or of a local mutex, which has one of its
/// own.
template <class T, class Guard>
struct lock_to_repair {
    using value_type = T;
    using guard = Guard;

    mutex_core& core;
    T& value;
    policies policy;
    std::source_location where;

    [[nodiscard]] auto recover() const noexcept {
        using request =
            toadstone::detail::called_from<repair_awaiter<T, Guard>, mutex_core&, T&, policies>;
        return request(where, core, value, policy);
    }
    [[nodiscard]] bool try_acquire(toadstone::detail::context&) const noexcept {
        return core.try_acquire();
    }
    /// What try_acquire() has acquired; the policy does not defer.
    [[nodiscard]] Guard take(toadstone::detail::context& task) const {
        core.set_owner(task.serial());
        return Guard(guard_seed(core, where, policy, false, 0), value);
    }
};

/// The data is whole when this returns, and the lock is the caller's. What comes out is an
/// acquisition: nobody has used it before somebody takes it.
template <class Request, class Fn>
task<typename Request::guard> lock_and_repair(Request of, Fn& repair) {
    co_await toadstone::detail::mark_acquired();
    auto right = co_await of.recover();
    if (right.needed()) {
        if constexpr (std::is_void_v<repair_result_t<Fn, typename Request::value_type>>) {
            repair(*right, right.cause());
        } else {
            auto undisturbed = shield(repair(*right, right.cause()));
            co_await std::move(undisturbed);
        }
    }
    co_return right.complete();
}

template <class Request, class Fn>
class lock_or_recover_awaiter final
    : public toadstone::detail::late_boundary<typename Request::guard> {
    using Guard = typename Request::guard;
    using base = toadstone::detail::late_boundary<Guard>;

public:
    lock_or_recover_awaiter(toadstone::detail::context& ctx, std::source_location, Request&& of,
                            Fn&& repair)
        : base(ctx, of.where), of_(of), repair_(std::move(repair)) {}

    [[nodiscard]] bool await_ready() {
        if (of_.policy.defers()) return false;
        return this->may_complete_at_once() && of_.try_acquire(*this->ctx_);
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
        return of_.take(*this->ctx_);
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
            return lock_and_repair<Request, Fn>(of_, repair_);
        } catch (...) { // no memory for its frame
            this->ctx_->suspension_undone();
            throw;
        }
    }
    toadstone::detail::context*
    child_ended(toadstone::detail::context& inside) noexcept override {
        return inside.unwound() ? this->pass_on(inside.reason()) : this->complete();
    }

    Request of_;
    Fn repair_;
};

} // namespace toadstone::sync::detail

#endif
