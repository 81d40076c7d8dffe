// oneshot: a channel for one message, which any thread may send.
#ifndef TOADSTONE_SYNC_ONESHOT_HPP
#define TOADSTONE_SYNC_ONESHOT_HPP

#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/oneshot_core.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace toadstone::sync::detail {

template <class T>
class answer_awaiter;
template <class T>
class timed_answer_awaiter;

template <class T>
class oneshot_state : public oneshot_core, public toadstone::detail::pooled {
public:
    oneshot_state() noexcept {}
    oneshot_state(const oneshot_state&) = delete;
    oneshot_state& operator=(const oneshot_state&) = delete;
    ~oneshot_state() {
        if (has_value()) std::destroy_at(&message_);
    }

    template <class Message>
    void put(Message&& message) noexcept(std::is_nothrow_constructible_v<T, Message&&>) {
        std::construct_at(&message_, std::forward<Message>(message));
    }
    /// Once it is settled. If T throws, the message stays.
    [[nodiscard]] T take() {
        if (!has_value()) [[unlikely]]
            throw_no_value();
        T message(std::move(message_));
        std::destroy_at(&message_);
        mark_taken();
        return message;
    }

private:
    union {
        T message_;
    };
};

} // namespace toadstone::sync::detail

namespace toadstone::sync::oneshot {

template <class T>
struct halves;

/// Sends once. Dropped before that: the receiver is told by channel_closed.
///
/// Threads: any; one at a time.
/// Lifetime: destroying it while somebody waits through it is a contract violation.
template <class T>
class sender {
public:
    /// The message's type.
    using value_type = T;

