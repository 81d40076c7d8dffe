// Letting a lock go in the middle of a section, and having it again.
#include <toadstone/sync/detail/open_section.hpp>

#include <toadstone/runtime/executor.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#include <exception>

namespace toadstone::sync::detail {

void open_section::prepare(toadstone::detail::context& task, const char* rule) {
    if (!guard_->mutex()) toadstone::detail::throw_misuse(rule);
    guard_->check_place();
    mutex_ = guard_->mutex();
    task_ = &task;
}

void open_section::find_holder() {
    holder_ = &task_->holder_or_self(guard_);
    if (guard_->defers()) static_cast<void>(holder_->extras());
}

bool open_section::lock_again() noexcept {
    return ask_for(*mutex_, *this, *task_);
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

void open_section::close_after(const std::exception_ptr& failure) {
    try {
        close_healthy();
    } catch (...) {
        nest_failure(failure);
    }
    guard_->set_untouched();
}

void nest_failure(const std::exception_ptr& failure) {
    const auto nest = [&](const auto& error) {
        const auto copy = error;
        try {
            std::rethrow_exception(failure);
        } catch (...) {
            std::throw_with_nested(copy);
        }
    };
    try {
        throw;
    } catch (const poison_error& error) {
        nest(error);
    } catch (const would_deadlock& error) {
        nest(error);
    }
    std::terminate(); // there are no others
}

void open_section::close_healthy() {
    if (!locked()) throw_failure(*this, *mutex_, *task_);
    close();
    if (!mutex_->is_poisoned()) [[likely]]
        return;
    const poison_cause cause = mutex_->cause();
    guard_->release_clean();
    throw poison_error(cause);
}

} // namespace toadstone::sync::detail
