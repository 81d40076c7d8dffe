// A worker that runs out of work between two hand-overs stays awake for the next one, for a
// bounded time, and only while that pays. The clock is the test's: it moves by one microsecond
// with each look at it, and what comes from outside comes at a certain time.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>
#include <toadstone/sync.hpp>

#include "support/pipe.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using time_point = std::chrono::steady_clock::time_point;

class looked_at_kernel final : public detail::kernel {
public:
    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override {
        return detail::real_kernel().setup(entries, ring, params);
    }
    void teardown(io_uring& ring) noexcept override { detail::real_kernel().teardown(ring); }
    /// A sleep takes 100 microseconds of the test's time and none of its thread's.
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec*) noexcept override {
        ++enters;
        if (min_complete > 0) {
            ++sleeps;
            fell_asleep = time;
            time += sleep_takes;
            come();
        }
        return detail::real_kernel().enter(ring, to_submit, 0, flags, nullptr);
    }
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override {
        return detail::real_kernel().enroll(ring, opcode, argument, count);
    }
    [[nodiscard]] time_point now() noexcept override {
        time += 1us;
        come();
        return time;
    }
    std::uint64_t entropy() noexcept override { return 4; }

    /// From another thread, as soon as that time has come. Once.
    void at(time_point when, std::function<void()> what) {
        when_ = when;
        what_ = std::move(what);
    }

    time_point time{1h};
    time_point fell_asleep;
    nanoseconds sleep_takes = 100us;
    int enters = 0;
    int sleeps = 0;
    /// Instead: what happens elsewhere with each look at the clock, and during a sleep.
    std::function<void()> meanwhile;

private:
    void come() noexcept {
        if (meanwhile) {
            const int counted = enters; // not those of another worker
            if (!std::exchange(inside_, true)) {
                meanwhile();
                inside_ = false;
                enters = counted;
            }
        } else if (what_ && time >= when_) {
            const auto what = std::exchange(what_, nullptr);
            std::thread(what).join();
        }
    }

    time_point when_;
    std::function<void()> what_;
    bool inside_ = false;
};

class errand final : public detail::posted {
public:
    int ran = 0;

private:
    void run_posted() noexcept override { ++ran; }
};

/// Two workers, of which the test steps the first; the other one is whoever posts to it.
class pair_of_workers final : detail::worker_group {
public:
    explicit pair_of_workers(nanoseconds longest_spin = 50us) : longest_spin_(longest_spin) {
        for (unsigned i = 0; i < 2; ++i) {
            detail::worker_group* const group = this;
            workers_.push_back(std::make_unique<detail::worker>(
                kernel, detail::ring_options{.entries = 8, .completions = 64}, 8, group, i));
            workers_.back()->attach();
        }
    }
    ~pair_of_workers() {
        for (auto& each : workers_) each->detach();
    }
    detail::worker& operator[](unsigned index) { return *workers_[index]; }

    /// The first one sleeps, and is posted to before it has slept for long.
    void exchange() {
        const int ran = work.ran;
        kernel.at(kernel.time, [this] { workers_[0]->post(work); });
        workers_[0]->step(true);
        workers_[0]->step(false);
        REQUIRE(work.ran == ran + 1);
        kernel.sleeps = 0;
        kernel.enters = 0;
    }

    looked_at_kernel kernel;
    errand work;

private:
    [[nodiscard]] detail::executor& place(placement where,
                                          detail::executor& from) noexcept override {
        return where.is_here() ? from : *workers_[where.index() % 2];
    }
    [[nodiscard]] unsigned size() const noexcept override { return 2; }
    void root_gone() noexcept override {}
    [[nodiscard]] nanoseconds longest_spin() const noexcept override { return longest_spin_; }

    nanoseconds longest_spin_;
    std::vector<std::unique_ptr<detail::worker>> workers_;
};

template <detail::library_awaitable A>
auto spawn_on(detail::worker& where, A&& body) {
    return detail::spawn_on(where, {}, std::forward<A>(body));
}

} // namespace

TEST_CASE("spin: what comes soon after an exchange finds the worker awake, and nobody makes a "
          "system call for it") {
    pair_of_workers two;
    two.exchange();
    const auto begun = two.kernel.time;
    two.kernel.at(begun + 20us, [&] { two[0].post(two.work); });
    two[0].step(true);
    CHECK(two.kernel.sleeps == 0);
    CHECK(two.kernel.enters == 0);
    CHECK(two.kernel.time - begun < 30us);
    two[0].step(false);
    CHECK(two.work.ran == 2);
}

TEST_CASE("spin: nobody writes to the eventfd of a worker that is awake") {
    pair_of_workers two;
    two.exchange();
    two[0].step(true); // in vain: it sleeps, and its wake-up read waits from now on
    two.kernel.enters = 0;
    two.kernel.at(two.kernel.time + 20us, [&] { two[0].post(two.work); });
    two[0].step(true);
    two[0].step(true);
    CHECK(two.work.ran == 2);
    CHECK(two.kernel.enters <=
          1); // the next sleep; a wake-up read that ended would be one more
}

TEST_CASE("spin: it ends after its bound, and the worker sleeps") {
    pair_of_workers two;
    two.exchange();
    const auto begun = two.kernel.time;
    two[0].step(true);
    CHECK(two.kernel.sleeps == 1);
    CHECK(two.kernel.fell_asleep - begun >= 50us);
    CHECK(two.kernel.fell_asleep - begun < 60us);
}

