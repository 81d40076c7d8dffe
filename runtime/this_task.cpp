// Looking up the task that runs on this thread.
#include <toadstone/runtime/this_task.hpp>

#include <toadstone/runtime/detail/context.hpp>

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
    return task ? cancellation_token(task->shared_extras()) : cancellation_token();
}

} // namespace toadstone::this_task
