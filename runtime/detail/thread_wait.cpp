// Refusing to block a worker.
#include <toadstone/runtime/detail/thread_wait.hpp>

#include <toadstone/runtime/executor.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>

#if TOADSTONE_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace toadstone::detail {

thread_local constinit per_thread<fiber_host*> fiber_here = nullptr;

void refuse_to_block_worker(const char* what, const char* instead) {
    if (!executor::current()) return;
    throw std::logic_error(std::string(what) +
                           " would block a worker and every task on it: co_await " + instead +
                           " instead");
}

bool task_memory::holds(const void* object) const noexcept {
#if TOADSTONE_ASAN
    if (fake_stack) {
        void* const at = const_cast<void*>(object);
        void* const meant = __asan_addr_is_in_fake_stack(fake_stack, at, nullptr, nullptr);
        if (meant) object = meant;
    }
#endif
    const auto offset =
        reinterpret_cast<std::uintptr_t>(object) - reinterpret_cast<std::uintptr_t>(begin);
    return offset < size;
}

fiber_host* fiber_that_waits(const char* what, const char* instead) {
    fiber_host* const fiber = fiber_here;
    if (!fiber || fiber->unwinding()) refuse_to_block_worker(what, instead);
    return fiber;
}

} // namespace toadstone::detail
