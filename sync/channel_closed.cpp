// Why a channel ends.
#include <toadstone/sync/channel_closed.hpp>

#include <toadstone/runtime/detail/cause_story.hpp>
#include <toadstone/runtime/detail/context.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace toadstone::sync::detail {

poison_cause failure_by(std::exception_ptr error, std::source_location where) {
    auto cause = std::make_shared<toadstone::detail::cause_state>();
    cause->object = "channel";
    cause->kind = poison_kind::exception;
    cause->during = "and said so at";
    cause->locked_at = where;
    cause->when = std::chrono::system_clock::now();
    if (const auto* task = toadstone::detail::current_context()) {
        cause->task_id = task->id();
        cause->task_name = task->name();
    }
    cause->explain(toadstone::detail::explained_by(error));
    return poison_cause(std::move(cause));
}

void throw_closed(const poison_cause& cause) {
    if (cause) throw poison_error(cause);
    throw channel_closed();
}

} // namespace toadstone::sync::detail
