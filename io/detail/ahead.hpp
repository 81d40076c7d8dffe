// The leaves that wait for what a stream's receiver brings.
#ifndef TOADSTONE_IO_DETAIL_AHEAD_HPP
#define TOADSTONE_IO_DETAIL_AHEAD_HPP

#include <toadstone/io/buffer.hpp>
#include <toadstone/io/detail/in_use.hpp>
#include <toadstone/io/received.hpp>
#include <toadstone/runtime/detail/leaf.hpp>

#include <coroutine>

namespace toadstone::detail {
class receiver;
}

namespace toadstone::io {
class tcp_stream;
}

namespace toadstone::io::detail {

/// Waits until the receiver has something. What has come stays with it until it is taken, so a
/// cancellation is taken at once and loses nothing.
class ahead_leaf : public toadstone::detail::leaf {
public:
    bool cancel(toadstone::cancel_reason, bool) noexcept override;
    bool taken() noexcept override;

protected:
    ahead_leaf() noexcept = default;
    ~ahead_leaf() = default;

    void wait(toadstone::detail::receiver& from) noexcept;
    void answer_later() noexcept;
    /// It has waited, or found something.
    [[nodiscard]] toadstone::detail::receiver* from() const noexcept { return from_; }
    void found(toadstone::detail::receiver& from) noexcept { from_ = &from; }

private:
    toadstone::detail::receiver* from_ = nullptr;
};

/// tcp_stream::recv().
class tcp_recv_leaf : public ahead_leaf {
public:
    explicit tcp_recv_leaf(tcp_stream& stream) noexcept : stream_(&stream) {}
    [[nodiscard]] bool await_ready() noexcept;
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) begin();
    }
    received await_resume();

private:
    void begin() noexcept;

    enum class step : unsigned char {
        wait,    ///< nothing is there, or another worker knows
        answer,  ///< there is something, or nothing to wait for
        refused, ///< another task reads
    };
    tcp_stream* stream_;
    int error_ = 0;
    step next_ = step::wait;
    claim claim_;
};

using recv_operation = toadstone::detail::operation<tcp_recv_leaf, tcp_stream&>;

/// Waits for the receiver, and copies what it has. Under the reading claim.
class copy_ahead_leaf : public ahead_leaf {
public:
    copy_ahead_leaf(toadstone::detail::receiver& from, mutable_buffer into) noexcept
        : which_(&from), into_(into) {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) wait_or_find();
    }
    /// As receiver::copy_to().
    [[nodiscard]] int await_resume() noexcept;

private:
    void wait_or_find() noexcept;

    toadstone::detail::receiver* which_;
    mutable_buffer into_;
};

/// Waits until nothing of the receiver is in flight. Nobody reads any more.
///
/// Cancellation: not a cancellation point: the kernel has been asked for the end.
class rest_leaf : public toadstone::detail::leaf {
public:
    explicit rest_leaf(toadstone::detail::receiver& which) noexcept : which_(&which) {}
    bool cancel(toadstone::cancel_reason, bool) noexcept override { return false; }
    bool taken() noexcept override { return false; }
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        suspend_always(frame);
        begin();
    }
    void await_resume() const noexcept {}

private:
    void begin() noexcept;

    toadstone::detail::receiver* which_;
};

} // namespace toadstone::io::detail

#endif
