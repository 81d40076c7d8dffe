// Stacks for fibers: mapped, with a guard below, and kept per thread for the next fiber.
#ifndef TOADSTONE_RUNTIME_FIBER_STACK_HPP
#define TOADSTONE_RUNTIME_FIBER_STACK_HPP

#include <cstddef>
#include <cstdint>

namespace toadstone::detail {

/// A stack that somebody owns by hand. Grows downwards from `top`; below `top - size` lies the
/// guard, where every access faults.
struct fiber_stack {
    std::byte* top = nullptr;
    std::size_t size = 0; ///< usable bytes, whole pages
};

/// At least `size` usable bytes. Throws std::system_error, which says what to do, if the system
/// gives none.
[[nodiscard]] fiber_stack take_fiber_stack(std::size_t size);

/// Back to the thread that calls, which keeps up to 16 MiB of stacks and unmaps what is more.
void give_back_fiber_stack(fiber_stack stack) noexcept;

/// Stacks that were taken and not given back, over all threads. Exact when no task is running.
[[nodiscard]] std::int64_t live_fiber_stacks() noexcept;

/// Bytes of address space that this thread keeps for fibers to come.
[[nodiscard]] std::size_t kept_fiber_stack_bytes() noexcept;

} // namespace toadstone::detail

#endif