    sender(sender&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    sender& operator=(sender other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~sender() {
        if (state_) end(state_->leave_unanswered());
    }

    /// Never waits; from any thread, and where nothing may block. Returns: false if nobody
    /// receives any more; the message is untouched then. Errors: std::logic_error the second
    /// time; what T's move throws, and it may be tried again.
    [[nodiscard]] bool send(T&& message) { return send_once(std::move(message)); }
    /// send() of a copy.
    [[nodiscard]] bool send(const T& message)
        requires std::is_copy_constructible_v<T>
    {
        return send_once(message);
    }
    /// In the place of a message: recv() throws this. Returns and errors: as send().
    bool fail(std::exception_ptr error) {
        detail::oneshot_state<T>& to = state();
        if (!to.begin_sending()) return false; // a close from here on comes too late
        end(to.fail(std::move(error)));
        return true;
    }
    /// The same as a poison_error with that cause.
    bool fail(const poison_cause& cause) {
        return fail(std::make_exception_ptr(poison_error(cause)));
    }

    /// Waits until nobody receives any more: what it was to be answered can be given up.
    /// Cancellation: a cancellation point, looked at before anything else; a waiter leaves at
    /// once.
    [[nodiscard]] auto closed() {
        return toadstone::detail::operation<detail::closing_leaf, detail::oneshot_core&>(
            state());
    }
    /// The receiver has gone, or does not want it any more.
    [[nodiscard]] bool is_closed() const { return state().is_refused(); }

private:
    template <class U>
    friend halves<U> channel();
    explicit sender(detail::oneshot_state<T>* state) noexcept : state_(state) {}
    [[nodiscard]] detail::oneshot_state<T>& state() const {
        if (!state_) [[unlikely]]
            toadstone::detail::throw_misuse("a oneshot's sender sends once");
        return *state_;
    }
    void end(bool last) noexcept {
        auto* const left = std::exchange(state_, nullptr);
        if (last) delete left;
    }
    template <class Message>
    bool send_once(Message&& message) {
        detail::oneshot_state<T>& to = state();
        if (!to.begin_sending()) return false;
        if constexpr (std::is_nothrow_constructible_v<T, Message&&>) {
            to.put(std::forward<Message>(message));
        } else {
            try {
                to.put(std::forward<Message>(message));
            } catch (...) {
                to.undo_sending();
                throw;
            }
        }
        end(to.sent());
        return true;
    }

    detail::oneshot_state<T>* state_;
};

/// Receives once.
///
/// Threads: any; one at a time.
/// Lifetime: destroying it while somebody waits through it is a contract violation.
template <class T>
class receiver {
public:
    /// The message's type.
    using value_type = T;

    receiver(receiver&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    receiver& operator=(receiver other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~receiver() {
        if (state_ && state_->leave_receiving()) delete state_;
    }

    /// Waits for the message. Returns: it. Errors: channel_closed when the sender is gone and
    /// has sent nothing; what the sender failed with; std::logic_error when it has been
    /// received, or somebody else waits for it. What T's move throws: the message stays.
    /// Cancellation: a cancellation point, looked at before anything else. The message of a
    ///     waiter that has to stop stays in the channel: another recv() gets it.
    [[nodiscard]] auto recv() const {
        return toadstone::detail::operation<detail::answer_awaiter<T>,
                                            detail::oneshot_state<T>&>(state());
    }
    /// recv() for at most `limit`. Returns: nothing when the time was up; a message that comes
    /// at the same moment wins. Cancellation: as recv(). Errors: as recv();
    /// std::invalid_argument, at the call, when `limit` is NaN.
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
    /// Returns: nothing if there is no answer yet. Errors: as recv().
    [[nodiscard]] std::optional<T> try_recv() const {
        if (!state().is_settled()) return std::nullopt;
        return state().take();
    }
    /// recv() from a plain thread, which it blocks. Errors: as recv(); std::logic_error on a
    /// worker that would have to wait.
    [[nodiscard]] T blocking_recv() const {
        state().wait_blocking();
        return state().take();
    }
    /// No message is wanted any more. One that was sent before is received.
    void close() const { state().close(); }

private:
    template <class U>
    friend halves<U> channel();
    explicit receiver(detail::oneshot_state<T>* state) noexcept : state_(state) {}
    [[nodiscard]] detail::oneshot_state<T>& state() const {
        if (!state_) [[unlikely]]
            toadstone::detail::throw_misuse("a half of a channel that was moved from is used");
        return *state_;
    }
    [[nodiscard]] auto recv_within(toadstone::detail::time_limit limit) const {
        return toadstone::detail::operation<detail::timed_answer_awaiter<T>,
                                            detail::oneshot_state<T>&,
                                            toadstone::detail::time_limit>(state(), limit);
    }

    detail::oneshot_state<T>* state_;
};

/// What channel() gives.
template <class T>
struct halves {
    sender<T> tx;   ///< whoever sends
    receiver<T> rx; ///< whoever receives
};

/// A channel for one message. How a foreign event wakes a task: its callback sends.
///
///     auto [tx, rx] = sync::oneshot::channel<int>();
///
/// Errors: std::bad_alloc. Shape: one allocation, and none afterwards.
template <class T>
[[nodiscard]] halves<T> channel() {
    auto* const state = new detail::oneshot_state<T>;
    return {sender<T>(state), receiver<T>(state)};
}

} // namespace toadstone::sync::oneshot

namespace toadstone::sync::detail {

template <class T>
class answer_awaiter : public answer_leaf {
public:
    explicit answer_awaiter(oneshot_state<T>& state) noexcept : answer_leaf(state) {}
    T await_resume() {
        check();
        return static_cast<oneshot_state<T>*>(core_)->take();
    }
};

template <class T>
class timed_answer_awaiter : public toadstone::detail::timed_wait<answer_leaf> {
public:
    timed_answer_awaiter(oneshot_state<T>& state, toadstone::detail::time_limit limit) noexcept
        : timed_wait(limit, state) {}
    std::optional<T> await_resume() {
        if (!in_time()) return std::nullopt;
        check();
        return static_cast<oneshot_state<T>*>(core_)->take();
    }
};

} // namespace toadstone::sync::detail

#endif
