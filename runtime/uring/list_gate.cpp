// The looking side of a gate, which runs the barrier for both.
#include <toadstone/runtime/detail/list_gate.hpp>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace toadstone::detail {
namespace {

bool membarrier(int command) noexcept {
    return ::syscall(SYS_membarrier, command, 0U, 0) == 0;
}

bool membarrier_usable() noexcept {
    static const bool usable = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
                               membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    return usable;
}

} // namespace

list_gate::list_gate() noexcept : light_(membarrier_usable()) {}

void list_gate::wait_for_looking() noexcept {
    changing_.store(false, std::memory_order_release);
    while (looking_.load(std::memory_order_acquire)) yield_thread();
}

list_gate::look::look(list_gate& gate) noexcept : gate_(gate), alone_(gate.looker_) {
    gate_.looking_.store(true, std::memory_order_seq_cst);
    if (gate_.light_) sound_ = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    while (gate_.changing_.load(std::memory_order_seq_cst)) yield_thread(); // (A)
}

list_gate::look::~look() {
    gate_.looking_.store(false, std::memory_order_release); // (R)
}

} // namespace toadstone::detail
