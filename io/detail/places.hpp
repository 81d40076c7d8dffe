// places: a bounded number of connections, counted across workers.
#ifndef TOADSTONE_IO_DETAIL_PLACES_HPP
#define TOADSTONE_IO_DETAIL_PLACES_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/executor.hpp>

#include <coroutine>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>

namespace toadstone::io::detail {

class place;
class places;
class place_awaiter;
class empty_awaiter;
using place_operation = toadstone::detail::operation<place_awaiter, places&>;
using empty_operation = toadstone::detail::operation<empty_awaiter, places&>;

/// Threads: all workers of a server. Everything is guarded by lock_.
/// Fairness: first come, first served.
class places {
public:
    explicit places(std::size_t most) noexcept : most_(most) {}
    places(const places&) = delete;
    places& operator=(const places&) = delete;
    ~places();

    /// Waits for a place and takes it. Gives a `place`.
    ///
    /// Cancellation: a cancellation point. A place that was granted to a cancelled waiter goes
    ///     to the next in line.
    [[nodiscard]] place_operation enter() noexcept;

    /// Takes a place if one is free and nobody is in line for it.
    [[nodiscard]] std::optional<place> try_enter() noexcept;

    /// Waits until no place is taken. One task at a time, and when nobody enters any more.
    ///
    /// Cancellation: a cancellation point; nothing is undone.
    [[nodiscard]] empty_operation emptied() noexcept;

private:
    friend class place;
    friend class place_awaiter;
    friend class empty_awaiter;

    void leave() noexcept;

    std::mutex lock_;
    const std::size_t most_;
    std::size_t taken_ = 0;
    place_awaiter* first_ = nullptr;
    place_awaiter* last_ = nullptr;
    toadstone::detail::context* waits_for_none_ = nullptr;
};

/// A place; its destructor gives it back.
class place {
public:
    explicit place(places& of) noexcept : of_(&of) {}
    place(place&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    place& operator=(place&&) = delete;
    ~place() {
        if (of_) of_->leave();
    }

private:
    places* of_;
};

class place_awaiter : public toadstone::detail::leaf {
public:
    explicit place_awaiter(places& of) noexcept : of_(&of) {}

    bool cancel(toadstone::cancel_reason, bool) noexcept override;
    bool taken() noexcept override {
        of_->leave();
        return true;
    }

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) wait();
    }
    [[nodiscard]] place await_resume() const noexcept { return place(*of_); }

private:
    friend class places;
    void wait() noexcept;

    places* of_;
    bool queued_ = false; // this and the links: guarded by the lock of *of_
    place_awaiter* next_ = nullptr;
    place_awaiter* previous_ = nullptr;
};

class empty_awaiter : public toadstone::detail::leaf {
public:
    explicit empty_awaiter(places& of) noexcept : of_(&of) {}

    bool cancel(toadstone::cancel_reason, bool) noexcept override;
    bool taken() noexcept override { return true; }

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) wait();
    }
    void await_resume() const noexcept {}

private:
    void wait() noexcept;

    places* of_;
};

inline place_operation places::enter() noexcept {
    return place_operation(*this);
}
inline empty_operation places::emptied() noexcept {
    return empty_operation(*this);
}

} // namespace toadstone::io::detail

#endif
