// abort_on_drop: a handle whose task does not outlive it unattended.
#ifndef TOADSTONE_RUNTIME_ABORT_ON_DROP_HPP
#define TOADSTONE_RUNTIME_ABORT_ON_DROP_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/spawn.hpp>

#include <cstdint>
#include <source_location>
#include <utility>

namespace toadstone {

/// A join_handle that asks its task to stop when it is destroyed, or assigned to: by a return,
/// an exception, or the teardown of the task that has it. The task then ends by itself, and is
/// not waited for; a task_scope waits.
///
///     abort_on_drop feed(spawn(reads_prices(source)));
///     ...
///     const int total = co_await feed;     // as of the handle
///
/// Errors: as join_handle.
/// Cancellation: co_await as of the handle: what cancels the joiner ends the join, and then the
///     task, as the joiner's frame goes.
/// Threads: as join_handle. Destroyed on any thread.
template <class T = void>
class [[nodiscard("dropped at once it cancels its task at once")]] abort_on_drop {
public:
    /// Of no task.
    abort_on_drop() = default;
    /// `reason` is what the task is asked with.
    explicit abort_on_drop(join_handle<T>&& handle,
                           cancel_reason reason = cancel_reason::abandoned) noexcept
        : handle_(std::move(handle)), reason_(reason) {}
    abort_on_drop(abort_on_drop&& other) noexcept = default;
    abort_on_drop& operator=(abort_on_drop&& other) noexcept {
        if (this != &other) {
            handle_.cancel(reason_);
            handle_ = std::move(other.handle_);
            reason_ = other.reason_;
        }
        return *this;
    }
    ~abort_on_drop() { handle_.cancel(reason_); }

    /// Gives the handle away: dropping that detaches the task, as ever.
    [[nodiscard]] join_handle<T> release() noexcept { return std::move(handle_); }

    /// As join_handle::cancel().
    void cancel(cancel_reason reason = cancel_reason::requested) noexcept {
        handle_.cancel(reason);
    }
    /// As join_handle::done().
    [[nodiscard]] bool done() const noexcept { return handle_.done(); }
    /// It has a task: false after a move, join or release.
    [[nodiscard]] bool valid() const noexcept { return handle_.valid(); }
    /// As join_handle::id().
    [[nodiscard]] std::uint64_t id() const noexcept { return handle_.id(); }
    /// As join_handle::outcome(). Cancellation: as that of a join.
    [[nodiscard]] auto outcome() noexcept { return handle_.outcome(); }

    /// For the library.
    auto make_awaiter(detail::context& ctx, std::source_location where) {
        return handle_.make_awaiter(ctx, where);
    }

private:
    join_handle<T> handle_;
    cancel_reason reason_ = cancel_reason::abandoned;
};

} // namespace toadstone

#endif
