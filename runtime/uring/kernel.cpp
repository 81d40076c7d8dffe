// The real kernel behind the seam.
#include <toadstone/runtime/uring/kernel.hpp>

#include <toadstone/runtime/detail/above_standard.hpp>
#include <toadstone/runtime/uring/ring_memory.hpp>

#include <cerrno>
#include <ctime>
#include <random>

#include <sys/syscall.h>
#include <unistd.h>

namespace toadstone::detail {
namespace {

class system_kernel final : public kernel {
public:
    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override {
        const io_uring_params asked = params;
        for (bool waited = false;; waited = true) {
            const int result = io_uring_queue_init_params(entries, &ring, &params);
            if (waited && result == 0) late_memory::came();
            if (result == 0) ring.ring_fd = ring.enter_ring_fd = above_standard(ring.ring_fd);
            if (result != -ENOMEM) return result;
            if (!late_memory::may_come(ring_bytes(entries, asked.cq_entries), now())) {
                return result;
            }
            pause(std::chrono::milliseconds(1));
            params = asked;
        }
    }

    void teardown(io_uring& ring) noexcept override { io_uring_queue_exit(&ring); }

    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override {
        io_uring_getevents_arg argument{};
        argument.ts = reinterpret_cast<std::uintptr_t>(wait);
        const long done =
            syscall(__NR_io_uring_enter, ring.ring_fd, to_submit, min_complete,
                    wait ? flags | IORING_ENTER_EXT_ARG : flags, wait ? &argument : nullptr,
                    wait ? sizeof argument : std::size_t{0});
        return done < 0 ? -errno : static_cast<int>(done);
    }

    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override {
        // Debian 12's liburing declares some of its register helpers without exporting them.
        const long done =
            syscall(__NR_io_uring_register, ring.ring_fd, opcode, argument, count);
        return done < 0 ? -errno : static_cast<int>(done);
    }

    std::chrono::steady_clock::time_point now() noexcept override {
        return std::chrono::steady_clock::now();
    }
    bool real_time() const noexcept override { return true; }

    std::uint64_t entropy() noexcept override {
        static thread_local std::random_device source;
        return (std::uint64_t{source()} << 32) | source();
    }

    void pause(std::chrono::nanoseconds how_long) noexcept override {
        const auto count = how_long.count();
        const timespec time{.tv_sec = count / 1'000'000'000, .tv_nsec = count % 1'000'000'000};
        ::nanosleep(&time, nullptr); // a signal ends it early: one more try
    }
};

} // namespace

kernel& real_kernel() noexcept {
    static system_kernel the;
    return the;
}

const char* opcode_name(std::uint8_t opcode) noexcept {
    switch (opcode) {
    case IORING_OP_NOP:
        return "NOP";
    case IORING_OP_READ:
        return "READ";
    case IORING_OP_WRITE:
        return "WRITE";
    case IORING_OP_FSYNC:
        return "FSYNC";
    case IORING_OP_OPENAT:
        return "OPENAT";
    case IORING_OP_CLOSE:
        return "CLOSE";
    case IORING_OP_ACCEPT:
        return "ACCEPT";
    case IORING_OP_CONNECT:
        return "CONNECT";
    case IORING_OP_RECV:
        return "RECV";
    case IORING_OP_SEND:
        return "SEND";
    case IORING_OP_SEND_ZC:
        return "SEND_ZC";
    case IORING_OP_ASYNC_CANCEL:
        return "ASYNC_CANCEL";
    case IORING_OP_POLL_ADD:
        return "POLL_ADD";
    case IORING_OP_RENAMEAT:
        return "RENAMEAT";
    case IORING_OP_UNLINKAT:
        return "UNLINKAT";
    case IORING_OP_MKDIRAT:
        return "MKDIRAT";
    default:
        return "?";
    }
}

} // namespace toadstone::detail
