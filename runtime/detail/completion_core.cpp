// Who of the senders and the waiter goes last, and how a wait ends without an answer.
#include <toadstone/runtime/detail/completion_core.hpp>

namespace toadstone::detail {

void completion_core::drop_sender() noexcept {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    std::uint32_t next = 0;
    bool breaks = false;
    do {
        breaks = seen < 2 * sender && !(seen & claimed);
        // In one step: without a sender, and claimed by somebody else, it may be freed.
        next = (seen - sender) | (breaks ? claimed : 0);
    } while (!word_.compare_exchange_weak(seen, next, std::memory_order_acq_rel,
                                          std::memory_order_relaxed));
    if (breaks) {
        broken_ = true;
        tell(); // the waiter frees it
    } else if (next == claimed) {
        delete this;
    }
}

void completion_core::drop_waiter() noexcept {
    const std::uint32_t before = word_.fetch_sub(waiting, std::memory_order_acq_rel);
    if (before == (claimed | waiting)) delete this;
}

} // namespace toadstone::detail
