// watch: a value that some change and others follow: its newest version, and no other.
#ifndef TOADSTONE_SYNC_WATCH_HPP
#define TOADSTONE_SYNC_WATCH_HPP

#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/detail/watch_core.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <utility>

namespace toadstone::sync::detail {

template <class T>
struct watch_node : watch_value, toadstone::detail::pooled {
    template <class... Args>
    explicit watch_node(Args&&... args) : value(std::forward<Args>(args)...) {}
    T value;

    static const T& value_of(const watch_value& node) noexcept {
        return static_cast<const watch_node&>(node).value;
    }
    static void drop(watch_value& node) noexcept {
        if (node.drop_reference()) delete static_cast<watch_node*>(&node);
    }
};

template <class T>
class watch_state : public watch_core, public toadstone::detail::pooled {
public:
    explicit watch_state(watch_value& initial) noexcept : watch_core(initial) {}
    watch_state(const watch_state&) = delete;
    watch_state& operator=(const watch_state&) = delete;
    ~watch_state() { watch_node<T>::drop(*this->last()); }
};

/// A look at the newest value, which stays as it is.
template <class T>
class watch_look {
public:
    explicit watch_look(const watch_core& core) noexcept : now_(core.pin()) {}
    watch_look(const watch_look&) = delete;
    watch_look& operator=(const watch_look&) = delete;
    ~watch_look() { watch_node<T>::drop(*now_.value); }

    [[nodiscard]] const T& value() const noexcept {
        return watch_node<T>::value_of(*now_.value);
    }
    [[nodiscard]] std::uint64_t version() const noexcept { return now_.version; }

private:
    watch_core::pinned now_;
};

/// A counted pointer to a watch, and what both halves can do.
template <class T>
class watch_half {
public:
    watch_half(watch_half&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    watch_half& operator=(watch_half&&) = delete;

    /// A copy of the newest value, also of a channel that has ended.
    [[nodiscard]] T get() const
        requires std::copy_constructible<T>
    {
        const watch_look<T> now(state());
        return now.value();
    }
    /// What `fn` makes of the newest value, which is a const T& that stays as it is, whatever
    /// is sent meanwhile. No lock is held: `fn` may do anything, but keep no reference.
    template <std::invocable<const T&> Fn>
    auto read(Fn&& fn) const {
        const watch_look<T> now(state());
        return std::forward<Fn>(fn)(now.value());
    }
    /// The other side has gone.
    [[nodiscard]] bool is_closed() const { return state().is_closed(); }

protected:
    explicit watch_half(watch_state<T>* state) noexcept : state_(state) {}
    watch_half(const watch_half& other) noexcept : state_(other.state_) {
        if (state_) state_->add_reference();
    }
    ~watch_half() {
        if (state_ && state_->drop_reference()) delete state_;
    }
    [[nodiscard]] watch_state<T>& state() const {
        if (!state_) [[unlikely]]
            toadstone::detail::throw_misuse("a half of a channel that was moved from is used");
        return *state_;
    }

    watch_state<T>* state_;
};

} // namespace toadstone::sync::detail

namespace toadstone::sync::watch {

template <class T>
class receiver;

/// The half that changes the value. Copies change the same one; the last one that goes closes
/// the channel.
///
/// Threads: different senders in any tasks and threads; one in several, too, but for its move
///     and its end. Changes come one after the other; their threads wait for each other, so the
///     functions that make them are short.
template <class T>
class sender : public detail::watch_half<T> {
    using node = detail::watch_node<T>;

public:
    /// The value's type.
    using value_type = T;

    sender(sender&&) noexcept = default;
    sender(const sender& other) noexcept : detail::watch_half<T>(other) {
        if (this->state_) this->state_->add_sender();
    }
    sender& operator=(sender other) noexcept {
        std::swap(this->state_, other.state_);
        return *this;
    }
    ~sender() {
        if (this->state_) this->state_->drop_sender();
    }

    /// A new value, whether anybody follows it or not. Errors: channel_closed, poison_error if
    /// the channel was failed: the value is untouched. What T's move throws, std::bad_alloc:
    /// the value before stays.
    void send(T&& value) const { change_to(std::move(value)); }
    /// send() of a copy.
    void send(const T& value) const
        requires std::copy_constructible<T>
    {
        change_to(value);
    }
    /// Changes the value by `fn(T&)`. Nobody sees it half-changed: `fn` works on a copy, which
    /// becomes the newest value when `fn` has returned. Errors: what `fn` and T's copy throw,
    /// and as send(): the value before stays, and nobody is told. std::logic_error when `fn`
    /// sends into the same channel.
    template <std::invocable<T&> Fn>
        requires std::copy_constructible<T>
    void send_modify(Fn&& fn) const {
        change_by([&fn](T& value) {
            std::forward<Fn>(fn)(value);
            return true;
        });
    }
    /// The same if `fn` returns true, which is what this returns. False: the copy is dropped,
    /// whatever `fn` did to it.
    template <std::predicate<T&> Fn>
        requires std::copy_constructible<T>
    bool send_if_modified(Fn&& fn) const {
        return change_by([&fn](T& value) -> bool { return std::forward<Fn>(fn)(value); });
    }

