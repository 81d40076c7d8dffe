// broadcast: a channel in which every receiver gets every message; who is too slow misses some,
// and is told so.
#ifndef TOADSTONE_SYNC_BROADCAST_HPP
#define TOADSTONE_SYNC_BROADCAST_HPP

#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/detail/broadcast_core.hpp>
#include <toadstone/sync/detail/broadcast_state.hpp>
#include <toadstone/sync/lagged.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <utility>

namespace toadstone::sync::broadcast {

template <class T>
class receiver;

/// The sending half. Copies send into the same channel; the last one that goes closes it.
///
/// Threads: different senders in any tasks and threads; one in several, too, but for its move
///     and its end.
template <class T>
class sender : public detail::broadcast_half<T> {
public:
    /// The messages' type.
    using value_type = T;

    sender(sender&&) noexcept = default;
    sender(const sender& other) noexcept : detail::broadcast_half<T>(other.core_) {
        if (!this->core_) return;
        this->core_->add_sender();
        this->core_->add_reference();
    }
    sender& operator=(sender other) noexcept {
        std::swap(this->core_, other.core_);
        return *this;
    }
    ~sender() {
        if (this->core_) this->core_->drop_sender();
    }

    /// Never waits: the oldest message makes room, whoever has not received it. Returns: how
    /// many receivers the message is for; 0 if nobody listens now, which is no error: the
    /// message is dropped, and was not moved from if nobody listened when this was called.
    /// Errors: channel_closed, poison_error if the channel was failed: not sent, the message is
    ///     untouched. What T throws, std::bad_alloc: not sent, and no other message is lost.
    std::size_t send(T&& message) const {
        return state::send(this->core(), std::move(message));
    }
    /// send() of a copy.
    std::size_t send(const T& message) const { return state::send(this->core(), message); }

    /// A receiver of all that is sent from now on; of a closed channel, of nothing.
    [[nodiscard]] receiver<T> subscribe() const;
    /// A hint: they come and go.
    [[nodiscard]] std::size_t receivers() const { return this->core().receivers(); }
    /// How many messages are kept for who is slow.
    [[nodiscard]] std::size_t capacity() const { return this->core().capacity(); }

    /// Nothing can be sent any more, by whomever. What was sent is received, and then the end.
    void close() const { this->core().close(); }
    /// Poisons the stream: close(), and in the place of the end the receivers get a
    /// poison_error with the cause, as does whoever sends. For a sender that died in the middle
    /// of something. Returns: false if the channel was closed already; then nothing changes.
    bool fail(poison_cause cause) const { return this->core().fail(std::move(cause)); }
    /// The same by an exception: one that was caught, mostly std::current_exception().
    bool fail(std::exception_ptr error,
              std::source_location where = std::source_location::current()) const {
        return fail(detail::failure_by(std::move(error), where));
    }
    /// Nothing can be sent any more.
    [[nodiscard]] bool is_closed() const { return this->core().is_closed(); }

private:
    using state = detail::broadcast_state<T>;
    friend struct make;
    explicit sender(detail::broadcast_core* core) noexcept : detail::broadcast_half<T>(core) {}
};

/// The receiving half: gets each message that was sent since it was made, in the order of
/// sending. When it has fallen more than the capacity behind, the oldest are lost to it.
///
/// Errors: of all forms of recv(): `lagged`, once for messages that were missed, and it goes on
///     with the oldest that is kept; poison_error in the place of the end, if the channel was
///     failed; what T's copy throws: the message stays the next one; std::logic_error while
///     another task waits through the same receiver.
/// Threads: any; one at a time. Each task has a receiver of its own: resubscribe().
/// Lifetime: destroying or moving it while somebody waits through it is a contract violation.
template <class T>
class receiver : public detail::broadcast_half<T> {
    using state = detail::broadcast_state<T>;
    using found = detail::broadcast_core::found;
    template <class Leaf, class... What>
    using operation = toadstone::detail::operation<Leaf, detail::broadcast_core&,
                                                   detail::broadcast_place&, What...>;

public:
    /// The messages' type.
    using value_type = T;

