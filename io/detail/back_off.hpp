// back_off: a pause before an operation is tried again, which ends early when its object is
// closed.
#ifndef TOADSTONE_IO_DETAIL_BACK_OFF_HPP
#define TOADSTONE_IO_DETAIL_BACK_OFF_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/limit_timer.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>

#include <coroutine>

namespace toadstone::io::detail {

class back_off_leaf;

/// The pause of one object, of which there is one at a time. Empty while the object is unused,
/// so that it need not move.
///
/// Threads: one worker.
class pause_of {
public:
    pause_of() noexcept = default;
    pause_of(const pause_of&) = delete;
    pause_of& operator=(const pause_of&) = delete;

    /// Ends it now, if there is one.
    void end() noexcept;

private:
    friend class back_off_leaf;
    back_off_leaf* now_ = nullptr;
};

/// Cancellation: a cancellation point.
class back_off_leaf : public toadstone::detail::leaf, toadstone::detail::limit_timer {
public:
    back_off_leaf(pause_of& of, toadstone::detail::time_limit limit) noexcept
        : limit_timer(limit), of_(&of) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) begin();
    }
    void await_resume() const noexcept {}

    bool cancel(toadstone::cancel_reason, bool) noexcept override;
    bool taken() noexcept override { return true; } // nothing is lost with it

private:
    friend class pause_of;
    void begin() noexcept;
    void time_up() noexcept override;

    pause_of* of_;
};
using back_off_operation =
    toadstone::detail::called_from<back_off_leaf, pause_of&, toadstone::detail::time_limit>;

} // namespace toadstone::io::detail

#endif
