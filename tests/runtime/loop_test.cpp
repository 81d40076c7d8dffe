// The runtime itself: block_on, spawn, shutdown and its report, run(), and that nothing stays.
#include <toadstone/runtime.hpp>

#include <toadstone/runtime/detail/frame_pool.hpp>

#include "support/capture.hpp"
#include "support/forking.hpp"
#include "support/pipe.hpp"
#include "support/probe.hpp"
#include "support/resources.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

// Nothing here waits for a time to pass, except where the test says so: tasks are told to go on
// by flags, and whoever would wait for ever runs into the timeout of the test program.

namespace {

task<int> gives(int value) {
    co_await yield_now();
    co_return value;
}
task<std::unique_ptr<int>> boxes(int value) {
    co_return std::make_unique<int>(value);
}
task<> fails(std::string text) {
    co_await yield_now();
    throw std::runtime_error(text);
}
task<> notes(std::atomic<int>& count) {
    co_await yield_now();
    ++count;
}
task<std::size_t> home_index() {
    co_await yield_now();
    co_return static_cast<std::size_t>(
        std::hash<std::thread::id>{}(std::this_thread::get_id()));
}
/// Says on the way in that it is there, and waits for its cancellation.
task<> waits(std::atomic<int>& there, scope_end& end) {
    scope_probe probe(end);
    ++there;
    there.notify_all();
    co_await sleep_for(24h);
}
task<> holds(std::atomic<int>& there, poison<int>& data) {
    auto access = data.access();
    *access = 1;
    ++there;
    there.notify_all();
    co_await sleep_for(24h);
}
task<> reads(std::atomic<int>& there, int fd, char* to) {
    ++there;
    there.notify_all();
    static_cast<void>(co_await read_op(fd, to, 8));
}
task<> shielded_sleeper(std::atomic<int>& there, scope_end& end, unsigned& line) {
    scope_probe probe(end);
    ++there;
    there.notify_all();
    line = __LINE__ + 1;
    co_await shield(sleep_for(24h));
}
task<> spins(std::atomic<int>& there, const std::atomic<bool>& stop) {
    ++there;
    there.notify_all();
    while (!stop) std::this_thread::yield();
    co_return;
}
task<> spins_late(std::atomic<int>& there, const std::atomic<bool>& stop) {
    co_await yield_now();
    co_await spins(there, stop);
}
task<> ends_at_once() {
    co_return;
}
task<> spawns_and_spins(std::atomic<int>& there, const std::atomic<bool>& stop) {
    ++there;
    there.notify_all();
    while (!stop) spawn(ends_at_once()).detach();
    co_return;
}
task<> until(std::atomic<bool>& open, scope_end& end) {
    scope_probe probe(end);
    while (!open) co_await yield_now();
}
task<> shielded_until(std::atomic<int>& there, std::atomic<bool>& open, scope_end& end) {
    ++there;
    there.notify_all();
    co_await shield(until(open, end));
}
task<> destroys(std::unique_ptr<runtime> own) {
    co_await yield_now();
    own.reset();
}
task<std::string> runs_inside() {
    std::string text = "returned";
    try {
        static_cast<void>(run(gives(1)));
    } catch (const std::logic_error& error) {
        text = error.what();
    }
    co_return text;
}
task<> spawns_more(std::atomic<int>& there, int generations, scope_end (&ends)[8]) {
    if (generations > 0) spawn(spawns_more(there, generations - 1, ends)).detach();
    co_await waits(there, ends[generations]);
}
void wait_for(std::atomic<int>& count, int value) {
    for (int seen = count; seen < value; seen = count) count.wait(seen);
}
task<std::string> blocks_itself(runtime& here) {
    std::string text = "blocked";
    try {
        here.block_on(gives(1));
    } catch (const std::logic_error& error) {
        text = error.what();
    }
    co_return text;
}
task<std::string> shuts_itself_down(runtime& here) {
    std::string text = "returned";
    try {
        static_cast<void>(here.shutdown(1s));
    } catch (const std::logic_error& error) {
        text = error.what();
    }
    co_return text;
}
task<int> blocks_on(runtime& other) {
    co_return other.block_on(gives(3));
}
task<int> joins(join_handle<int> handle) {
    const int value = co_await handle;
    co_return value;
}
task<int> spawns_everywhere() {
    int sum = 0;
    for (unsigned i = 0; i < 12; ++i) {
        auto there = spawn(gives(static_cast<int>(i)), {.where = placement::worker(i)});
        const int value = co_await there;
        sum += value;
    }
    co_return sum;
}
task<bool> spawn_during_shutdown(std::atomic<int>& there, scope_end& own, scope_end& child) {
    scope_probe probe(own);
    ++there;
    there.notify_all();
    co_await shield(yield_now());
    while (!this_task::token().cancelled()) co_await shield(yield_now());
    spawn(waits(there, child)).detach();
    co_return true;
}

runtime_options some(unsigned workers, std::chrono::milliseconds grace = 5000ms) {
    runtime_options options;
    options.workers = workers;
    options.grace = grace;
    return options;
}

} // namespace

