// mpsc: a channel of messages from many senders to a receiver, bounded or unbounded.
#ifndef TOADSTONE_SYNC_MPSC_HPP
#define TOADSTONE_SYNC_MPSC_HPP

#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/detail/mpsc_leaf.hpp>
#include <toadstone/sync/detail/mpsc_state.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <utility>

namespace toadstone::sync::detail {

template <class T>
class reserve_leaf;

template <class Leaf, class... What>
using channel_operation = toadstone::detail::operation<Leaf, mpsc_core&, What...>;

} // namespace toadstone::sync::detail

namespace toadstone::sync::mpsc {

template <class T>
class permit;
template <class T>
class receiver;

/// What senders of both kinds can do. The last one that goes closes the channel.
template <class T>
class sender_base : public detail::mpsc_half<T> {
public:
    sender_base(sender_base&&) noexcept = default;
    sender_base& operator=(sender_base&&) = delete;
    /// Nothing can be sent any more, by whomever. What was sent, and what a permit still sends,
    /// is received, and then the end.
    void close() const { this->core().close(); }
    /// Poisons the stream: close(), and in the place of the end the receiver gets a
    /// poison_error with the cause, as does whoever sends. For a sender that died in the middle
    /// of something. Returns: false if the channel was closed already; then nothing changes.
    bool fail(poison_cause cause) const { return this->core().fail(std::move(cause)); }
    /// The same by an exception: one that was caught, mostly std::current_exception().
    bool fail(std::exception_ptr error,
              std::source_location where = std::source_location::current()) const {
        return fail(detail::failure_by(std::move(error), where));
    }
    /// A hint: the receiver may close it right afterwards.
    [[nodiscard]] bool is_closed() const { return this->core().is_closed(); }

protected:
    explicit sender_base(detail::mpsc_core* core) noexcept : detail::mpsc_half<T>(core) {}
    sender_base(const sender_base& other) noexcept : detail::mpsc_half<T>(other.core_) {
        if (this->core_) {
            this->core_->add_sender();
            this->core_->add_reference();
        }
    }
    ~sender_base() {
        if (this->core_) this->core_->drop_sender();
    }
};

/// The sending half of a bounded channel. Copies send into the same channel.
///
/// Fairness: first come, first served: room that becomes free goes to the first who waits.
/// Threads: different senders in any tasks and threads; one in several, too, but for its move
///     and its end, which comes after all that waits through it.
template <class T>
class sender : public sender_base<T> {
public:
    /// The messages' type.
    using value_type = T;
    /// What reserve() gives.
    using permit = mpsc::permit<T>;

    sender(sender&&) noexcept = default;
    sender(const sender&) noexcept = default;
    sender& operator=(sender other) noexcept {
        std::swap(this->core_, other.core_);
        return *this;
    }
    ~sender() = default;

    /// Waits for room and sends. The message is moved from when there is room, and not before:
    /// if the wait ends in any other way, it is whole and still the caller's.
    /// Errors: channel_closed, poison_error if the channel was failed: not sent. What T throws:
    ///     not sent, its room is free again.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves at
    ///     once, or hands the room that it was given on to the next; the message is not sent.
    /// Lifetime: the message is there until this has been awaited: await it where it is called.
    [[nodiscard]] auto send(T&& message) const {
        return detail::channel_operation<detail::send_leaf<T, T>, T*>(this->core(), &message);
    }
    /// send() of a copy. Cancellation: as above.
    [[nodiscard]] auto send(const T& message) const
        requires std::copy_constructible<T>
    {
        return detail::channel_operation<detail::send_leaf<T, const T>, const T*>(this->core(),
                                                                                  &message);
    }
    /// Sends if there is room, and nobody has waited for it before. Returns: false if not; the
    /// message is untouched then. Errors: as send().
    [[nodiscard]] bool try_send(T&& message) const { return try_to(std::move(message)); }
    /// try_send() of a copy.
    [[nodiscard]] bool try_send(const T& message) const
        requires std::copy_constructible<T>
    {
        return try_to(message);
    }
    /// Waits for room and keeps it. Returns: a permit. Errors and cancellation: as send().
    [[nodiscard]] auto reserve() const {
        return detail::channel_operation<detail::reserve_leaf<T>>(this->core());
    }
    /// Returns: nothing if there is no room. Errors: as send().
    [[nodiscard]] std::optional<permit> try_reserve() const {
        auto& core = this->core();
        const auto now = core.try_claim();
        if (now.closed) detail::throw_closed(core.cause());
        if (!now.node) return std::nullopt;
        return permit(core, *now.node);
    }
    /// send() from a plain thread, which it blocks. Errors: as send(); std::logic_error on a
    /// worker that would have to wait.
    void blocking_send(T&& message) const { block_to(std::move(message)); }
    /// blocking_send() of a copy.
    void blocking_send(const T& message) const
        requires std::copy_constructible<T>
    {
        block_to(message);
    }

