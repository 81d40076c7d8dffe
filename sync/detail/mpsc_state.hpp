// The memory of a channel: its state with room for the messages behind it, in one piece.
#ifndef TOADSTONE_SYNC_DETAIL_MPSC_STATE_HPP
#define TOADSTONE_SYNC_DETAIL_MPSC_STATE_HPP

#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/sync/detail/mpsc_core.hpp>

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
struct mpsc_node : message_node, toadstone::detail::pooled {
    [[nodiscard]] T& value() noexcept { return *std::launder(reinterpret_cast<T*>(place)); }
    alignas(T) std::byte place[sizeof(T)];
};

/// What halves do with the memory that they share.
template <class T>
class mpsc_state {
    using node = mpsc_node<T>;
    static constexpr std::size_t alignment = std::max(alignof(mpsc_core), alignof(node));
    static constexpr std::size_t header =
        (sizeof(mpsc_core) + alignof(node) - 1) / alignof(node) * alignof(node);

public:
    /// `capacity` 0: unbounded. Errors: std::length_error, std::bad_alloc.
    [[nodiscard]] static mpsc_core* make(std::size_t capacity) {
        if (capacity > (~std::size_t{0} / 2 - header) / sizeof(node)) {
            throw std::length_error("the messages of a channel have to fit into memory");
        }
        auto* const memory = static_cast<std::byte*>(
            ::operator new(header + capacity * sizeof(node), std::align_val_t{alignment}));
        return ::new (memory) mpsc_core(capacity, memory + header, sizeof(node));
    }
    static void drop(mpsc_core* core) noexcept {
        if (!core->drop_reference()) return;
        std::destroy_at(core);
        ::operator delete(core, std::align_val_t{alignment});
    }

    [[nodiscard]] static T& value(message_node& of) noexcept {
        return static_cast<node&>(of).value();
    }
    /// A node that holds no message goes back.
    static void let_go(mpsc_core& core, message_node& empty) noexcept {
        if (core.capacity() != 0) {
            core.give_back(empty);
        } else {
            core.forget_node();
            delete static_cast<node*>(&empty);
        }
    }
    static void destroy(mpsc_core& core, message_node& full) noexcept {
        std::destroy_at(&value(full));
        let_go(core, full);
    }
    static void destroy_all(mpsc_core& core, message_node* list) noexcept {
        while (list) {
            message_node* const next = list->next;
            destroy(core, *list);
            list = next;
        }
    }

    /// The message goes into a node that was claimed, and off it goes. If T throws, the node
    /// goes back.
    template <class Message>
    static void send(mpsc_core& core, message_node& claimed, Message&& message) {
        put(core, claimed, std::forward<Message>(message));
        if (!core.push(claimed)) [[unlikely]]
            destroy(core, claimed);
    }
    /// send() with a node of its own. False: closed, and the message is untouched.
    template <class Message>
    [[nodiscard]] static bool send_new(mpsc_core& core, Message&& message) {
        auto made = std::make_unique<node>();
        if (!core.claim_for_new()) return false;
        send(core, *made.release(), std::forward<Message>(message));
        return true;
    }
    /// The message of a node that was taken. If T throws, it stays the first.
    static void receive(mpsc_core& core, message_node& taken, std::optional<T>& to) {
        if constexpr (std::is_nothrow_move_constructible_v<T>) {
            to.emplace(std::move(value(taken)));
        } else {
            try {
                to.emplace(std::move(value(taken)));
            } catch (...) {
                core.put_back(taken);
                throw;
            }
        }
        destroy(core, taken);
    }

private:
    template <class Message>
    static void put(mpsc_core& core, message_node& claimed, Message&& message) {
        auto* const at = static_cast<node&>(claimed).place;
        if constexpr (std::is_nothrow_constructible_v<T, Message&&>) {
            ::new (at) T(std::forward<Message>(message));
        } else {
            try {
                ::new (at) T(std::forward<Message>(message));
            } catch (...) {
                let_go(core, claimed);
                throw;
            }
        }
    }
};

/// What senders have in common, and permits: a counted pointer to the channel.
template <class T>
class mpsc_half {
public:
    mpsc_half(mpsc_half&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    mpsc_half& operator=(mpsc_half&&) = delete;

protected:
    explicit mpsc_half(mpsc_core* core) noexcept : core_(core) {}
    ~mpsc_half() {
        if (core_) mpsc_state<T>::drop(core_);
    }
    [[nodiscard]] mpsc_core& core() const {
        if (!core_) [[unlikely]]
            toadstone::detail::throw_misuse("a half of a channel that was moved from is used");
        return *core_;
    }

    mpsc_core* core_;
};

} // namespace toadstone::sync::detail

#endif