TEST_CASE("block_on: gives the value, or throws the exception, on a plain thread") {
    runtime here(some(1));
    CHECK(here.block_on(gives(5)) == 5);
    CHECK(*here.block_on(boxes(6)) == 6);
    CHECK_THROWS_WITH(here.block_on(fails("broken")), "broken");
    here.block_on(sleep_for(1us));
}

TEST_CASE("block_on: from many threads at once") {
    runtime here(some(2));
    std::vector<std::thread> threads;
    std::atomic<int> sum{0};
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&here, &sum, i] {
            for (int n = 0; n < 50; ++n) sum += here.block_on(gives(i));
        });
    }
    for (auto& each : threads) each.join();
    CHECK(sum == 50 * (0 + 1 + 2 + 3));
}

TEST_CASE("block_on: on a worker of the same runtime it would wait for itself, and throws") {
    runtime here(some(1));
    CHECK_THAT(here.block_on(blocks_itself(here)), Catch::Contains("would wait for itself"));
}

TEST_CASE("block_on: on a worker of another runtime it blocks that worker, and works") {
    runtime here(some(1));
    runtime other(some(1));
    CHECK(here.block_on(blocks_on(other)) == 3);
}

TEST_CASE("block_on: of a task that a shutdown cancels throws task_cancelled") {
    runtime here(some(1));
    std::atomic<int> there{0};
    scope_end end;
    std::optional<cancel_reason> reason;
    std::thread blocked([&] {
        try {
            here.block_on(waits(there, end));
        } catch (const task_cancelled& stopped) {
            reason = stopped.reason();
        }
    });
    wait_for(there, 1);
    CHECK(here.shutdown(5s).clean());
    blocked.join();
    CHECK(reason == cancel_reason::shutdown);
    CHECK(end.times == 1);
}

TEST_CASE("runtime: spawn from outside; the handle can be joined by a task, on any worker") {
    runtime here(some(3));
    CHECK(here.workers() == 3);
    for (unsigned i = 0; i < 6; ++i) {
        auto handle = here.spawn(gives(static_cast<int>(i)), {.where = placement::worker(i)});
        CHECK(here.block_on(joins(std::move(handle))) == static_cast<int>(i));
    }
    CHECK(here.block_on(spawns_everywhere()) == 66);
}

TEST_CASE("runtime: from outside, tasks are spread over the workers") {
    runtime here(some(2));
    std::vector<std::size_t> seen;
    for (int i = 0; i < 4; ++i) seen.push_back(here.block_on(home_index()));
    CHECK(seen[0] == seen[2]);
    CHECK(seen[1] == seen[3]);
    CHECK(seen[0] != seen[1]);
}

TEST_CASE("runtime: says which optional features of io_uring it uses and which are missing") {
    runtime here(some(1));
    const auto features = here.features();
    for (const std::string name : {"defer_taskrun", "single_issuer", "cqe_skip",
                                   "accept_poll_first", "send_zero_copy"}) {
        CHECK(std::count_if(features.begin(), features.end(), [&](const auto& each) {
                  return each == name || each == "no " + name;
              }) == 1);
    }
}

TEST_CASE("runtime: one worker for each processor unless the options say otherwise") {
    runtime here;
    CHECK(here.workers() >= 1);
    CHECK(here.block_on(gives(1)) == 1);
}

