// Letting a local mutex go in the middle of a section, and having it again.
#include <toadstone/sync/detail/local_open_section.hpp>

namespace toadstone::sync::detail {

void local_open_section::prepare(toadstone::detail::context& task, const char* rule) {
    mutex_ = guard_->mutex();
    if (!mutex_) toadstone::detail::throw_misuse(rule);
    if (mutex_->defers()) static_cast<void>(task.extras());
    task_ = &task;
}

void local_open_section::spare_guard(bool stops) noexcept {
    const toadstone::detail::context* const holder = task_->holder_of(guard_);
    if (holder == task_) {
        if (stops || task_->should_stop()) section_->section.consistent = true;
    } else if (!holder || holder->requested()) {
        set_untouched();
    }
}

void local_open_section::close_healthy() {
    close();
    if (!mutex_->is_poisoned()) [[likely]]
        return;
    const poison_cause cause = mutex_->cause();
    guard_->release_clean();
    throw poison_error(cause);
}

} // namespace toadstone::sync::detail
