// What cancellation costs: the memory of sleeping tasks, the time to cancel them all, and the
// tear-down of deep chains beside C++ exceptions through as many frames.
#include "bare.hpp"
#include "measure.hpp"
#include "memory.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;
using bench::stopwatch;

// Something for a frame to destroy.
class local {
public:
    local() noexcept { bench::keep(value_); }
    local(const local&) = delete;
    local& operator=(const local&) = delete;
    ~local() { bench::keep(value_); }

private:
    int value_ = 0;
};

// --- a herd of sleepers ---

struct herd {
    double bytes = 0;    ///< from malloc, per task
    double resident = 0; ///< by the kernel's count, per task
    double spawn_ns = 0; ///< per task, up to its sleep
    double cancel_ms = 0;
};

// Takes the measure of what happens between its making and awake().
class herd_meter {
public:
    void asleep(unsigned count) {
        found_.spawn_ns = clock_.ns() / count;
        found_.bytes = (bench::allocated_bytes() - bytes_) / count;
        found_.resident = (bench::resident_bytes() - resident_) / count;
        clock_ = stopwatch();
    }
    void awake() noexcept { found_.cancel_ms = clock_.ns() / 1e6; }
    [[nodiscard]] const herd& found() const noexcept { return found_; }

private:
    herd found_;
    double bytes_ = bench::allocated_bytes();
    double resident_ = bench::resident_bytes();
    stopwatch clock_;
};

task<> sleeper() {
    co_await sleep_for(1h);
}

task<> spawn_and_cancel(task_scope& scope, unsigned count, herd_meter& meter) {
    for (unsigned i = 0; i < count; ++i) scope.spawn(sleeper()).detach();
    co_await yield_now(); // behind all of them: they sleep now
    meter.asleep(count);
    scope.cancel();
}

task<herd> by_scope(unsigned count) {
    herd_meter meter;
    const auto body = [&](task_scope& scope) { return spawn_and_cancel(scope, count, meter); };
    co_await with_scope(body);
    meter.awake();
    co_return meter.found();
}

task<herd> by_handles(unsigned count) {
    std::vector<join_handle<void>> handles(count);
    herd_meter meter;
    for (auto& each : handles) each = spawn(sleeper());
    co_await yield_now();
    meter.asleep(count);
    for (auto& each : handles) each.cancel();
    for (auto& each : handles) {
        const outcome<void> end = co_await each.outcome();
        static_cast<void>(end);
    }
    meter.awake();
    co_return meter.found();
}

task<herd> by_token(unsigned count) {
    std::vector<join_handle<void>> handles(count);
    cancellation_source source;
    herd_meter meter;
    for (auto& each : handles) each = spawn(sleeper(), {.token = source.token()});
    co_await yield_now();
    meter.asleep(count);
    source.cancel();
    for (auto& each : handles) {
        const outcome<void> end = co_await each.outcome();
        static_cast<void>(end);
    }
    meter.awake();
    co_return meter.found();
}

// For callgrind: what by_scope() does before it cancels, and all of it. The former ends the
// process, as the latter does soon after.
task<> spawn_and_leave(task_scope& scope, std::uint64_t count) {
    for (; count > 0; --count) scope.spawn(sleeper()).detach();
    co_await yield_now();
    std::_Exit(0);
}

task<double> sleepers_asleep(std::uint64_t n) {
    const auto body = [n](task_scope& scope) { return spawn_and_leave(scope, n); };
    co_await with_scope(body);
    co_return 0;
}

task<double> sleepers_cancelled(std::uint64_t n) {
    const herd found = co_await by_scope(static_cast<unsigned>(n));
    co_return found.cancel_ms * 1e6;
}

task<double> sleepers_weighed(std::uint64_t n) {
    const herd found = co_await by_scope(static_cast<unsigned>(n));
    std::printf("%.1f\n", found.bytes);
    std::fflush(stdout);
    co_return 0;
}

bench::bare<bench::from_malloc> bare_sleeper() {
    co_await std::suspend_always();
}

// The floor: frames that know nothing of each other.
herd bare_herd(unsigned count) {
    std::vector<bench::bare<bench::from_malloc>> tasks;
    tasks.reserve(count);
    herd_meter meter;
    for (unsigned i = 0; i < count; ++i) {
        tasks.push_back(bare_sleeper());
        tasks.back().resume();
    }
    meter.asleep(count);
    tasks.clear();
    meter.awake();
    return meter.found();
}

struct herder {
    const char* name;
    std::function<herd(unsigned)> run;
};

// The first round decides about memory: later ones live on what it has left behind.
void herds(const bench::options& chosen) {
    constexpr unsigned count = 100'000;
    const unsigned rounds = chosen.brief ? 1 : std::min(chosen.rounds, 7U);
    const auto on_worker = [](task<herd> (*body)(unsigned)) {
        return [body](unsigned number) {
            runtime fresh({.workers = 1}); // its worker starts with an empty pool
            return fresh.block_on(body(number));
        };
    };
    const std::array<herder, 4> herders{{
        {"bare coroutines, malloc", bare_herd},
        {"task_scope::cancel", on_worker(by_scope)},
        {"join_handle::cancel, each", on_worker(by_handles)},
        {"cancellation_source::cancel", on_worker(by_token)},
    }};
    std::printf("\n%u sleeping tasks, cancelled and joined; medians of %u rounds; bytes of the "
                "first\n  %-36s %10s %10s %12s %10s\n",
                count, rounds, "", "bytes", "resident", "spawn ns", "cancel ms");
    std::array<std::vector<herd>, herders.size()> found;
    for (unsigned round = 0; round < rounds; ++round) {
        for (std::size_t i = 0; i < herders.size(); ++i) {
            found[i].push_back(herders[i].run(count));
        }
    }
    for (std::size_t i = 0; i < herders.size(); ++i) {
        std::vector<double> spawn;
        std::vector<double> cancel;
        for (const herd& each : found[i]) {
            spawn.push_back(each.spawn_ns);
            cancel.push_back(each.cancel_ms);
        }
        std::printf("  %-36s %10.0f %10.0f %12.1f %10.2f\n", herders[i].name,
                    found[i].front().bytes, found[i].front().resident, bench::median(spawn),
                    bench::median(cancel));
    }
    std::fflush(stdout);
}

