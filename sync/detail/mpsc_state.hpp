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

    static constexpr bool is_quick =
        std::is_trivially_copyable_v<T> && std::is_copy_constructible_v<T> && sizeof(T) <= 64;

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

    /// For messages that are moved by copying a few bytes: in one step, under the lock. False:
    /// nothing was done.
    template <class Message>
    [[nodiscard]] static bool send_at_once(mpsc_core& core, const Message& message) noexcept {
        if constexpr (is_quick) {
            return core.push_at_once(
                [&](message_node& to) { ::new (static_cast<node&>(to).place) T(message); });
        } else {
            return false;
        }
    }
    /// Where such a message is between await_ready() and await_resume().
    class quick_message {
    public:
        quick_message() noexcept {}
        [[nodiscard]] bool take_at_once(mpsc_core& core) noexcept {
            return core.capacity() != 0 && core.take_at_once([this](message_node& from) {
                std::construct_at(&message_, value(from));
            });
        }
        [[nodiscard]] std::optional<T> get() const noexcept { return message_; }

    private:
        union {
            T message_;
        };
    };
    class no_quick_message {
    public:
        [[nodiscard]] static bool take_at_once(mpsc_core&) noexcept { return false; }
        [[nodiscard]] static std::optional<T> get() noexcept { return std::nullopt; }
    };
    using quick = std::conditional_t<is_quick, quick_message, no_quick_message>;

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
    /// At the end. Throws if the channel was failed.
    static void check_end(const mpsc_core& core) {
        if (const poison_cause cause = core.cause()) throw poison_error(cause);
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
