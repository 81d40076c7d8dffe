// How a wait for a completion is cancelled, and what it throws when no answer comes.
#include <toadstone/runtime/detail/completion_wait.hpp>

#include <toadstone/runtime/completion.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>

#include <stdexcept>

namespace toadstone::detail {

// What is claimed has an answer, which counts. One that comes while the user's function runs,
// or in spite of what that says, counts, too.
bool completion_wait::withdraw(cancel_reason) noexcept {
    if (core_->is_claimed()) return false;
    try {
        if (!will_not_come()) return false;
    } catch (...) {
        report_lost_failure(*ctx_, "on_cancel()", std::current_exception());
        return false;
    }
    return core_->claim();
}

void completion_wait::throw_broken(std::source_location where) {
    throw broken_completion("the last completion was dropped unanswered: nobody is left to "
                            "answer the co_await at " +
                            describe_place(where));
}

std::exception_ptr failed_with_nothing() noexcept {
    return std::make_exception_ptr(
        std::logic_error("completion::fail() was given no exception"));
}

} // namespace toadstone::detail
