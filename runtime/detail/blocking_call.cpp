// Handing a function that blocks over, and taking its end home.
#include <toadstone/runtime/detail/blocking_call.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/executor.hpp>

#include <utility>

namespace toadstone::detail {

void blocking_call::submit() {
    service_ = ctx_->home().blocking();
    TOADSTONE_ASSERT(service_ != nullptr,
                     "a worker outside of a runtime has no threads for spawn_blocking()");
    try {
        service_->submit(*this);
    } catch (...) {
        ctx_->suspension_undone();
        throw;
    }
}

bool blocking_call::cancel(cancel_reason, bool) noexcept {
    return service_->withdraw(*this);
}

// As on any thread: no task runs here, and guards of the function are judged by its own
// exceptions.
void blocking_call::run() noexcept {
    const slice_scope nobody(nullptr);
    const thread_waited_for waited_for(*ctx_);
    invoke();
}

void blocking_call::finish() noexcept {
    ctx_->home().schedule(*ctx_);
}

void blocking_call::run_at_home() noexcept {
    ctx_->home().post(*this);
}

void blocking_call::run_posted() noexcept {
    run();
    finish();
}

void blocking_queue::push(blocking_call& call) noexcept {
    call.next_ = nullptr;
    call.previous_ = last_;
    (last_ ? last_->next_ : first_) = &call;
    last_ = &call;
    call.queued_ = true;
    ++size_;
}

blocking_call* blocking_queue::pop() noexcept {
    blocking_call* const oldest = first_;
    return oldest && remove(*oldest) ? oldest : nullptr;
}

bool blocking_queue::remove(blocking_call& call) noexcept {
    if (!std::exchange(call.queued_, false)) return false;
    (call.previous_ ? call.previous_->next_ : first_) = call.next_;
    (call.next_ ? call.next_->previous_ : last_) = call.previous_;
    --size_;
    return true;
}

} // namespace toadstone::detail
