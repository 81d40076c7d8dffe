// The real kernel, for tests that change one of its calls.
#ifndef TOADSTONE_TESTS_SUPPORT_FORWARDING_KERNEL_HPP
#define TOADSTONE_TESTS_SUPPORT_FORWARDING_KERNEL_HPP

#include <toadstone/runtime/uring/kernel.hpp>

#include <chrono>
#include <cstdint>

namespace toadstone::tests {

class forwarding_kernel : public detail::kernel {
public:
    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override {
        return detail::real_kernel().setup(entries, ring, params);
    }
    void teardown(io_uring& ring) noexcept override { detail::real_kernel().teardown(ring); }
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override {
        return detail::real_kernel().enter(ring, to_submit, min_complete, flags, wait);
    }
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override {
        return detail::real_kernel().enroll(ring, opcode, argument, count);
    }
    std::chrono::steady_clock::time_point now() noexcept override {
        return std::chrono::steady_clock::now();
    }
    std::uint64_t entropy() noexcept override { return 4; }
};

} // namespace toadstone::tests

#endif