TEST_CASE("shutdown: cancels everything with its reason, waits, and may be called again") {
    runtime here(some(2));
    std::atomic<int> there{0};
    scope_end ends[4];
    std::vector<join_handle<void>> handles;
    for (unsigned i = 0; i < 4; ++i) {
        handles.push_back(here.spawn(waits(there, ends[i]), {.where = placement::worker(i)}));
    }
    wait_for(there, 4);
    CHECK(here.live_tasks() == 4);
    const auto report = here.shutdown(10s);
    CHECK(report.clean());
    CHECK(report.to_string().empty());
    CHECK(here.live_tasks() == 0);
    for (const auto& end : ends) {
        CHECK(end.times == 1);
        CHECK(end.reason == cancel_reason::shutdown);
    }
    for (const auto& handle : handles) CHECK(handle.done());
    CHECK(here.shutdown(0ms).clean());
}

TEST_CASE("shutdown: on a worker of the same runtime it would wait for itself, and throws") {
    runtime here(some(1));
    CHECK_THAT(here.block_on(shuts_itself_down(here)), Catch::Contains("wait for itself"));
    CHECK(here.block_on(gives(1)) == 1);
}

TEST_CASE("shutdown: from its start on, nothing is taken from outside") {
    runtime here(some(1));
    std::atomic<int> count{0};
    here.block_on(notes(count));
    CHECK(here.shutdown(1s).clean());
    CHECK_THROWS_AS(here.spawn(notes(count)), std::logic_error);
    CHECK_THROWS_AS(here.block_on(notes(count)), std::logic_error);
    CHECK(count == 1);
}

TEST_CASE("shutdown: a task spawned by one that is being cancelled is cancelled too") {
    runtime here(some(1));
    std::atomic<int> there{0};
    scope_end own;
    scope_end child;
    auto handle = here.spawn(spawn_during_shutdown(there, own, child));
    wait_for(there, 1);
    CHECK(here.shutdown(10s).clean());
    CHECK(own.times == 1);
    CHECK(child.times <= 1); // cancelled before its first point, or at it
    CHECK(here.live_tasks() == 0);
}

TEST_CASE("shutdown: after the grace, the report names who is left, where it is suspended; the "
          "destructor takes it by force") {
    const stderr_capture err;
    scope_end end;
    unsigned line = 0;
    {
        runtime here(some(2, 1ms));
        std::atomic<int> there{0};
        here.spawn(shielded_sleeper(there, end, line),
                   {.name = "stubborn", .where = placement::worker(1)})
            .detach();
        wait_for(there, 1);
        const auto report = here.shutdown(1ms);
        REQUIRE(report.leftover.size() == 1);
        CHECK_FALSE(report.clean());
        CHECK(report.leftover[0].name == "stubborn");
        CHECK(report.leftover[0].worker == 1);
        CHECK(report.leftover[0].id != 0);
        CHECK(report.leftover[0].where == "loop_test.cpp:" + std::to_string(line));
        CHECK_THAT(report.to_string(),
                   Catch::Contains("'stubborn'") && Catch::Contains(report.leftover[0].where));
        CHECK(end.times == 0);
        CHECK(here.live_tasks() == 1);
        CHECK(err.text().empty());
    }
    CHECK(end.times == 1);
    CHECK(end.reason == cancel_reason::shutdown);
    CHECK(count_of(err.text(), "'stubborn'") == 1);
    CHECK_THAT(err.text(), Catch::Contains("by force"));
}

TEST_CASE("S96: a task that computes and does not reach a co_await is named, and so are its "
          "neighbours, with their places, and those that have not begun") {
    std::atomic<int> there{0};
    std::atomic<bool> stop{false};
    scope_end end;
    unsigned line = 0;
    runtime here(some(1, 1ms)); // ends first: its tasks use what stands above
    auto neighbour = here.spawn(shielded_sleeper(there, end, line), {.name = "neighbour"});
    wait_for(there, 1);
    auto handle = here.spawn(spins_late(there, stop), {.name = "spinner"});
    wait_for(there, 2);
    auto late = here.spawn(gives(1), {.name = "late"});
    const auto report = here.shutdown(1ms);
    REQUIRE(report.leftover.size() == 3);
    for (const leftover_task& each : report.leftover) {
        if (each.name == "spinner") {
            CHECK(each.id == handle.id());
            CHECK_FALSE(each.suspended);
            CHECK_THAT(each.where,
                       Catch::StartsWith("running, and does not reach a co_await (the last was "
                                         "at loop_test.cpp:"));
        } else if (each.name == "neighbour") {
            CHECK(each.id == neighbour.id());
            CHECK(each.suspended);
            CHECK(each.where == "loop_test.cpp:" + std::to_string(line));
        } else {
            CHECK(each.where == "1 more, which have not begun");
        }
    }
    CHECK(count_of(report.to_string(), "'spinner' on worker 0: running") == 1);
    CHECK(count_of(report.to_string(), "'neighbour' on worker 0 at loop_test") == 1);
    stop = true;
    CHECK_FALSE(here.shutdown(0ms).leftover.size() > 2);
    while (!handle.done()) std::this_thread::yield();
}

