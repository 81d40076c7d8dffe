// How often the loop enters the kernel and asks for the time, for what waits for a time.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <utility>

using namespace toadstone;
using namespace std::chrono_literals;
using clock_point = std::chrono::steady_clock::time_point;

namespace {

/// The real ring. Its clock is the machine's, or one that a wait moves on by its whole length.
class counting_kernel final : public detail::kernel {
public:
    explicit counting_kernel(bool real_time) : real_time_(real_time) {}
    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override {
        return detail::real_kernel().setup(entries, ring, params);
    }
    void teardown(io_uring& ring) noexcept override { detail::real_kernel().teardown(ring); }
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override {
        ++enters;
        if (!real_time_ && wait) {
            time_ +=
                std::chrono::seconds(wait->tv_sec) + std::chrono::nanoseconds(wait->tv_nsec);
            min_complete = 0;
            wait = nullptr;
        }
        return detail::real_kernel().enter(ring, to_submit, min_complete, flags, wait);
    }
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override {
        return detail::real_kernel().enroll(ring, opcode, argument, count);
    }
    clock_point now() noexcept override {
        ++readings;
        return real_time_ ? std::chrono::steady_clock::now() : time_;
    }
    std::uint64_t entropy() noexcept override { return 4; }

    unsigned enters = 0;
    unsigned readings = 0;

private:
    bool real_time_;
    clock_point time_{1h + 17us};
};

task<> stops_after(detail::worker& worker, task<> body) {
    co_await std::move(body);
    worker.stop();
}
/// Runs a task to its end in the loop of a worker of its own.
void run_on(counting_kernel& kernel, task<> body) {
    detail::worker worker(kernel, {.entries = 64, .completions = 1024}, 64, nullptr, 0);
    worker.attach();
    detail::spawn_on(worker, {}, stops_after(worker, std::move(body))).detach();
    worker.run();
    worker.detach();
}

template <class Duration>
task<> sleeps(counting_kernel& kernel, Duration length, unsigned& entered) {
    const unsigned before = kernel.enters;
    const clock_point begun = this_task::now();
    co_await sleep_for(length);
    entered = kernel.enters - before;
    CHECK(this_task::now() == begun + length);
}

} // namespace

TEST_CASE("S148: a sleep on an idle worker enters the kernel once, however long it is") {
    const auto length =
        GENERATE(as<std::chrono::microseconds>(), 1us, 63us, 64us, 90ms, 1s, 1h);
    counting_kernel kernel(false);
    unsigned entered = 0;
    run_on(kernel, sleeps(kernel, length, entered));
    CHECK(entered == 1);
}
