// Looking up the task that runs on this thread.
#include <toadstone/runtime/this_task.hpp>

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/outcome.hpp>

namespace toadstone::this_task {

std::uint64_t id() noexcept {
    const detail::context* task = detail::current_context();
    return task ? task->id() : 0;
}

std::string_view name() noexcept {
    const detail::context* task = detail::current_context();
    return task ? task->name() : std::string_view();
}

cancellation_token token() {
    detail::context* task = detail::current_context();
    return task ? cancellation_token(task->token_state()) : cancellation_token();
}

bool stop_requested() noexcept {
    const detail::context* task = detail::current_context();
    return task && task->stop_requested();
}

void throw_if_cancelled() {
    const detail::context* task = detail::current_context();
    if (!task) return;
    if (const auto reason = task->why_stop()) throw detail::stopped_by_request(*reason);
}

std::optional<std::chrono::steady_clock::time_point> current_deadline() noexcept {
    const detail::context* task = detail::current_context();
    return task ? task->deadline() : std::nullopt;
}

std::chrono::steady_clock::time_point now() noexcept {
    const detail::executor* worker = detail::executor::current();
    return worker ? worker->now() : std::chrono::steady_clock::now();
}

std::chrono::system_clock::time_point calendar_now() noexcept {
    const detail::executor* worker = detail::executor::current();
    return worker ? worker->calendar_now() : std::chrono::system_clock::now();
}

} // namespace toadstone::this_task
