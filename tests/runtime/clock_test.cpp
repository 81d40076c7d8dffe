// How often the loop enters the kernel and asks for the time, for what waits for a time.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <thread>
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
    bool real_time() const noexcept override { return real_time_; }
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
void compute(std::chrono::nanoseconds length) {
    const clock_point end = std::chrono::steady_clock::now() + length;
    while (std::chrono::steady_clock::now() < end) {
    }
}
/// Until the worker's clock knows the counter's rate, where there is one.
task<> warm_up() {
    for (int i = 0; i < 5; ++i) co_await sleep_for(6ms);
}
task<> computes_and_sleeps(std::chrono::microseconds busy, std::chrono::microseconds length,
                           int& early) {
    co_await warm_up();
    for (int i = 0; i < 5; ++i) {
        co_await yield_now();
        static_cast<void>(this_task::now());
        compute(busy);
        const clock_point begun = std::chrono::steady_clock::now();
        co_await sleep_for(length);
        if (std::chrono::steady_clock::now() - begun < length) ++early;
    }
}
task<> computes_and_times_out(std::chrono::microseconds busy, std::chrono::microseconds length,
                              int& early) {
    co_await warm_up();
    for (int i = 0; i < 5; ++i) {
        co_await yield_now();
        static_cast<void>(this_task::now());
        compute(busy);
        const clock_point begun = std::chrono::steady_clock::now();
        const auto end = co_await try_with_timeout(length, sleep_for(1h));
        if (end || std::chrono::steady_clock::now() - begun < length) ++early;
    }
}
task<int> at_once() {
    co_return 1;
}
task<> timeouts(counting_kernel& kernel, int count, unsigned& readings) {
    co_await warm_up();
    co_await yield_now();
    const unsigned before = kernel.readings;
    for (int i = 0; i < count; ++i) co_await with_timeout(1h, at_once());
    readings = kernel.readings - before;
}
task<> yields(counting_kernel& kernel, int count, unsigned& readings) {
    const unsigned before = kernel.readings;
    for (int i = 0; i < count; ++i) co_await yield_now();
    readings = kernel.readings - before;
}

task<> yields_beside_a_timer(counting_kernel& kernel, int count, unsigned& readings) {
    co_await warm_up();
    auto sleeper = spawn(sleep_for(1h));
    co_await yield_now();
    const unsigned before = kernel.readings;
    for (int i = 0; i < count; ++i) co_await yield_now();
    readings = kernel.readings - before;
    sleeper.cancel();
    const auto end = co_await sleeper.outcome();
    CHECK(end.is_cancelled());
}
/// Whether quick_clock may use the counter of this machine.
bool counter_stands_in() {
    counting_kernel kernel(true);
    detail::quick_clock clock(kernel);
    for (int i = 0; i < 5; ++i) {
        static_cast<void>(clock.now());
        std::this_thread::sleep_for(6ms);
    }
    static_cast<void>(clock.now());
    const unsigned before = kernel.readings;
    for (int i = 0; i < 1000; ++i) static_cast<void>(clock.now_or_later());
    return kernel.readings - before < 500;
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

TEST_CASE("S149: a clock that is remembered is never behind, and hardly ahead") {
    counting_kernel kernel(true);
    detail::quick_clock clock(kernel);
    unsigned asked = 0;
    unsigned behind = 0;
    unsigned ahead = 0;
    const clock_point end = std::chrono::steady_clock::now() + 60ms;
    for (clock_point before{}; before < end; ++asked) {
        before = std::chrono::steady_clock::now();
        const clock_point told = clock.now_or_later();
        const clock_point after = std::chrono::steady_clock::now();
        if (told < before || clock.surely_before(after)) ++behind;
        if (told > after + 40us) ++ahead; // interrupted while it read the clock
        const clock_point early = clock.now_or_earlier();
        if (early > std::chrono::steady_clock::now()) ++ahead;
        if (asked % 64 == 0) compute(std::chrono::microseconds(asked / 64 % 70));
    }
    CHECK(behind == 0);
    CHECK(ahead == 0);
    INFO(asked << " calls");
    CHECK(kernel.readings <= 2 * asked);
}

TEST_CASE("S149: a clock that is not the machine's is read each time") {
    counting_kernel kernel(false);
    detail::quick_clock clock(kernel);
    for (unsigned i = 1; i < 100; ++i) {
        CHECK(clock.now_or_later() == kernel.now());
        CHECK(kernel.readings == 2 * i);
    }
}

TEST_CASE("S149: after 50 ms of computing, or 40 us, neither a sleep nor a timeout is early") {
    const auto busy = GENERATE(as<std::chrono::microseconds>(), 50ms, 40us);
    const auto length = GENERATE(as<std::chrono::microseconds>(), 100us, 5ms);
    counting_kernel kernel(true);
    int early = 0;
    run_on(kernel, computes_and_sleeps(busy, length, early));
    CHECK(early == 0);
    run_on(kernel, computes_and_times_out(busy, length, early));
    CHECK(early == 0);
}

TEST_CASE("worker: turns without timers do not read the clock, others not for each timer") {
    unsigned readings = 0;
    counting_kernel kernel(true);
    run_on(kernel, yields(kernel, 1000, readings));
    CHECK(readings == 0);
    run_on(kernel, timeouts(kernel, 1000, readings));
    CHECK(readings <= 2010);
    if (!counter_stands_in()) return;
    run_on(kernel, yields_beside_a_timer(kernel, 1000, readings));
    CHECK(readings < 100); // one in 100 ms
}
