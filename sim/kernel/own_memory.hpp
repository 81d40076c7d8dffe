// Which allocations are the simulation's own, and never made to fail.
#ifndef TOADSTONE_SIM_KERNEL_OWN_MEMORY_HPP
#define TOADSTONE_SIM_KERNEL_OWN_MEMORY_HPP

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::sim::detail {

/// While one lives, what this thread allocates belongs to the simulation.
class own_memory {
public:
    own_memory() noexcept { ++depth_; }
    ~own_memory() { --depth_; }
    own_memory(const own_memory&) = delete;
    own_memory& operator=(const own_memory&) = delete;
    [[nodiscard]] static bool in_use() noexcept { return depth_ > 0; }

private:
    static thread_local constinit unsigned depth_;
};

} // namespace toadstone::sim::detail

#endif
