// Beginning a wait for code outside of the library, and asking for its end.
#include <toadstone/runtime/detail/outside_wait.hpp>

#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/task.hpp>

#include <utility>

namespace toadstone::detail {

void outside_wait::begin() noexcept {
    describe(*ctx_, where_, ctx_->home().now_or_later());
    if (!stoppable_) list();
    try {
        start();
    } catch (...) {
        start_failed();
    }
    started_ = true;
    // What the code that starts has asked for: only now there is something to withdraw.
    // It is not queued for that: the loop, which it comes back to, tears it down.
    if (!asked_early_ || !ctx_->should_stop()) return;
    if (cancel(ctx_->reason(), ctx_->forced())) ctx_->stop_for(ctx_->reason());
}

// Whatever an answer that has come all the same would say, this is what the task has to know.
void outside_wait::start_failed() noexcept {
    error_ = std::current_exception();
    explain_causes(error_);
    if (!nothing_comes()) return;
    over_ = true;
    ctx_->home().push(*ctx_);
}

bool outside_wait::cancel(cancel_reason reason, bool) noexcept {
    if (!started_) {
        asked_early_ = true;
        return false;
    }
    if (asked_ || over_) return false;
    asked_ = true;
    const slice_scope nobody(nullptr);
    if (withdraw(reason)) return true;
    list();
    return false;
}

void outside_wait::end_wait() noexcept {
    ctx_->home().schedule(*ctx_);
}

void outside_wait::list() noexcept {
    if (!std::exchange(listed_, true)) ctx_->home().unstoppable().add(*this);
}

void outside_wait::forget() noexcept {
    if (std::exchange(listed_, false)) ctx_->home().unstoppable().remove(*this);
}

void outside_wait::rethrow() {
    std::rethrow_exception(std::exchange(error_, nullptr));
}

} // namespace toadstone::detail
