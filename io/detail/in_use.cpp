// Entering, leaving, and waiting for the last to leave.
#include <toadstone/io/detail/in_use.hpp>

#include <toadstone/runtime/executor.hpp>

namespace toadstone::io::detail {

void in_use::wake_closer() noexcept {
    toadstone::detail::context* const closer = closer_;
    closer->home().schedule(*closer);
}

closing_mark::closing_mark(in_use& of) noexcept : of_(&of) {
    const std::uint32_t before =
        of.word_.fetch_or(in_use::closing, std::memory_order_acquire); // (A) the last close
    if (before & in_use::closing) of_ = nullptr;
}

closing_mark::~closing_mark() {
    if (!of_) return;
    of_->word_.fetch_and(~in_use::closing, std::memory_order_release); // (R) what it closed
}

void idle_awaiter::wait() noexcept {
    of_->closer_ = ctx_;
    std::uint32_t before = of_->word_.load(std::memory_order_acquire); // (A) the others' doings
    while (before != in_use::closing) {
        if (of_->word_.compare_exchange_weak(before, before | in_use::waiting,
                                             std::memory_order_acq_rel, // (R) closer_
                                             std::memory_order_acquire)) {
            return;
        }
    }
    ctx_->home().push(*ctx_);
}

} // namespace toadstone::io::detail