    /// A receiver that counts the newest value as seen.
    [[nodiscard]] receiver<T> subscribe() const { return receiver<T>(this->state()); }
    /// A hint: they come and go.
    [[nodiscard]] std::size_t receivers() const { return this->state().receivers(); }

    /// No other value will come, by whomever. The newest stays there.
    void close() const { this->state().close(); }
    /// close(), and who waits for a change gets a poison_error with the cause, as does whoever
    /// sends. For a sender that died in the middle of something. Returns: false if the channel
    /// was closed already; then nothing changes.
    bool fail(poison_cause cause) const { return this->state().fail(std::move(cause)); }
    /// The same by an exception: one that was caught, mostly std::current_exception().
    bool fail(std::exception_ptr error,
              std::source_location where = std::source_location::current()) const {
        return fail(detail::failure_by(std::move(error), where));
    }

private:
    friend struct make;
    explicit sender(detail::watch_state<T>* state) noexcept : detail::watch_half<T>(state) {}

    template <class Value>
    void change_to(Value&& value) const {
        detail::watch_value* before = nullptr;
        {
            detail::watch_core::change one(this->state());
            before = &one.publish(*new node(std::forward<Value>(value)));
        }
        node::drop(*before); // T's destructor under no lock
    }
    template <class Fn>
    bool change_by(const Fn& fn) const {
        std::unique_ptr<node> next;
        detail::watch_value* before = nullptr;
        {
            detail::watch_core::change one(this->state());
            next = std::make_unique<node>(node::value_of(one.newest()));
            if (!fn(next->value)) return false;
            before = &one.publish(*next.release());
        }
        node::drop(*before);
        return true;
    }
};

/// The half that follows the value. A copy has seen what this has.
///
/// Errors: of all that waits: poison_error in the place of the end, if the channel was failed.
/// Threads: any; one at a time.
/// Lifetime: destroying or moving it while somebody waits through it is a contract violation.
template <class T>
class receiver : public detail::watch_half<T> {
    using found = detail::watch_core::found;
    template <class Leaf, class... What>
    using operation =
        toadstone::detail::operation<Leaf, detail::watch_core&, detail::watch_place&, What...>;

public:
    /// The value's type.
    using value_type = T;

    receiver(receiver&& other) noexcept
        : detail::watch_half<T>(std::move(other)), place_{other.place_.seen} {}
    receiver(const receiver& other) noexcept
        : detail::watch_half<T>(other), place_{other.place_.seen} {
        if (this->state_) this->state_->add_receiver();
    }
    receiver& operator=(receiver other) noexcept {
        std::swap(this->state_, other.state_);
        std::swap(place_.seen, other.place_.seen);
        return *this;
    }
    ~receiver() {
        TOADSTONE_ASSERT(place_.waits == 0,
                         "a watch's receiver is destroyed only when nobody waits through it");
        if (this->state_) this->state_->drop_receiver();
    }

    /// Waits for a value that this receiver has not seen; the newest counts as seen then. One
    /// change is told, however many there were. Returns: false when no other value will come.
    /// Cancellation: a cancellation point, looked at before anything else. A waiter leaves at
    ///     once, and has seen nothing: the change is told to the next changed().
    [[nodiscard]] auto changed() {
        return operation<detail::changed_leaf>(this->state(), place_);
    }
    /// changed() for at most `limit`. Returns: false, too, when the time was up; is_at_end()
    /// tells which. A change at the same moment wins. Cancellation: as changed(). Errors:
    /// std::invalid_argument, at the call, when `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] auto changed_for(std::chrono::duration<Rep, Period> limit) {
        return changed_within(toadstone::detail::time_limit(limit));
    }
    /// changed_for() up to a point in time, by steady_clock or system_clock.
    /// Cancellation: as changed().
    template <class Clock, class Duration>
    [[nodiscard]] auto changed_until(std::chrono::time_point<Clock, Duration> limit) {
        return changed_within(toadstone::detail::time_limit(limit));
    }
    /// changed() from a plain thread, which it blocks. Errors: std::logic_error, too, on a
    /// worker that would have to wait.
    [[nodiscard]] bool blocking_changed() {
        return change_here("blocking_changed()", "changed()");
    }

