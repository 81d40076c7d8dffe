// Letting a lock go in the middle of a section, and having it again.
#include <toadstone/sync/detail/open_section.hpp>

#include <toadstone/runtime/executor.hpp>

namespace toadstone::sync::detail {

namespace {

// Nobody waits for himself: whoever has opened his section has let go of the mutex.
constexpr std::uint64_t nobody = ~std::uint64_t{0};

} // namespace

void open_section::prepare(toadstone::detail::context& task, const char* rule) {
    if (!guard_->mutex()) toadstone::detail::throw_misuse(rule);
    guard_->check_place();
    if (guard_->defers()) static_cast<void>(task.extras());
    mutex_ = guard_->mutex();
    task_ = &task;
}

bool open_section::lock_again() noexcept {
    return mutex_->acquire_or_queue(*this, asker(task_->serial(), nobody));
}

void open_section::wake() noexcept {
    task_->home().schedule(*task_);
}

void open_section::spare_guard(bool stops) noexcept {
    const toadstone::detail::context* const holder = task_->holder_of(guard_);
    if (holder == task_) {
        if (stops || task_->should_stop()) guard_->set_consistent(true);
    } else if (!holder || holder->requested()) {
        guard_->set_untouched();
    }
}

void open_section::close_healthy() {
    close();
    if (!mutex_->is_poisoned()) [[likely]]
        return;
    const poison_cause cause = mutex_->cause();
    guard_->release_clean();
    throw poison_error(cause);
}

} // namespace toadstone::sync::detail