TEST_CASE("spin: a worker that nobody hands anything sleeps at once") {
    pair_of_workers two;
    const auto begun = two.kernel.time;
    for (int i = 0; i < 10; ++i) two[0].step(true);
    CHECK(two.kernel.sleeps == 10);
    CHECK(two.kernel.time - begun < 10 * (100us + 10us));
}

TEST_CASE("spin: after a sleep that was a long one the worker sleeps at once") {
    pair_of_workers two;
    two.kernel.sleep_takes = 10ms;
    two.exchange();
    const auto begun = two.kernel.time;
    two[0].step(true);
    CHECK(two.kernel.fell_asleep - begun < 10us);
}

TEST_CASE("spin: where it is off, an exchange changes nothing") {
    pair_of_workers two(0us);
    two.exchange();
    const auto begun = two.kernel.time;
    two[0].step(true);
    CHECK(two.kernel.sleeps == 1);
    CHECK(two.kernel.fell_asleep - begun < 10us);
}

TEST_CASE("spin: it does not outlast the next timer") {
    pair_of_workers two;
    bool woke = false;
    const auto sleeps = [](bool& end) -> task<> {
        co_await sleep_for(400us);
        end = true;
    };
    two.exchange();
    auto sleeper = spawn_on(two[0], sleeps(woke));
    for (int i = 0; i < 10; ++i) two[0].step(false); // until the wheel knows it exactly
    const auto due = two[0].next_timer();
    REQUIRE(due - two.kernel.time > 100us);
    REQUIRE(due - two.kernel.time < 500us);
    two.kernel.time = due - 30us; // the bound of the spin lies behind it
    two[0].step(true);
    CHECK(two.kernel.time >= due);
    CHECK(two.kernel.time - due < 5us);
    for (int i = 0; i < 100 && !woke; ++i) {
        two.kernel.time += 100us;
        two[0].step(true);
    }
    CHECK(woke);
}

TEST_CASE("spin: operations are submitted before it, and a completion ends it") {
    pair_of_workers two;
    const test_pipe pipe;
    char text[4];
    int result = 0;
    const auto reads = [](int fd, char* into, int& end) -> task<> {
        const int count = co_await read_op(fd, into, 4);
        end = count;
    };
    two.exchange();
    auto reader = spawn_on(two[0], reads(pipe.reader(), text, result));
    const auto begun = two.kernel.time;
    two.kernel.at(begun + 10us, [&] { pipe.write("four"); });
    two[0].step(true);
    two[0].step(false);
    CHECK(result == 4);
    CHECK(two.kernel.sleeps == 0);
    CHECK(two.kernel.time - begun < 30us);
}

TEST_CASE("spin: the end of the runtime ends it") {
    pair_of_workers two;
    two.exchange();
    const auto begun = two.kernel.time;
    two.kernel.at(begun + 10us, [&] { two[0].stop(); });
    two[0].step(true);
    CHECK(two.kernel.sleeps == 0);
    CHECK(two.kernel.time - begun < 30us);
}

TEST_CASE("spin: where what is handed over always comes too late, nearly no time is lost") {
    pair_of_workers two;
    two.exchange();
    two.kernel.sleep_takes = 300us;
    nanoseconds lost{};
    const auto begun = two.kernel.time;
    for (int i = 0; i < 3000; ++i) {
        const auto idle = two.kernel.time;
        two.kernel.at(idle + 120us, [&] { two[0].post(two.work); });
        two[0].step(true);
        lost += two.kernel.fell_asleep - idle;
        two[0].step(false);
    }
    CHECK(two.work.ran == 3001);
    CHECK(lost * 20 < two.kernel.time - begun);
}

TEST_CASE("spin: after a time without traffic it is tried again as soon as there is some") {
    pair_of_workers two;
    two.exchange();
    for (int i = 0; i < 100; ++i) two[0].step(true); // nothing comes
    two.exchange();
    two.kernel.at(two.kernel.time + 20us, [&] { two[0].post(two.work); });
    two[0].step(true);
    CHECK(two.kernel.sleeps == 0);
}

TEST_CASE("spin: a fair lock that two workers pass to and fro costs far less than "
          "a system call for each hand-over") {
    constexpr int turns = 500;
    const auto locks = [](sync::mutex<int>& m) -> task<> {
        for (int i = 0; i < turns; ++i) {
            auto held = co_await m.lock();
            ++*held;
            co_await yield_now(); // so that the other one queues
        }
    };
    // The second worker makes a step whenever the first one has nothing to do.
    const auto enters_with = [&](nanoseconds longest_spin) {
        pair_of_workers two(longest_spin);
        sync::mutex<int> m;
        std::vector<join_handle<void>> tasks;
        for (unsigned i = 0; i < 2; ++i) tasks.push_back(spawn_on(two[i % 2], locks(m)));
        two.kernel.enters = 0;
        two.kernel.meanwhile = [&] {
            // In a sleep, until that is over.
            for (int i = 0; i < 10 && !two[0].has_work(); ++i) two[1].step(false);
        };
        for (int i = 0; i < 100'000 && (two[0].first_root() || two[1].first_root()); ++i) {
            const int counted = two.kernel.enters;
            two[1].step(false);
            two.kernel.enters = counted;
            two[0].step(true);
        }
        two.kernel.meanwhile = nullptr;
        CHECK(m.get_mut() == 2 * turns);
        return two.kernel.enters;
    };
    CHECK(enters_with(0us) > turns / 2);
    CHECK(enters_with(50us) < turns / 10);
}

} // namespace toadstone::tests
