// The kernel seam: every system call of the loop goes through this small table.
#ifndef TOADSTONE_RUNTIME_URING_KERNEL_HPP
#define TOADSTONE_RUNTIME_URING_KERNEL_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <liburing.h>

namespace toadstone::detail {

/// What the loop asks of the operating system. A simulated kernel replaces it: it reads the
/// same submission memory and writes the same completions. Production pays one indirect call
/// per batch of submissions.
///
/// Results are those of the system calls: -errno on failure.
class kernel {
public:
    /// Makes a ring and fills `ring` as liburing's set-up does. The real one waits a little
    /// for memory that comes back late.
    virtual int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept = 0;
    virtual void teardown(io_uring& ring) noexcept = 0;
    /// io_uring_enter(2), always with IORING_ENTER_EXT_ARG's argument when `wait` is not null.
    virtual int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                      const __kernel_timespec* wait) noexcept = 0;
    /// io_uring_register(2).
    virtual int enroll(io_uring& ring, unsigned opcode, void* argument,
                       unsigned count) noexcept = 0;
    [[nodiscard]] virtual std::chrono::steady_clock::time_point now() noexcept = 0;
    [[nodiscard]] virtual std::chrono::system_clock::time_point calendar_now() noexcept {
        return std::chrono::system_clock::now();
    }
    /// now() is the time of this machine, and passes by itself.
    [[nodiscard]] virtual bool real_time() const noexcept { return false; }
    virtual std::uint64_t entropy() noexcept = 0;
    /// Sleeps, for a caller that the kernel does not serve just now. A simulated kernel need
    /// not: its time is its own.
    virtual void pause(std::chrono::nanoseconds) noexcept {}

protected:
    ~kernel() = default;
};

/// The operating system itself.
[[nodiscard]] kernel& real_kernel() noexcept;

/// Every opcode that toadstone submits. One list serves the start-up probe, a restriction list,
/// a simulator and a conformance test.
inline constexpr std::array<std::uint8_t, 15> opcodes_in_use = {
    IORING_OP_NOP,      IORING_OP_READ,     IORING_OP_WRITE,        IORING_OP_FSYNC,
    IORING_OP_OPENAT,   IORING_OP_CLOSE,    IORING_OP_ACCEPT,       IORING_OP_CONNECT,
    IORING_OP_RECV,     IORING_OP_SEND,     IORING_OP_ASYNC_CANCEL, IORING_OP_POLL_ADD,
    IORING_OP_RENAMEAT, IORING_OP_UNLINKAT, IORING_OP_MKDIRAT,
};

[[nodiscard]] const char* opcode_name(std::uint8_t opcode) noexcept;

} // namespace toadstone::detail

#endif
