// What tasks cost: starting and joining them, calling a child, yielding, a time limit; beside a
// function call, bare coroutines and std::thread.
#include "bare.hpp"
#include "measure.hpp"
#include "memory.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;
using bench::stopwatch;

constexpr unsigned batch = 1000;

[[gnu::noinline]] int called(int value) {
    bench::keep(value);
    return value;
}

double call_function(std::uint64_t n) {
    int sum = 0;
    const stopwatch clock;
    for (; n; --n) sum += called(1);
    bench::keep(sum);
    return clock.ns();
}

template <class Memory>
[[gnu::noinline]] bench::bare<Memory> bare_child() {
    co_return;
}

template <class Memory>
bench::bare<Memory> bare_caller(std::uint64_t n) {
    for (; n; --n) co_await bare_child<Memory>();
}

template <class Memory>
double call_bare(std::uint64_t n) {
    const auto caller = bare_caller<Memory>(n);
    const stopwatch clock;
    caller.resume();
    return clock.ns();
}

template <class Memory>
double start_bare(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) bare_child<Memory>().resume();
    return clock.ns();
}

bench::bare<bench::from_malloc> bare_yielder(std::uint64_t n) {
    for (; n; --n) co_await std::suspend_always();
}

double yield_bare(std::uint64_t n) {
    const auto task = bare_yielder(n);
    const stopwatch clock;
    for (; n; --n) task.resume();
    return clock.ns();
}

double start_thread(std::uint64_t n) {
    const bench::wall_stopwatch clock;
    for (; n; --n) std::thread([] {}).join();
    return clock.ns();
}

double read_clock(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) {
        auto now = std::chrono::steady_clock::now();
        bench::keep(now);
    }
    return clock.ns();
}

// Timers as they are often kept, with as many others as a busy worker may have.
double multimap_timer(std::uint64_t n) {
    std::multimap<std::chrono::steady_clock::time_point, int> timers;
    const auto now = std::chrono::steady_clock::now();
    for (int i = 0; i < 1000; ++i) timers.emplace(now + i * 1ms, i);
    const stopwatch clock;
    for (; n; --n) timers.erase(timers.emplace(now + 500ms, 0));
    return clock.ns();
}

[[gnu::noinline]] task<> nothing() {
    co_return;
}
[[gnu::noinline]] task<int> one() {
    co_return 1;
}

task<double> call_child(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await nothing();
    co_return clock.ns();
}

task<double> call_child_for_int(std::uint64_t n) {
    int sum = 0;
    const stopwatch clock;
    for (; n; --n) sum += co_await one();
    const double ns = clock.ns();
    bench::keep(sum);
    co_return ns;
}

task<double> spawn_and_join(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) {
        auto handle = spawn(nothing());
        co_await handle;
    }
    co_return clock.ns();
}

// The rounds here are whole batches; what is reported is the time per task.
task<double> spawn_batches(std::uint64_t n) {
    std::vector<join_handle<void>> handles(batch);
    const stopwatch clock;
    for (; n > 0; n -= std::min<std::uint64_t>(n, batch)) {
        const std::uint64_t now = std::min<std::uint64_t>(n, batch);
        for (unsigned i = 0; i < now; ++i) handles[i] = spawn(nothing());
        for (unsigned i = 0; i < now; ++i) co_await handles[i];
    }
    co_return clock.ns();
}

task<> fill(task_scope& scope, std::uint64_t count) {
    for (; count; --count) scope.spawn(nothing()).detach();
    co_return;
}

task<double> scope_batches(std::uint64_t n) {
    const stopwatch clock;
    while (n > 0) {
        const std::uint64_t now = std::min<std::uint64_t>(n, batch);
        const auto body = [&now](task_scope& scope) { return fill(scope, now); };
        co_await with_scope(body);
        n -= now;
    }
    co_return clock.ns();
}

task<double> when_all_of_two(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await when_all(nothing(), nothing());
    co_return clock.ns();
}

task<double> yield(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await yield_now();
    co_return clock.ns();
}

task<> yielder(std::uint64_t n) {
    for (; n; --n) co_await yield_now();
}

// A hundred tasks take turns, so that no turn of the worker is for one task alone.
task<double> yield_among_100(std::uint64_t n) {
    const auto body = [n](task_scope& scope) -> task<> {
        for (int i = 0; i < 100; ++i) scope.spawn(yielder(n / 100)).detach();
        co_return;
    };
    const stopwatch clock;
    co_await with_scope(body);
    co_return clock.ns();
}

task<double> pass_checkpoint(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await checkpoint();
    co_return clock.ns();
}

task<double> checkpoint_below(std::uint64_t n, unsigned depth, cancellation_token token) {
    if (depth == 0) {
        co_return co_await pass_checkpoint(n);
    }
    const double ns = co_await with_token(token, checkpoint_below(n, depth - 1, token));
    co_return ns;
}

// Within as many tokens, any of which could be cancelled.
task<double> nested_checkpoint(std::uint64_t n, unsigned depth) {
    cancellation_source source;
    const double ns = co_await checkpoint_below(n, depth, source.token());
    co_return ns;
}

// A sleep that is the only thing to do, over and over: the timer and the kernel's wait.
task<double> sleep_alone(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await sleep_for(100us);
    co_return clock.ns();
}

// The same from the kernel alone.
double nanosleep_alone(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) std::this_thread::sleep_for(100us);
    return clock.ns();
}

