// The memory of a broadcast, its state with the ring and the messages behind it in one piece,
// and what halves do with it.
#ifndef TOADSTONE_SYNC_DETAIL_BROADCAST_STATE_HPP
#define TOADSTONE_SYNC_DETAIL_BROADCAST_STATE_HPP

#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/detail/broadcast_core.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace toadstone::sync::detail {

template <class T>
struct broadcast_node : broadcast_message, toadstone::detail::pooled {
    [[nodiscard]] T& value() noexcept { return *std::launder(reinterpret_cast<T*>(place)); }
    alignas(T) std::byte place[sizeof(T)];
};

template <class T>
class broadcast_state {
    using node = broadcast_node<T>;
    using slot = toadstone::detail::plain<broadcast_message*>;
    using found = broadcast_core::found;
    static constexpr std::size_t alignment =
        std::max({alignof(broadcast_core), alignof(node), alignof(slot)});

    [[nodiscard]] static constexpr std::size_t up(std::size_t size, std::size_t to) noexcept {
        return (size + to - 1) / to * to;
    }

public:
    /// Errors: std::length_error, std::bad_alloc.
    [[nodiscard]] static broadcast_core* make(std::size_t capacity) {
        constexpr std::size_t most =
            ~std::size_t{0} / 2 - sizeof(broadcast_core) - 2 * alignment - sizeof(node);
        if (capacity > most / (sizeof(node) + sizeof(slot))) {
            throw std::length_error("the messages of a channel have to fit into memory");
        }
        constexpr std::size_t ring = up(sizeof(broadcast_core), alignof(slot));
        const std::size_t nodes = up(ring + capacity * sizeof(slot), alignof(node));
        auto* const memory = static_cast<std::byte*>(
            ::operator new(nodes + (capacity + 1) * sizeof(node), std::align_val_t{alignment}));
        auto* const slots = reinterpret_cast<slot*>(memory + ring);
        std::uninitialized_value_construct_n(slots, capacity);
        return ::new (memory) broadcast_core(capacity, slots, memory + nodes, sizeof(node));
    }
    static void drop(broadcast_core* core) noexcept {
        if (!core->drop_reference()) return;
        broadcast_message* each = core->all_free();
        while (each) {
            auto* const gone = static_cast<node*>(each);
            each = each->next;
            if (gone->is_extra) delete gone;
        }
        std::destroy_at(core);
        ::operator delete(core, std::align_val_t{alignment});
    }
    static void destroy_all(broadcast_core& core, broadcast_message* dead) noexcept {
        while (dead) {
            broadcast_message* const next = dead->next;
            destroy(core, *dead);
            dead = next;
        }
    }

    /// Returns: how many will come to it.
    template <class Message>
    static std::size_t send(broadcast_core& core, Message&& message) {
        broadcast_message* place = nullptr;
        switch (core.try_claim(place)) {
        case broadcast_core::claim::closed:
            throw_closed(core.cause());
        case broadcast_core::claim::nobody:
            return 0;
        case broadcast_core::claim::none:
        case broadcast_core::claim::made:
            break;
        }
        place = filled(core, place, std::forward<Message>(message));
        const auto sent = core.publish(*place);
        if (sent.dead) destroy(core, *sent.dead);
        return sent.receivers;
    }

    /// What take() has found. If the copy fails, the message stays the next.
    [[nodiscard]] static std::optional<T> receive(broadcast_core& core, broadcast_place& place,
                                                  found what) {
        std::optional<T> copy;
        if (what == found::message) {
            broadcast_message* const held = place.held;
            copy.emplace(std::as_const(static_cast<node*>(held)->value()));
            if (auto* const dead = core.let_go(place)) destroy(core, *dead);
        } else if (what == found::lag) {
            core.tell_lag(place);
        } else if (what == found::end) {
            if (const poison_cause cause = core.cause()) throw poison_error(cause);
        }
        return copy;
    }

private:
    static void destroy(broadcast_core& core, broadcast_message& dead) noexcept {
        std::destroy_at(&static_cast<node&>(dead).value());
        core.give_back(dead);
    }
    /// A message in its place; `claimed` is null if that is still to be made.
    template <class Message>
    [[nodiscard]] static broadcast_message*
    filled(broadcast_core& core, broadcast_message* claimed, Message&& message) {
        try {
            if (!claimed) {
                claimed = new node;
                claimed->is_extra = true;
            }
            ::new (static_cast<node*>(claimed)->place) T(std::forward<Message>(message));
        } catch (...) {
            core.give_up(claimed);
            throw;
        }
        return claimed;
    }
};

template <class T>
class broadcast_recv_leaf : public broadcast_leaf {
public:
    broadcast_recv_leaf(broadcast_core& core, broadcast_place& place) noexcept
        : broadcast_leaf(core, place) {}
    std::optional<T> await_resume() {
        return broadcast_state<T>::receive(*core_, *place_, what());
    }
};

template <class T>
class timed_broadcast_recv_leaf : public toadstone::detail::timed_wait<broadcast_leaf> {
public:
    timed_broadcast_recv_leaf(broadcast_core& core, broadcast_place& place,
                              toadstone::detail::time_limit limit) noexcept
        : timed_wait(limit, core, place) {}
    std::optional<T> await_resume() {
        if (!in_time()) return std::nullopt;
        return broadcast_state<T>::receive(*core_, *place_, what());
    }
};

/// A counted pointer to a broadcast.
template <class T>
class broadcast_half {
public:
    broadcast_half(broadcast_half&& other) noexcept
        : core_(std::exchange(other.core_, nullptr)) {}
    broadcast_half& operator=(broadcast_half&&) = delete;

protected:
    explicit broadcast_half(broadcast_core* core) noexcept : core_(core) {}
    ~broadcast_half() {
        if (core_) broadcast_state<T>::drop(core_);
    }
    [[nodiscard]] broadcast_core& core() const {
        if (!core_) [[unlikely]]
            toadstone::detail::throw_misuse("a half of a channel that was moved from is used");
        return *core_;
    }

    broadcast_core* core_;
};

} // namespace toadstone::sync::detail

#endif
