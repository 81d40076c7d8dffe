// Letting a local mutex go in the middle of a section, and having it again.
#include <toadstone/sync/detail/local_open_section.hpp>

#include <toadstone/sync/detail/open_section.hpp>
#include <toadstone/sync/would_deadlock.hpp>

namespace toadstone::sync::detail {

void local_open_section::prepare(toadstone::detail::context& task, const char* rule) {
    mutex_ = guard_->mutex();
    if (!mutex_) toadstone::detail::throw_misuse(rule);
    task_ = &task;
}

void local_open_section::find_holder() {
    holder_ = &task_->holder_or_self(guard_);
    if (mutex_->defers()) static_cast<void>(holder_->extras());
}

void local_open_section::spare_guard(bool stops) noexcept {
    const toadstone::detail::context* const holder = task_->holder_of(guard_);
    if (holder == task_) {
        if (stops || task_->should_stop()) section_->section.consistent = true;
    } else if (!holder || holder->requested()) {
        set_untouched();
    }
}

void local_open_section::close_after(const std::exception_ptr& failure) {
    set_untouched();
    try {
        close_healthy();
    } catch (...) {
        nest_failure(failure);
    }
}

void local_open_section::close_healthy() {
    if (!locked()) {
        throw would_deadlock(mutex_->name(),
                             "the task that asks for it, or one that waits for that");
    }
    close();
    if (!mutex_->is_poisoned()) [[likely]]
        return;
    const poison_cause cause = mutex_->cause();
    guard_->release_clean();
    throw poison_error(cause);
}

} // namespace toadstone::sync::detail
