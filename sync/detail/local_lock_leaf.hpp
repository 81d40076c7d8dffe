// The leaves behind every co_await on a local mutex.
#ifndef TOADSTONE_SYNC_DETAIL_LOCAL_LOCK_LEAF_HPP
#define TOADSTONE_SYNC_DETAIL_LOCAL_LOCK_LEAF_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/sync/detail/local_core.hpp>

#include <coroutine>
#include <source_location>

namespace toadstone::sync::detail {

class local_lock_leaf : public toadstone::detail::leaf, public local_waiter {
public:
    static constexpr bool acquires = true;

    bool cancel(cancel_reason reason, bool force) noexcept override;
    bool taken() noexcept override;

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && core_->try_acquire(ctx_->home(), where_);
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) static_cast<void>(queue_up());
    }

protected:
    local_lock_leaf(local_core& mutex, wants what) noexcept
        : local_waiter(what, state::granted), core_(&mutex) {}
    local_lock_leaf(local_core& mutex, wants what, toadstone::detail::context& ctx,
                    std::source_location where) noexcept
        : local_waiter(what, state::granted), core_(&mutex) {
        bind(ctx, where);
    }
    ~local_lock_leaf() = default;

    /// Throws unless the lock was granted. For a mutex none of whose policies asks for more.
    [[nodiscard]] local_seed granted() {
        if (how() != state::granted) [[unlikely]]
            fail();
        return {*core_};
    }
    /// True: queued.
    [[nodiscard]] bool queue_up() noexcept;

    local_core* core_;

private:
    [[noreturn, gnu::cold]] void fail();
};

/// For a section that has its own policy, or one that needs something done when it begins.
class local_policy_leaf : public local_lock_leaf {
public:
    [[nodiscard]] bool await_ready() {
        if (policy_.defers()) static_cast<void>(ctx_->extras()); // later nothing may fail
        return local_lock_leaf::await_ready();
    }

protected:
    local_policy_leaf(local_core& mutex, wants what, policies policy) noexcept
        : local_lock_leaf(mutex, what), policy_(policy) {}
    ~local_policy_leaf() = default;

    [[nodiscard]] local_seed granted();

private:
    policies policy_;
};

/// local_policy_leaf with a time limit.
using timed_local_leaf = toadstone::detail::timed_wait<local_policy_leaf>;

} // namespace toadstone::sync::detail

#endif
