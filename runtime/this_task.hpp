// this_task: who is running here.
#ifndef TOADSTONE_RUNTIME_THIS_TASK_HPP
#define TOADSTONE_RUNTIME_THIS_TASK_HPP

#include <toadstone/runtime/cancel.hpp>

#include <chrono>
#include <cstdint>
#include <string_view>

namespace toadstone::this_task {

/// The id of the logical task that runs on this thread; 0 on a plain thread.
[[nodiscard]] std::uint64_t id() noexcept;

/// Its name; empty if it has none. Valid while the task lives.
[[nodiscard]] std::string_view name() noexcept;

/// A token that is cancelled when this task is asked to stop (inside a boundary: when the
/// inside is). For handing the request to code that the runtime does not know. Empty on a plain
/// thread.
[[nodiscard]] cancellation_token token();

/// The time by which this task's sleeps and deadlines go: std::chrono::steady_clock, except in
/// a simulation, which has a clock of its own. Compute with this one whatever is to agree with
/// them. On a plain thread, steady_clock.
[[nodiscard]] std::chrono::steady_clock::time_point now() noexcept;

} // namespace toadstone::this_task

#endif
