// readiness: waiting until a descriptor that something else owns can be read or written.
#ifndef TOADSTONE_IO_READINESS_HPP
#define TOADSTONE_IO_READINESS_HPP

#include <toadstone/runtime/detail/io_op.hpp>

#include <coroutine>

namespace toadstone::io {

/// What can be waited for, as a set: `events::readable | events::writable`. The numbers are
/// those of poll(2), so that `static_cast<short>(set)` is what a C library takes.
enum class events : unsigned short {
    none = 0,
    readable = 0x0001,    ///< POLLIN: a read does not wait, also at the end or with an error
    priority = 0x0002,    ///< POLLPRI: out-of-band data, or what the device calls so
    writable = 0x0004,    ///< POLLOUT: a write does not wait
    error = 0x0008,       ///< POLLERR: always reported
    hang_up = 0x0010,     ///< POLLHUP: always reported
    peer_closed = 0x2000, ///< POLLRDHUP: the peer of a socket has ended its writing half
};

/// One or the other.
[[nodiscard]] constexpr events operator|(events one, events other) noexcept {
    return static_cast<events>(static_cast<unsigned>(one) | static_cast<unsigned>(other));
}
/// What both have.
[[nodiscard]] constexpr events operator&(events one, events other) noexcept {
    return static_cast<events>(static_cast<unsigned>(one) & static_cast<unsigned>(other));
}
/// Adds some.
constexpr events& operator|=(events& one, events other) noexcept {
    return one = one | other;
}
/// All of `some` are in `set`.
[[nodiscard]] constexpr bool contains(events set, events some) noexcept {
    return (set & some) == some;
}

namespace detail {

class readiness_leaf : public toadstone::detail::io_op {
public:
    readiness_leaf(int fd, events wanted) noexcept : fd_(fd), wanted_(wanted) {}
    [[nodiscard]] bool await_ready() noexcept {
        return !can_be_waited_for() && may_complete_at_once();
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) start();
    }
    events await_resume() const;

private:
    void fill(io_uring_sqe& entry) noexcept override;
    void start() noexcept;
    [[nodiscard]] bool can_be_waited_for() const noexcept;

    int fd_;
    events wanted_;
};

using readiness_operation = toadstone::detail::operation<readiness_leaf, int, events>;

} // namespace detail

/// Waits until a descriptor is ready for one of `wanted`: how a C library with a non-blocking
/// descriptor of its own joins in (libpq, hiredis, libcurl, c-ares). Nothing is read, written
/// or changed, the descriptor stays its owner's. A file on a disk is always ready.
///
/// Returns: what it is ready for, of `wanted`; `error` and `hang_up` also where nobody asked.
///     Ready means that the next call does not wait, not that it succeeds.
/// Errors: std::system_error, "wait for descriptor 7: Bad file descriptor";
///     std::invalid_argument where nothing is wanted, or what is no event.
/// Cancellation: a cancellation point. The kernel is asked to end the wait, and has ended it
///     when the task is torn down: nothing stays armed. An event that came first is delivered.
/// Threads: any number of tasks wait on one descriptor, on any workers; one event may wake
///     all of them.
/// Lifetime: the descriptor stays open until this returns or is torn down. Closing it does not
///     end the wait, and its number may then be another file's.
/// Source: io_uring_prep_poll_add(3), one shot.
[[nodiscard]] inline detail::readiness_operation readiness(int fd, events wanted) noexcept {
    return detail::readiness_operation(fd, wanted);
}

} // namespace toadstone::io

#endif