TEST_CASE("S96: tasks come and go while a report looks at them from outside") {
    runtime here(some(1));
    std::atomic<bool> stop{false};
    std::atomic<int> there{0};
    auto handle = here.spawn(spawns_and_spins(there, stop), {.name = "busy"});
    wait_for(there, 1);
    const auto report = here.shutdown(0ms);
    stop = true;
    CHECK(count_of(report.to_string(), "'busy' on worker 0: running") == 1);
    CHECK(here.shutdown(10s).clean());
    CHECK(handle.done());
}

TEST_CASE(
    "S97: a grace that is longer than any clock counts is waited for, not passed at once") {
    scope_end end;
    unsigned line = 0;
    std::atomic<int> there{0};
    std::optional<runtime> here(std::in_place, some(1, std::chrono::milliseconds::max()));
    std::atomic<bool> open{false};
    auto handle = here->spawn(shielded_until(there, open, end));
    wait_for(there, 1);
    std::atomic<bool> down{false};
    std::thread closing([&] {
        const bool clean = here->shutdown(std::chrono::milliseconds::max()).clean();
        here.reset();
        down = clean;
    });
    while (!handle.done()) {
        if (line++ == 1000) open = true;
        std::this_thread::yield();
    }
    closing.join();
    CHECK(down);
    CHECK_FALSE(end.torn_down); // nobody took it by force
}