    /// As channel() was told.
    [[nodiscard]] std::size_t capacity() const { return this->core().capacity(); }

private:
    friend struct make;
    explicit sender(detail::mpsc_core* core) noexcept : sender_base<T>(core) {}

    template <class Message>
    bool try_to(Message&& message) const {
        auto& core = this->core();
        const auto now = core.try_claim();
        if (now.closed) [[unlikely]]
            detail::throw_closed(core.cause());
        if (!now.node) return false;
        detail::mpsc_state<T>::send(core, *now.node, std::forward<Message>(message));
        return true;
    }
    template <class Message>
    void block_to(Message&& message) const {
        auto& core = this->core();
        auto* const node = core.claim_blocking();
        if (!node) detail::throw_closed(core.cause());
        detail::mpsc_state<T>::send(core, *node, std::forward<Message>(message));
    }
};

/// Room for one message that is kept for whoever has this. Dropped: the room goes to the next.
/// A channel does not end before its permits.
template <class T>
class [[nodiscard("dropped at once, the room goes back")]] permit
    : public detail::mpsc_half<T> {
public:
    permit(permit&& other) noexcept
        : detail::mpsc_half<T>(std::move(other)), node_(std::exchange(other.node_, nullptr)) {}
    permit& operator=(permit&&) = delete;
    ~permit() {
        if (node_) this->core_->give_back(*node_);
    }

    /// Never waits. A channel that was closed meanwhile takes it all the same. Errors:
    /// channel_closed when the receiver is gone; the message is untouched then. What T throws:
    /// the room goes back. std::logic_error the second time.
    void send(T&& message) { send_once(std::move(message)); }
    /// send() of a copy.
    void send(const T& message)
        requires std::copy_constructible<T>
    {
        send_once(message);
    }

private:
    friend class sender<T>;
    friend class detail::reserve_leaf<T>;
    permit(detail::mpsc_core& core, detail::message_node& node) noexcept
        : detail::mpsc_half<T>(&core), node_(&node) {
        core.add_reference();
    }
    template <class Message>
    void send_once(Message&& message) {
        if (!node_) toadstone::detail::throw_misuse("a permit sends once");
        if (this->core_->is_abandoned()) throw channel_closed();
        detail::mpsc_state<T>::send(*this->core_, *std::exchange(node_, nullptr),
                                    std::forward<Message>(message));
    }

    detail::message_node* node_;
};

/// The sending half of an unbounded channel. Copies send into the same channel.
///
/// Threads: as sender. Shape: memory for each message until it is received.
template <class T>
class unbounded_sender : public sender_base<T> {
public:
    /// The messages' type.
    using value_type = T;

    unbounded_sender(unbounded_sender&&) noexcept = default;
    unbounded_sender(const unbounded_sender&) noexcept = default;
    unbounded_sender& operator=(unbounded_sender other) noexcept {
        std::swap(this->core_, other.core_);
        return *this;
    }
    ~unbounded_sender() = default;

    /// Never waits; from any thread. Errors: as sender::send(), std::bad_alloc; the message is
    /// untouched then.
    void send(T&& message) const { send_now(std::move(message)); }
    /// send() of a copy.
    void send(const T& message) const
        requires std::copy_constructible<T>
    {
        send_now(message);
    }

private:
    friend struct make;
    explicit unbounded_sender(detail::mpsc_core* core) noexcept : sender_base<T>(core) {}
    template <class Message>
    void send_now(Message&& message) const {
        auto& core = this->core();
        if (!detail::mpsc_state<T>::send_new(core, std::forward<Message>(message))) {
            detail::throw_closed(core.cause());
        }
    }
};

/// The receiving half. When it goes, what was not received is destroyed, and senders are
/// refused.
///
/// Fairness: several tasks and threads may receive through the one; first come, first served.
/// Threads: any, but for its move and its end.
/// Lifetime: destroying it while somebody waits through it is a contract violation.
template <class T>
class receiver : public detail::mpsc_half<T> {
    using state = detail::mpsc_state<T>;

public:
    /// The messages' type.
    using value_type = T;

    receiver(receiver&&) noexcept = default;
    receiver& operator=(receiver other) noexcept {
        std::swap(this->core_, other.core_);
        return *this;
    }
    ~receiver() {
        if (this->core_) state::destroy_all(*this->core_, this->core_->abandon());
    }