// Two wake-ups of a worker that sleeps. Two workers, so a clock on the wall.
task<double> spawn_elsewhere(std::uint64_t n) {
    const bench::wall_stopwatch clock;
    for (; n; --n) {
        auto handle = spawn(nothing(), {.where = placement::worker(1)});
        co_await handle;
    }
    co_return clock.ns();
}

task<double> spawn_elsewhere_from_first(std::uint64_t n) {
    auto first = spawn(spawn_elsewhere(n), {.where = placement::worker(0)});
    const double ns = co_await first;
    co_return ns;
}

// Two threads that wake each other; one turn of both.
double wake_threads(std::uint64_t n) {
    std::mutex mutex;
    std::condition_variable changed;
    bool asked = false;
    const auto answer = [&](std::uint64_t times) {
        for (; times; --times) {
            std::unique_lock hold(mutex);
            changed.wait(hold, [&] { return asked; });
            asked = false;
            changed.notify_one();
        }
    };
    std::thread other(answer, n);
    const bench::wall_stopwatch clock;
    for (; n; --n) {
        std::unique_lock hold(mutex);
        asked = true;
        changed.notify_one();
        changed.wait(hold, [&] { return !asked; });
    }
    const double ns = clock.ns();
    other.join();
    return ns;
}

task<double> as_outcome_of_ready(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) {
        const outcome<void> end = co_await as_outcome(nothing());
        static_cast<void>(end);
    }
    co_return clock.ns();
}

task<double> with_timeout_of_ready(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await with_timeout(1h, nothing());
    co_return clock.ns();
}

// Two workers, so a clock on the wall.
task<> spawn_everywhere(std::uint64_t n) {
    std::vector<join_handle<void>> handles(batch);
    while (n > 0) {
        const std::uint64_t now = std::min<std::uint64_t>(n, batch);
        for (unsigned i = 0; i < now; ++i) {
            handles[i] = spawn(nothing(), {.where = placement::any()});
        }
        for (unsigned i = 0; i < now; ++i) co_await handles[i];
        n -= now;
    }
}

task<double> frame_bytes(unsigned count) {
    std::vector<task<>> tasks;
    tasks.reserve(count);
    const double before = bench::allocated_bytes();
    for (unsigned i = 0; i < count; ++i) tasks.push_back(nothing());
    co_return (bench::allocated_bytes() - before) / count;
}

void print_head(runtime& one_worker, const bench::options& chosen) {
    std::printf(
        "bench_spawn: ns per operation, processor time of the one thread that works, %u "
        "interleaved rounds\nsizes in bytes: task<int> %zu, join_handle<int> %zu, task "
        "context %zu, a spawned task's record %zu,\n  frame of a trivial task %.0f with "
        "rounding by pool and malloc\n",
        chosen.rounds, sizeof(task<int>), sizeof(join_handle<int>), sizeof(detail::context),
        sizeof(detail::typed_root<void>), one_worker.block_on(frame_bytes(100'000)));
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(
        argc, argv, "Measures tasks beside function calls, bare coroutines and threads."));
    bench::stage alone(1, all);
    if (!all.single()) print_head(alone.runtime(), all.chosen());
    all.compare("call a child and return",
                {
                    {"bare coroutine, malloc", call_bare<bench::from_malloc>},
                    {"bare coroutine, free list", call_bare<bench::from_list>},
                    {"function", call_function},
                    {"co_await child", alone.subject(call_child)},
                    {"co_await child, task<int>", alone.subject(call_child_for_int)},
                });
    all.compare("start something and wait for its end",
                {
                    {"bare coroutine started, malloc", start_bare<bench::from_malloc>},
                    {"spawn and join", alone.subject(spawn_and_join)},
                    {"spawn and join, batches of 1000", alone.subject(spawn_batches)},
                    {"scope of 1000", alone.subject(scope_batches)},
                    {"when_all of two", alone.subject(when_all_of_two)},
                    {"std::thread (wall clock)", start_thread},
                });
    all.compare("give way", {
                                {"bare coroutine suspended", yield_bare},
                                {"yield_now, alone", alone.subject(yield)},
                                {"yield_now, 100 tasks", alone.subject(yield_among_100)},
                                {"checkpoint", alone.subject(pass_checkpoint)},
                                {"checkpoint, 1 deep", alone.subject(nested_checkpoint, 1U)},
                                {"checkpoint, 64 deep", alone.subject(nested_checkpoint, 64U)},
                            });
    all.compare(
        "create a timer and cancel it",
        {
            {"std::multimap among 1000", multimap_timer},
            {"steady_clock::now", read_clock},
            {"as_outcome of a ready child, no timer", alone.subject(as_outcome_of_ready)},
            {"with_timeout of a ready child", alone.subject(with_timeout_of_ready)},
        });
    all.compare("sleep 100 us, alone", {
                                           {"nanosleep", nanosleep_alone},
                                           {"sleep_for", alone.subject(sleep_alone)},
                                       });
    bench::stage two(2, all);
    all.compare(
        "wake another thread and be woken by it, wall clock",
        {
            {"two threads, condition variable", wake_threads},
            {"spawn on the other worker and join", two.subject(spawn_elsewhere_from_first)},
        });
    const auto everywhere = [&two](std::uint64_t n) {
        static_cast<void>(two.runtime()); // not in the time of the first call
        const bench::wall_stopwatch clock;
        two.runtime().block_on(spawn_everywhere(n));
        return clock.ns();
    };
    all.compare("start tasks on two workers in turn, batches of 1000, wall clock",
                {
                    {"std::thread, one by one", start_thread},
                    {"spawn on any worker and join", everywhere},
                });
    return all.result();
}