    /// Waits until `predicate` holds of the newest value, or holds already; values between are
    /// not looked at. Returns: a copy of that value, which counts as seen. Errors:
    ///     channel_closed when no other value will come; what `predicate` and T's copy throw:
    ///     that value is unseen.
    /// Cancellation: a cancellation point, looked at before anything else; a waiter leaves at
    ///     once.
    template <std::predicate<const T&> Predicate>
        requires std::copy_constructible<T>
    [[nodiscard]] task<T> wait_for(Predicate predicate) {
        co_await checkpoint();
        for (;;) {
            std::optional<T> right = newest_if(predicate);
            if (right) co_return std::move(*right);
            const std::uint64_t seen = place_.seen;
            const bool more = co_await changed();
            if (!more) detail::throw_closed({});
            place_.seen = seen; // until `predicate` has looked at it
        }
    }
    /// The same from a plain thread, which it blocks. Errors: std::logic_error, too, on a
    /// worker that would have to wait.
    template <std::predicate<const T&> Predicate>
        requires std::copy_constructible<T>
    [[nodiscard]] T blocking_wait_for(Predicate predicate) {
        for (;;) {
            std::optional<T> right = newest_if(predicate);
            if (right) return std::move(*right);
            const std::uint64_t seen = place_.seen;
            if (!change_here("blocking_wait_for()", "wait_for()")) detail::throw_closed({});
            place_.seen = seen; // as above
        }
    }

    /// Whether there is a value that this receiver has not seen.
    [[nodiscard]] bool has_changed() const { return this->state().version() != place_.seen; }
    /// get(), which does not count as seeing it, and counts it. If the copy throws, it is
    /// unseen.
    [[nodiscard]] T get_and_update()
        requires std::copy_constructible<T>
    {
        const detail::watch_look<T> now(this->state());
        T copy(now.value());
        place_.seen = now.version();
        return copy;
    }
    /// What is there counts as seen; as unseen.
    void mark_unchanged() { place_.seen = this->state().version(); }
    /// The next changed() returns at once.
    void mark_changed() { place_.seen = this->state().version() - 1; }
    /// Closed, and the last value seen: nothing will come any more.
    [[nodiscard]] bool is_at_end() const {
        return this->state().look(place_.seen) == found::end;
    }

private:
    friend struct make;
    friend class sender<T>;
    explicit receiver(detail::watch_state<T>& state) noexcept
        : detail::watch_half<T>(&state), place_{state.version()} {
        state.add_reference();
        state.add_receiver();
    }
    [[nodiscard]] auto changed_within(toadstone::detail::time_limit limit) {
        return operation<detail::timed_changed_leaf, toadstone::detail::time_limit>(
            this->state(), place_, limit);
    }
    [[nodiscard]] bool change_here(const char* what, const char* instead) {
        auto& core = this->state();
        if (core.wait_blocking(place_.seen, what, instead) == found::change) {
            place_.seen = core.version();
            return true;
        }
        if (const poison_cause cause = core.cause()) throw poison_error(cause);
        return false;
    }
    /// The newest value is seen, by `predicate`, whatever that says.
    template <class Predicate>
    [[nodiscard]] std::optional<T> newest_if(Predicate& predicate) {
        const detail::watch_look<T> now(this->state());
        std::optional<T> copy;
        if (predicate(now.value())) copy.emplace(now.value());
        place_.seen = now.version();
        return copy;
    }

    detail::watch_place place_;
};

/// What channel() gives.
template <class T>
struct halves {
    sender<T> tx;   ///< whoever sends
    receiver<T> rx; ///< whoever follows
};

/// For the library.
struct make {
    template <class T>
    static halves<T> halves_of(detail::watch_state<T>* state) noexcept {
        sender<T> tx(state); // has the first reference
        return {std::move(tx), receiver<T>(*state)};
    }
};

/// A value that receivers follow; the first of them counts it as seen.
///
///     auto [tx, rx] = sync::watch::channel<settings>({});
///
/// Errors: std::bad_alloc, what T's move throws. Shape: an allocation for the channel and one
/// for each value; none for a wait.
template <class T>
[[nodiscard]] halves<T> channel(T initial) {
    auto first = std::make_unique<detail::watch_node<T>>(std::move(initial));
    auto* const state = new detail::watch_state<T>(*first);
    static_cast<void>(first.release());
    return make::halves_of<T>(state);
}

} // namespace toadstone::sync::watch

#endif
