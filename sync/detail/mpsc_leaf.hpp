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
    [[nodiscard]] bool await_ready() noexcept { return may_complete_at_once() && claim_now(); }

protected:
    explicit claim_leaf(mpsc_core& core) noexcept : wait_leaf(core) {}
    ~claim_leaf() = default;

    /// True: a node was granted, or refused.
    [[nodiscard]] bool claim_now() noexcept {
        const mpsc_core::claim now = core_->try_claim();
        node_ = now.node;
        state_ = now.node ? state::granted : state::refused;
        return now.node || now.closed;
    }
    /// Throws unless a node was granted, and there is a receiver.
    void check() {
        if (how() != state::granted) throw_closed(core_->cause());
        if (core_->is_abandoned()) {
            core_->give_back(*node_);
            throw_closed({});
        }
    }
};

/// The leaf behind every co_await for a message.
class take_leaf : public toadstone::detail::wait_leaf<mpsc_core, message_waiter> {
public:
    static constexpr bool acquires = false; // a message is no section that may be given back

    [[nodiscard]] bool await_ready() noexcept { return may_complete_at_once() && take_now(); }

protected:
    explicit take_leaf(mpsc_core& core) noexcept : wait_leaf(core) {}
    ~take_leaf() = default;

    /// True: there is a message, or it is the end.
    [[nodiscard]] bool take_now() noexcept {
        const mpsc_core::claim now = core_->try_take();
        node_ = now.node;
        state_ = now.node ? state::granted : state::refused;
        return now.node || now.closed;
    }
};

template <class T, class Source>
class send_leaf : public claim_leaf {
    using channel = mpsc_state<T>;

public:
    static constexpr bool acquires = false;

    send_leaf(mpsc_core& core, Source* message) noexcept
        : claim_leaf(core), message_(message) {}
    [[nodiscard]] bool await_ready() noexcept {
        if (!may_complete_at_once()) return false;
        if (channel::send_at_once(*core_, *message_)) [[likely]]
            return true;
        return claim_now();
    }
    void await_resume() {
        if (how() != state::idle) [[unlikely]]
            send();
    }

private:
    [[gnu::noinline]] void send() {
        check();
        channel::send(*core_, *node_, static_cast<Source&&>(*message_));
    }

    Source* message_;
};

/// What both forms of recv() make of their end.
template <class T, class Leaf>
class receiving : public Leaf {
    using channel = mpsc_state<T>;
    using state = toadstone::detail::waiter::state;

public:
    [[nodiscard]] bool await_ready() noexcept {
        if (!this->may_complete_at_once()) return false;
        if (message_.take_at_once(*this->core_)) [[likely]]
            return true;
        return this->take_now();
    }

protected:
    using Leaf::Leaf;
    ~receiving() = default;

    [[nodiscard]] std::optional<T> message() {
        if (this->how() == state::idle) [[likely]]
            return message_.get();
        return taken_message();
    }

private:
    [[nodiscard, gnu::noinline]] std::optional<T> taken_message() {
        std::optional<T> message;
        if (this->how() == state::granted) {
            channel::receive(*this->core_, *this->node_, message);
        } else {
            channel::check_end(*this->core_);
        }
        return message;
    }

    [[no_unique_address]] typename channel::quick message_;
};

template <class T>
class recv_leaf : public receiving<T, take_leaf> {
public:
    explicit recv_leaf(mpsc_core& core) noexcept : receiving<T, take_leaf>(core) {}
    std::optional<T> await_resume() { return this->message(); }
};

template <class T>
class timed_recv_leaf : public toadstone::detail::timed_wait<receiving<T, take_leaf>> {
public:
    timed_recv_leaf(mpsc_core& core, toadstone::detail::time_limit limit) noexcept
        : toadstone::detail::timed_wait<receiving<T, take_leaf>>(limit, core) {}
    std::optional<T> await_resume() {
        if (!this->in_time()) return std::nullopt;
        return this->message();
    }
};

} // namespace toadstone::sync::detail

#endif