TEST_CASE(
    "S98: a runtime that its own task destroys ends the process with a sentence, at once") {
    const child_end end = in_child([] {
        auto here = std::make_unique<runtime>(some(1));
        runtime& own = *here;
        own.block_on(destroys(std::move(here)));
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK_THAT(end.err, Catch::Contains("not destroyed by a task of its own, which would wait "
                                        "for itself"));
}

TEST_CASE("S98: run() inside a task is refused, also of another runtime") {
    runtime here(some(1));
    CHECK_THAT(here.block_on(runs_inside()), Catch::Contains("run() was called inside a task"));
}

TEST_CASE("S99: a forked process is refused the runtime of its parent, and may have its own") {
    std::optional<runtime> here(std::in_place, some(1));
    CHECK(here->block_on(gives(1)) == 1);
    const child_end end = in_child([&] {
        std::string text;
        const auto refused = [&](auto use) {
            try {
                use();
            } catch (const std::logic_error& error) {
                text = error.what();
                return text.find("in a fork of the process") != std::string::npos;
            }
            return false;
        };
        if (!refused([&] { here->block_on(gives(2)); })) return 1;
        if (!refused([&] { here->spawn(gives(2)).detach(); })) return 2;
        if (!refused([&] { static_cast<void>(here->shutdown(1ms)); })) return 3;
        here.reset();                 // its threads are not here, and nobody waits for them
        if (TOADSTONE_TSAN) return 0; // which lets nobody start threads after a fork
        runtime own(some(1));
        return own.block_on(gives(4)) == 4 ? 0 : 4;
    });
    CHECK(end.err.empty());
    CHECK(end.exited);
    CHECK(end.code == 0);
    CHECK(here->block_on(gives(3)) == 3);
}

TEST_CASE("S99: a forked process finds the library's own locks free") {
    std::atomic<bool> stop{false};
    std::vector<std::thread> holders;
    const auto hold = [&](auto use) {
        holders.emplace_back([&stop, use] {
            while (!stop) {
                for (int i = 0; i < 200; ++i) use();
                std::this_thread::sleep_for(100us); // fork() has to get the locks, too
            }
        });
    };
    hold([] { static_cast<void>(detail::live_frames()); });
    hold([] { on_unobserved(nullptr); });
    int ended = 0;
    int hung = 0;
    for (int i = 0; i < 50; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            static_cast<void>(detail::live_frames());
            on_unobserved(nullptr);
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        ++(WIFEXITED(status) ? ended : hung);
        if (hung > 0) break;
    }
    stop = true;
    for (auto& each : holders) each.join();
    CHECK(hung == 0);
    CHECK(ended == 50);
}

TEST_CASE("S99: a task that forks and goes on in the child ends the child with a sentence") {
    runtime here(some(1));
    const stderr_capture err;
    const int status = here.block_on(forks_and_goes_on());
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
    CHECK_THAT(err.text(), Catch::Contains("only by the process that made it"));
    CHECK(here.block_on(gives(3)) == 3);
}

TEST_CASE(
    "runtime: what cannot be ended is named, and aborts the process where that is asked") {
    const child_end end = in_child([] {
        static std::atomic<int> there{0};
        static const std::atomic<bool> never{false};
        runtime_options options = some(1, 1ms);
        options.on_stuck = on_stuck::abort;
        runtime here(options);
        here.spawn(spins(there, never), {.name = "stuck"}).detach();
        wait_for(there, 1);
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK(count_of(end.err, "'stuck' on worker 0: running") == 2); // by force; and at last
    CHECK_THAT(end.err, Catch::Contains("on_stuck is abort"));
}

TEST_CASE("S39: detached tasks are cancelled and unwound before the destructor returns, and "
          "what they hold is poisoned") {
    poison<int> data[2] = {poison<int>(0), poison<int>(0)};
    std::atomic<int> there{0};
    scope_end ends[8];
    const auto frames = detail::live_frames();
    {
        runtime here(some(2));
        for (unsigned i = 0; i < 2; ++i) {
            here.spawn(holds(there, data[i]), {.where = placement::worker(i)}).detach();
        }
        here.spawn(spawns_more(there, 7, ends)).detach();
        wait_for(there, 10);
    }
    for (const auto& each : data) {
        REQUIRE(each.is_poisoned());
        CHECK(each.cause().reason() == cancel_reason::shutdown);
    }
    for (const auto& end : ends) CHECK(end.reason == cancel_reason::shutdown);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S68: the runtime goes only after what its rings had in flight has come back") {
    test_pipe pipe;
    char outlives[8] = {};
    std::atomic<int> there{0};
    const auto fds = open_descriptors();
    {
        runtime here(some(2));
        for (unsigned i = 0; i < 2; ++i) {
            here.spawn(reads(there, pipe.reader(), outlives), {.where = placement::worker(i)})
                .detach();
        }
        wait_for(there, 2);
    }
    CHECK(open_descriptors() == fds);
    pipe.write("late");
    CHECK(outlives[0] == 0);
    CHECK(pipe.drain() == "late");
}

TEST_CASE("runtime: comes and goes, at once or with work, and leaves no descriptor and frame") {
    const auto fds = open_descriptors();
    const auto frames = detail::live_frames();
    for (int i = 0; i < 100; ++i) {
        runtime here(some(1 + static_cast<unsigned>(i) % 3));
        if (i % 2) CHECK(here.block_on(gives(i)) == i);
        if (i % 5 == 0) CHECK(here.shutdown(5s).clean());
    }
    CHECK(open_descriptors() == fds);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("runtime: a sleep on the real clock lasts as long as it says") {
    runtime here(some(1));
    const auto before = std::chrono::steady_clock::now();
    here.block_on(sleep_for(20ms));
    CHECK(std::chrono::steady_clock::now() - before >= 20ms);
}

TEST_CASE("run: a whole main; its value is the exit code") {
    CHECK(run(gives(17)) == 17);
    std::atomic<int> count{0};
    CHECK(run(notes(count)) == 0);
    CHECK(count == 1);
}

TEST_CASE("run: an exception becomes one line on stderr and exit code 1") {
    const stderr_capture err;
    CHECK(run(fails("it did not work"), some(1)) == 1);
    CHECK(err.text() == "toadstone: it did not work\n");
}
