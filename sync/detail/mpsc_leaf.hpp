// Waiting at a channel in a task: for room, and for a message.
#ifndef TOADSTONE_SYNC_DETAIL_MPSC_LEAF_HPP
#define TOADSTONE_SYNC_DETAIL_MPSC_LEAF_HPP

#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/detail/mpsc_core.hpp>
#include <toadstone/sync/detail/mpsc_state.hpp>

#include <coroutine>
#include <optional>

namespace toadstone::sync::detail {

/// The leaf behind every co_await for room.
class claim_leaf : public toadstone::detail::wait_leaf<mpsc_core, room_waiter> {
public:
    [[nodiscard]] bool await_ready() noexcept {
        if (!may_complete_at_once()) return false;
        const mpsc_core::claim now = core_->try_claim();
        node_ = now.node;
        state_ = now.node ? state::granted : state::refused;
        return now.node || now.closed;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) static_cast<void>(queue_up());
    }

protected:
    explicit claim_leaf(mpsc_core& core) noexcept : wait_leaf(core) {}
    ~claim_leaf() = default;

    /// True: queued.
    [[nodiscard]] bool queue_up() noexcept {
        return queued_unless(core_->claim_or_queue(*this));
    }
    /// Throws unless a node was granted.
    void check() const {
        if (how() != state::granted) [[unlikely]]
            throw_closed(core_->cause());
    }
};

/// The leaf behind every co_await for a message.
class take_leaf : public toadstone::detail::wait_leaf<mpsc_core, message_waiter> {
public:
    static constexpr bool acquires = false; // a message is no section that may be given back

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && core_->try_take(*this);
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) static_cast<void>(queue_up());
    }

protected:
    explicit take_leaf(mpsc_core& core) noexcept : wait_leaf(core) {}
    ~take_leaf() = default;

    /// True: queued.
    [[nodiscard]] bool queue_up() noexcept {
        return queued_unless(core_->take_or_queue(*this));
    }
    /// True: there is a message. Throws at the end of a channel that was failed.
    [[nodiscard]] bool check() const { return how() == state::granted || ended(*core_); }

public:
    /// False: closed. Throws if the channel was failed.
    static bool ended(const mpsc_core& core) {
        if (const poison_cause cause = core.cause()) throw poison_error(cause);
        return false;
    }
};

template <class T, class Source>
class send_leaf : public claim_leaf {
public:
    static constexpr bool acquires = false;

    send_leaf(mpsc_core& core, Source* message) noexcept
        : claim_leaf(core), message_(message) {}
    void await_resume() {
        check();
        if (core_->is_abandoned()) [[unlikely]] {
            core_->give_back(*node_);
            throw channel_closed();
        }
        mpsc_state<T>::send(*core_, *node_, static_cast<Source&&>(*message_));
    }

private:
    Source* message_;
};

template <class T>
class recv_leaf : public take_leaf {
public:
    explicit recv_leaf(mpsc_core& core) noexcept : take_leaf(core) {}
    std::optional<T> await_resume() {
        std::optional<T> message;
        if (check()) [[likely]]
            mpsc_state<T>::receive(*core_, *node_, message);
        return message;
    }
};

template <class T>
class timed_recv_leaf : public toadstone::detail::timed_wait<take_leaf> {
public:
    timed_recv_leaf(mpsc_core& core, toadstone::detail::time_limit limit) noexcept
        : timed_wait(limit, core) {}
    std::optional<T> await_resume() {
        std::optional<T> message;
        if (in_time() && check()) mpsc_state<T>::receive(*core_, *node_, message);
        return message;
    }
};

} // namespace toadstone::sync::detail

#endif