// --- chains of frames ---

constexpr unsigned batch = 100; // chains at once: few enough for the pool

task<> chain(unsigned depth) {
    const local here;
    if (depth > 1) {
        co_await chain(depth - 1);
    } else {
        co_await sleep_for(1h);
    }
}

task<> grow_and_cancel(task_scope& scope, unsigned count, unsigned depth,
                       std::optional<stopwatch>& clock) {
    for (unsigned i = 0; i < count; ++i) scope.spawn(chain(depth)).detach();
    co_await yield_now();
    clock.emplace();
    scope.cancel();
}

task<double> tear_down(std::uint64_t n, unsigned depth) {
    double sum = 0;
    while (n > 0) {
        const auto now = static_cast<unsigned>(std::min<std::uint64_t>(n, batch));
        std::optional<stopwatch> clock;
        const auto body = [&](task_scope& scope) {
            return grow_and_cancel(scope, now, depth, clock);
        };
        co_await with_scope(body);
        sum += clock->ns();
        n -= now;
    }
    co_return sum;
}

bench::bare<bench::from_malloc> bare_chain(unsigned depth) {
    const local here;
    if (depth > 1) {
        co_await bare_chain(depth - 1);
    } else {
        co_await std::suspend_always();
    }
}

double destroy_bare(std::uint64_t n, unsigned depth) {
    double sum = 0;
    std::vector<bench::bare<bench::from_malloc>> chains;
    chains.reserve(batch);
    while (n > 0) {
        const auto now = static_cast<unsigned>(std::min<std::uint64_t>(n, batch));
        for (unsigned i = 0; i < now; ++i) {
            chains.push_back(bare_chain(depth));
            chains.back().resume();
        }
        const stopwatch clock;
        chains.clear();
        sum += clock.ns();
        n -= now;
    }
    return sum;
}

[[gnu::noinline]] void throw_below(unsigned depth) {
    const local here;
    if (depth == 1) throw 1;
    throw_below(depth - 1);
    asm volatile(""); // no tail call
}

double throw_through(std::uint64_t n, unsigned depth) {
    unsigned caught = 0;
    const stopwatch clock;
    for (; n; --n) {
        try {
            throw_below(depth);
        } catch (int) {
            ++caught;
        }
    }
    bench::keep(caught);
    return clock.ns();
}

task<> throwing(unsigned depth) {
    const local here;
    if (depth == 1) throw 1;
    co_await throwing(depth - 1);
}

task<double> throw_through_tasks(std::uint64_t n, unsigned depth) {
    unsigned caught = 0;
    const stopwatch clock;
    for (; n; --n) {
        try {
            co_await throwing(depth);
        } catch (int) {
            ++caught;
        }
    }
    bench::keep(caught);
    co_return clock.ns();
}

double chains(bench::suite& all, bench::stage& alone, unsigned depth) {
    const auto plain = [depth](auto body) {
        return [body, depth](std::uint64_t n) { return body(n, depth); };
    };
    const std::string at = " at depth " + std::to_string(depth);
    const std::string title = "leave " + std::to_string(depth) +
                              " frames, ns per chain; cancelling and joining the task included";
    return all.compare(
        title.c_str(),
        {
            {"C++ exception" + at, plain(throw_through)},
            {"bare coroutines destroyed" + at, plain(destroy_bare)},
            {"cancelled task torn down" + at, alone.subject(tear_down, depth)},
            {"C++ exception through tasks" + at, alone.subject(throw_through_tasks, depth)},
        })[2];
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(argc, argv, "Measures cancellation beside C++ exceptions.",
                                  "  --herds         the sleeping tasks alone\n"));
    const auto& others = all.chosen().others;
    const bool herds_alone =
        others.size() == 1 && std::string_view(others.front()) == "--herds";
    if (!others.empty() && !herds_alone) {
        std::fprintf(stderr, "bench_cancel: '%s' is not understood; try --help\n", others[0]);
        return 2;
    }
    if (!all.single()) {
        std::printf("bench_cancel: processor time of the one thread that works, %u interleaved "
                    "rounds\n",
                    all.chosen().rounds);
        herds(all.chosen());
        if (herds_alone) return 0;
    }
    bench::stage alone(1, all);
    if (all.single()) {
        all.compare("for bench/gate.py",
                    {
                        {"sleepers, asleep", alone.subject(sleepers_asleep)},
                        {"sleepers, cancelled", alone.subject(sleepers_cancelled)},
                        {"sleepers, bytes each", alone.subject(sleepers_weighed)},
                    });
    }
    const double one = chains(all, alone, 1);
    chains(all, alone, 5);
    const double ten = chains(all, alone, 10);
    if (!all.single()) {
        std::printf("\n  tear-down of one more frame: %.1f ns\n", (ten - one) / 9);
    }
    return all.result();
}