    receiver(receiver&& other) noexcept
        : detail::broadcast_half<T>(std::move(other)),
          place_(std::exchange(other.place_, detail::broadcast_place())) {}
    receiver& operator=(receiver other) noexcept {
        std::swap(this->core_, other.core_);
        std::swap(place_, other.place_);
        return *this;
    }
    ~receiver() {
        if (this->core_) state::destroy_all(*this->core_, this->core_->leave(place_));
    }

    /// Waits for a message. Returns: a copy of the next one; empty: closed, and all received.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves at
    ///     once; a message that it was given stays this receiver's, and is what the next recv()
    ///     returns, however many were sent since. So it is safe in when_any().
    [[nodiscard]] auto recv() {
        return operation<detail::broadcast_recv_leaf<T>>(this->core(), place_);
    }
    /// recv() for at most `limit`. Returns: empty, too, when the time was up; is_at_end() tells
    /// which. A message that comes at the same moment wins. Cancellation: as recv(). Errors: as
    /// recv(); std::invalid_argument, at the call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] auto recv_for(std::chrono::duration<Rep, Period> limit) {
        return recv_within(toadstone::detail::time_limit(limit));
    }
    /// recv_for() up to a point in time, by steady_clock or system_clock.
    /// Cancellation: as recv().
    template <class Clock, class Duration>
    [[nodiscard]] auto recv_until(std::chrono::time_point<Clock, Duration> limit) {
        return recv_within(toadstone::detail::time_limit(limit));
    }
    /// Returns: empty if there is none now; is_at_end() tells whether none will come.
    [[nodiscard]] std::optional<T> try_recv() {
        auto& core = this->core();
        return state::receive(core, place_, core.take(place_));
    }
    /// recv() from a plain thread, which it blocks. Errors: std::logic_error, too, on a worker
    /// that would have to wait.
    [[nodiscard]] std::optional<T> blocking_recv() {
        auto& core = this->core();
        return state::receive(core, place_, core.take_blocking(place_));
    }

    /// Another receiver of the same channel: of all that is sent from now on.
    [[nodiscard]] receiver resubscribe() const { return receiver(&this->core()); }
    /// How many messages are kept for this receiver.
    [[nodiscard]] std::size_t size() const { return this->core().waiting_for(place_); }
    /// Closed, and all received: nothing will come any more. Stays so.
    [[nodiscard]] bool is_at_end() const { return this->core().is_at_end(place_); }

private:
    friend struct make;
    friend class sender<T>;
    explicit receiver(detail::broadcast_core* core) noexcept : detail::broadcast_half<T>(core) {
        core->add_reference();
        core->enter(place_);
    }
    [[nodiscard]] auto recv_within(toadstone::detail::time_limit limit) {
        return operation<detail::timed_broadcast_recv_leaf<T>, toadstone::detail::time_limit>(
            this->core(), place_, limit);
    }

    detail::broadcast_place place_;
};

template <class T>
receiver<T> sender<T>::subscribe() const {
    return receiver<T>(&this->core());
}

/// What channel() gives.
template <class T>
struct halves {
    sender<T> tx;   ///< whoever sends
    receiver<T> rx; ///< whoever receives
};

/// For the library.
struct make {
    template <class T>
    static halves<T> halves_of(detail::broadcast_core* core) noexcept {
        sender<T> tx(core); // has the first reference
        return {std::move(tx), receiver<T>(core)};
    }
};

/// A channel that keeps so many messages for receivers that are slow, and its first receiver.
///
///     auto [tx, rx] = sync::broadcast::channel<int>(16);
///     auto other = tx.subscribe();
///
/// Errors: std::invalid_argument for 0; std::length_error, std::bad_alloc.
/// Shape: one allocation, with room for all messages. Memory for one more is asked for, and
///     kept, when a message has to be kept beside those: several that are sent, copied, or held
///     for a task that has not run yet, at the same time. Waiting needs none.
template <std::copy_constructible T>
[[nodiscard]] halves<T> channel(std::size_t capacity) {
    if (capacity == 0) throw std::invalid_argument("a channel needs room for a message");
    return make::halves_of<T>(detail::broadcast_state<T>::make(capacity));
}

} // namespace toadstone::sync::broadcast

#endif
