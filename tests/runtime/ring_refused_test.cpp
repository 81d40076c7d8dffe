// io_uring_enter() that fails for good in a way that passes by itself as a rule: no worker
// spins over it, and each goes on when it has passed.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include "support/capture.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <iterator>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace toadstone;
using namespace std::chrono_literals;

namespace {

/// The real kernel, with a clock of its own, that may refuse to be entered.
class refusing_kernel final : public detail::kernel {
public:
    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override {
        return detail::real_kernel().setup(entries, ring, params);
    }
    void teardown(io_uring& ring) noexcept override { detail::real_kernel().teardown(ring); }
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override {
        if (error == 0) {
            return detail::real_kernel().enter(ring, to_submit, min_complete, flags, wait);
        }
        ++refused;
        time += call_takes;
        return -error;
    }
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override {
        return detail::real_kernel().enroll(ring, opcode, argument, count);
    }
    [[nodiscard]] std::chrono::steady_clock::time_point now() noexcept override { return time; }
    std::uint64_t entropy() noexcept override { return 4; }
    void pause(std::chrono::nanoseconds how_long) noexcept override {
        ++pauses;
        longest = std::max(longest, how_long);
        time += how_long;
    }

    int error = 0;
    std::chrono::nanoseconds call_takes = 1us;
    std::chrono::steady_clock::time_point time{1h};
    std::chrono::nanoseconds longest{};
    int refused = 0;
    int pauses = 0;
};

} // namespace

TEST_CASE("ring: a refusal for good does not spin: ever longer pauses, five milliseconds at "
          "most") {
    const int error = GENERATE(EAGAIN, EBUSY, EINTR);
    refusing_kernel kernel;
    detail::worker worker(kernel, {.entries = 8, .completions = 64}, 8, nullptr, 0);
    worker.attach();
    const auto begun = kernel.time;
    kernel.error = error;
    for (int turn = 0; turn < 1000; ++turn) worker.step(true);
    CHECK(kernel.refused == 1000);
    // A thousand turns take some seconds of sleep.
    CHECK(kernel.time - begun > 4s);
    CHECK(kernel.longest == 5ms);
    CHECK(kernel.pauses < 1000); // the first ones were free

    SECTION("and when it has passed, the worker goes on at full speed") {
        kernel.error = 0;
        const int pauses = kernel.pauses;
        for (int turn = 0; turn < 10; ++turn) worker.step(false);
        CHECK(kernel.pauses == pauses);
        kernel.error = error;
        for (int turn = 0; turn < 16; ++turn) worker.step(true);
        CHECK(kernel.pauses == pauses);
        kernel.error = 0;
    }
    kernel.error = 0;
    worker.detach();
}

TEST_CASE("ring: signals now and then are no storm") {
    refusing_kernel kernel;
    kernel.call_takes = 1ms; // a timer's signal each millisecond
    detail::worker worker(kernel, {.entries = 8, .completions = 64}, 8, nullptr, 0);
    worker.attach();
    kernel.error = EINTR;
    for (int turn = 0; turn < 1000; ++turn) worker.step(true);
    CHECK(kernel.pauses == 0);
    kernel.error = 0;
    worker.detach();
}

TEST_CASE("ring: a process whose io_uring_enter says EAGAIN for good leaves its core alone") {
    const auto end = tests::in_child([] {
        runtime here({.workers = 2});
        sock_filter program[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const sock_fprog whole{std::size(program), program};
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            ::syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                      &whole) != 0) {
            return 60;
        }
        // The workers sleep in the kernel; this wakes them into the filter. Tasks still run.
        const auto slept = [](std::chrono::milliseconds how_long) -> task<int> {
            co_await sleep_for(how_long);
            co_return 0;
        };
        const std::clock_t before = std::clock();
        here.block_on(slept(400ms));
        const double used =
            static_cast<double>(std::clock() - before) / static_cast<double>(CLOCKS_PER_SEC);
        std::fprintf(stderr, "%.0f ms of processor time\n", used * 1000);
        std::fflush(nullptr);
        ::_exit(used < 0.2 ? 0 : 1); // the runtime's end would wait for the ring
    });
    INFO(end.err);
    CHECK(end.code == 0);
}