    /// Waits for a message. Returns: the next one, in the order of sending; empty: closed and
    /// drained. Errors: poison_error when it is drained and was failed. What T's move throws:
    ///     the message stays the first.
    /// Cancellation: a cancellation point, looked at before anything else. A message that was
    ///     given to a waiter that has to stop goes to the next one who waits, or is the first
    ///     again. So it is safe in when_any(): what a loser was given is received later.
    [[nodiscard]] auto recv() const {
        return detail::channel_operation<detail::recv_leaf<T>>(this->core());
    }
    /// recv() for at most `limit`. Returns: empty, too, when the time was up; is_at_end() tells
    /// which. A message that comes at the same moment wins. Cancellation: as recv(). Errors: as
    /// recv(); std::invalid_argument, at the call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] auto recv_for(std::chrono::duration<Rep, Period> limit) const {
        return recv_within(toadstone::detail::time_limit(limit));
    }
    /// recv_for() up to a point in time, by steady_clock or system_clock.
    /// Cancellation: as recv().
    template <class Clock, class Duration>
    [[nodiscard]] auto recv_until(std::chrono::time_point<Clock, Duration> limit) const {
        return recv_within(toadstone::detail::time_limit(limit));
    }
    /// Returns: empty if there is none now; is_at_end() tells whether none will come.
    /// Errors: as recv().
    [[nodiscard]] std::optional<T> try_recv() const {
        auto& core = this->core();
        const auto now = core.try_take();
        if (now.closed) [[unlikely]]
            state::check_end(core);
        return received(core, now.node);
    }
    /// recv() from a plain thread, which it blocks. Errors: as recv(); std::logic_error on a
    /// worker that would have to wait.
    [[nodiscard]] std::optional<T> blocking_recv() const {
        auto& core = this->core();
        auto* const node = core.take_blocking();
        if (!node) state::check_end(core);
        return received(core, node);
    }

    /// Nothing can be sent any more, but through permits. What was sent is received, and then
    /// the end.
    void close() const { this->core().close(); }
    /// Closed and drained: nothing will come any more. Stays so.
    [[nodiscard]] bool is_at_end() const { return this->core().is_at_end(); }

private:
    friend struct make;
    explicit receiver(detail::mpsc_core* core) noexcept : detail::mpsc_half<T>(core) {}
    [[nodiscard]] auto recv_within(toadstone::detail::time_limit limit) const {
        return detail::channel_operation<detail::timed_recv_leaf<T>,
                                         toadstone::detail::time_limit>(this->core(), limit);
    }
    static std::optional<T> received(detail::mpsc_core& core, detail::message_node* node) {
        std::optional<T> message;
        if (node) state::receive(core, *node, message);
        return message;
    }
};

/// What channel() gives.
template <class T>
struct halves {
    sender<T> tx;   ///< whoever sends
    receiver<T> rx; ///< whoever receives
};
/// What unbounded() gives.
template <class T>
struct unbounded_halves {
    unbounded_sender<T> tx; ///< whoever sends
    receiver<T> rx;         ///< whoever receives
};

/// For the library.
struct make {
    template <class Sender>
    static Sender sending(detail::mpsc_core* core) noexcept {
        return Sender(core);
    }
    template <class T>
    static receiver<T> receiving(detail::mpsc_core* core) noexcept {
        return receiver<T>(core);
    }
};

/// A channel with room for so many messages: who sends more waits.
///
///     auto [tx, rx] = sync::mpsc::channel<int>(16);
///
/// Errors: std::invalid_argument for 0; std::length_error, std::bad_alloc.
/// Shape: one allocation, with room for all messages; none afterwards, also not for a wait.
template <class T>
[[nodiscard]] halves<T> channel(std::size_t capacity) {
    if (capacity == 0) throw std::invalid_argument("a channel needs room for a message");
    auto* const core = detail::mpsc_state<T>::make(capacity);
    return {make::sending<sender<T>>(core), make::receiving<T>(core)};
}
/// A channel that grows. Errors: std::bad_alloc.
template <class T>
[[nodiscard]] unbounded_halves<T> unbounded() {
    auto* const core = detail::mpsc_state<T>::make(0);
    return {make::sending<unbounded_sender<T>>(core), make::receiving<T>(core)};
}

} // namespace toadstone::sync::mpsc

namespace toadstone::sync::detail {

template <class T>
class reserve_leaf : public claim_leaf {
public:
    explicit reserve_leaf(mpsc_core& core) noexcept : claim_leaf(core) {}
    mpsc::permit<T> await_resume() {
        check();
        return mpsc::permit<T>(*core_, *node_);
    }
};

} // namespace toadstone::sync::detail

#endif
