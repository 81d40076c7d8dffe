// this_task: who is running here.
#ifndef TOADSTONE_RUNTIME_THIS_TASK_HPP
#define TOADSTONE_RUNTIME_THIS_TASK_HPP

#include <toadstone/runtime/cancel.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace toadstone::this_task {

/// The id of the logical task that runs on this thread; 0 on a plain thread.
[[nodiscard]] std::uint64_t id() noexcept;

/// Its name; empty if it has none. Valid while the task lives.
[[nodiscard]] std::string_view name() noexcept;

/// A token that is cancelled when this task is asked to stop (inside a boundary: when the
/// inside is, or what encloses it, up to a shield). For handing the request to code that the
/// runtime does not know. Empty on a plain thread.
///
/// It is cancelled before the call that makes the request returns, also while the worker of the
/// task is busy, and while a guard defers the task's own end.
///
/// Errors: std::bad_alloc.
/// Threads: its callbacks run on the thread that makes the request, which may be any. The
///     destructor of a callback waits for a call that another thread is making; one that blocks
///     a worker meanwhile delays every task there.
[[nodiscard]] cancellation_token token();

/// True when this task, or anything that encloses the place that asks - a boundary, a scope's
/// owner on whatever worker, the runtime that shuts down -, has been asked to stop. Requests
/// beyond a shield are not seen, but for the force of a shutdown; those that a guard defers
/// are. False on a plain thread. For loops that compute without a co_await: a request is seen
/// as soon as the call that makes it has returned.
///
/// Cancellation: no cancellation point. co_await checkpoint() to end the task, or return.
/// Shape: one load for each boundary around; no allocation.
[[nodiscard]] bool stop_requested() noexcept;

/// Throws task_cancelled, with the reason, where a cancellation point would end the task: it,
/// or anything that encloses the place that asks, has been asked to stop, and neither a shield
/// nor a guard defers that. For functions that compute and are no coroutines. On a plain thread
/// it does nothing.
///
/// Errors: task_cancelled; std::bad_alloc.
/// Cancellation: an exception up to the outermost frame of whatever was asked to stop - the
///     task, the inside of a boundary -, which then counts as cancelled for that reason: its
///     joiner learns cancelled(reason), with_timeout() throws timeout_error. Whoever catches it
///     and goes on is stopped at the next cancellation point.
/// Poisoning: a guard that it passes poisons, by an exception.
/// Shape: one load for each boundary around, and one for each guard's state; no allocation
///     unless it throws.
void throw_if_cancelled();

/// The first deadline of all with_timeout(), with_deadline() and their kin that enclose the
/// place that asks, the owners of its scopes included, up to a shield; nothing if there is
/// none. What remains of it is for code that has a time limit of its own to give to somebody
/// else.
///
/// Units: by now(). That of a length is the tick of a microsecond at which it fires, one of
///     system_clock what it is by the calendar of this moment; one that was past when it began
///     is now.
/// Shape: one virtual call for each boundary around; no allocation. The boundaries pay nothing.
[[nodiscard]] std::optional<std::chrono::steady_clock::time_point> current_deadline() noexcept;

/// The time by which this task's sleeps and deadlines go: std::chrono::steady_clock, except in
/// a simulation, which has a clock of its own. Compute with this one whatever is to agree with
/// them. On a plain thread, steady_clock.
[[nodiscard]] std::chrono::steady_clock::time_point now() noexcept;

/// The calendar by which deadlines of system_clock go: std::chrono::system_clock, except in a
/// simulation, whose world begins on 1970-01-02. On a plain thread, system_clock.
[[nodiscard]] std::chrono::system_clock::time_point calendar_now() noexcept;

} // namespace toadstone::this_task

#endif
