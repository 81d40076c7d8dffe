// Counting a latch down.
#include <toadstone/sync/latch.hpp>

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::sync {

// Acquire: whoever brings it to zero passes on what the others have published.
void latch::count_down(std::size_t by) {
    std::size_t left = count_.load(std::memory_order_relaxed);
    do {
        if (by > left) {
            toadstone::detail::throw_misuse("a latch is counted down to zero, not below");
        }
    } while (!count_.compare_exchange_weak(left, left - by, std::memory_order_acq_rel,
                                           std::memory_order_relaxed));
    if (left == by && by != 0) core_.set();
}

} // namespace toadstone::sync
