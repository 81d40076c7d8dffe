// Entering, leaving, and waiting for the last to leave.
#include <toadstone/io/detail/in_use.hpp>

#include <toadstone/runtime/executor.hpp>

namespace toadstone::io::detail {
namespace {

// Set by a closer that waits; whoever leaves last takes it out and wakes the closer.
constexpr std::uint32_t waiting = 0x80000000;

} // namespace

bool in_use::enter(std::uint32_t what) noexcept {
    if (what >= one_more) {
        word_.fetch_add(what, std::memory_order_acquire); // (A)
        return true;
    }
    return !(word_.fetch_or(what, std::memory_order_acquire) & what); // (A)
}

void in_use::leave(std::uint32_t what) noexcept {
    std::uint32_t before = word_.load(std::memory_order_relaxed);
    std::uint32_t after = 0;
    do {
        after = before - what;
        if (after == (waiting | closing)) after = closing;
    } while (!word_.compare_exchange_weak(before, after, std::memory_order_acq_rel, // (R), (A)
                                          std::memory_order_relaxed));
    // Whoever takes `waiting` out wakes the closer. Neither the closer nor *this can be gone:
    // close() waits for exactly this call.
    if ((before & waiting) && !(after & waiting)) {
        toadstone::detail::context* const closer = closer_;
        closer->home().schedule(*closer);
    }
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
        if (of_->word_.compare_exchange_weak(before, before | waiting,
                                             std::memory_order_acq_rel, // (R) closer_
                                             std::memory_order_acquire)) {
            return;
        }
    }
    ctx_->home().push(*ctx_);
}

} // namespace toadstone::io::detail
