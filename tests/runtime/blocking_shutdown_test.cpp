// The end of a runtime whose tasks wait for functions that block: who is waited for, and named.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/forking.hpp"
#include "support/probe.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

runtime_options some(std::chrono::milliseconds grace) {
    runtime_options options;
    options.workers = 1;
    options.max_operations = 64;
    options.grace = grace;
    options.blocking_threads = 1;
    return options;
}

/// The function blocks until the test lets it go on.
struct blocker {
    std::atomic<int> inside{0};
    std::atomic<bool> open{false};
    std::atomic<int> returned{0};
    unsigned line = 0;

    void block() {
        ++inside;
        inside.notify_all();
        open.wait(false);
        ++returned;
    }
    void wait_until_inside() {
        for (int seen = inside; seen < 1; seen = inside) inside.wait(seen);
    }
    void let_go() {
        open = true;
        open.notify_all();
    }
};

task<> blocks(blocker& b, scope_end& end) {
    const scope_probe probe(end);
    b.line = __LINE__ + 1;
    co_await spawn_blocking([&b] { b.block(); });
    co_await checkpoint();
}
task<> waits_its_turn(std::atomic<int>& calls) {
    co_await shield(spawn_blocking([&calls] { ++calls; }));
}
task<> blocks_by_itself(blocker& b, scope_end& end) {
    spawn(blocks(b, end), {.name = "left behind"}).detach();
    while (b.inside == 0) co_await yield_now();
}
/// What the functions of many tasks have come to.
struct tally {
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<int> called{0};
    std::atomic<int> delivered{0};
    std::atomic<int> begun{0};
    std::atomic<int> gone{0};

    int call() {
        const int now = ++inside;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        ++called;
        std::this_thread::yield();
        --inside;
        return 1;
    }
};
task<> calls_thrice(tally& t) {
    ++t.begun;
    const scope_exit ends([&t] { ++t.gone; });
    for (int i = 0; i < 3; ++i) {
        t.delivered += co_await spawn_blocking([&t] { return t.call(); });
    }
}

task<int> gives(int value) {
    co_return value;
}
task<int> calls_back(runtime& here) {
    const int value = co_await spawn_blocking([&here] { return here.block_on(gives(4)) + 1; });
    co_return value;
}
task<std::uint64_t> home_of_function() {
    bool on_worker = true;
    co_await spawn_blocking([&on_worker] {
        on_worker = detail::executor::current() != nullptr || this_task::id() != 0;
    });
    co_return on_worker ? 1 : 0;
}
task<std::string> spawns_inside() {
    const auto tries = [] {
        std::string why = "spawned";
        try {
            spawn(gives(1)).detach();
        } catch (const std::logic_error& error) {
            why = error.what();
        }
        return why;
    };
    const std::string text = co_await spawn_blocking(tries);
    co_return text;
}

} // namespace

TEST_CASE("spawn_blocking: in a runtime the function runs on a plain thread, which may use the "
          "runtime from outside") {
    runtime here(some(5s));
    CHECK(here.block_on(home_of_function()) == 0);
    CHECK(here.block_on(calls_back(here)) == 5);
    CHECK(here.block_on(spawn_blocking([](int value) { return value; }, 7)) == 7);
    CHECK_THAT(here.block_on(spawns_inside()), Catch::Contains("outside a task"));
}

TEST_CASE("S215: a shutdown names what blocks: the task, where it was started, its thread, and "
          "what waits for that thread") {
    blocker b;
    scope_end end;
    std::atomic<int> calls{0};
    runtime here(some(5s));
    auto handle = here.spawn(blocks(b, end), {.name = "stuck"});
    b.wait_until_inside();
    auto waiting = here.spawn(waits_its_turn(calls), {.name = "next"});
    shutdown_report report;
    do { // until it has come to its co_await
        report = here.shutdown(1ms);
    } while (report.unstoppable.size() < 2);
    CHECK_FALSE(report.clean());
    CHECK(report.leftover.size() == 2);
    const unstoppable_call& call = report.unstoppable[0];
    CHECK(call.what == "a blocking function on thread block-0");
    CHECK(call.task == handle.id());
    CHECK(call.task_name == "stuck");
    CHECK(call.where == "blocking_shutdown_test.cpp:" + std::to_string(b.line));
    CHECK(report.unstoppable[1].what == "a blocking function that waits for a thread");
    CHECK(report.unstoppable[1].task == waiting.id());
    const std::string text = report.to_string();
    CHECK_THAT(text, Catch::Contains("'stuck' waits for a blocking function on thread block-0, "
                                     "started at blocking_shutdown_test.cpp:" +
                                     std::to_string(b.line) + ", for "));
    CHECK(end.times == 0);
    b.let_go();
    CHECK(here.shutdown(1min).clean());
    CHECK(end.reason == cancel_reason::shutdown);
    CHECK(calls == 1);
}

TEST_CASE(
    "S215: what blocks is named again and again, within the grace and after it, for longer "
    "each time; the runtime ends when it has returned") {
    for (const auto grace : {std::chrono::milliseconds(1h), std::chrono::milliseconds(1ms)}) {
        blocker b;
        scope_end end;
        const stderr_capture err;
        runtime_options options = some(grace);
        options.report_every = 1ms;
        std::optional<runtime> here(std::in_place, options);
        here->spawn(blocks(b, end), {.name = "stuck"}).detach();
        b.wait_until_inside();
        std::atomic<bool> down{false};
        std::thread closing([&] {
            here.reset();
            down = true;
        });
        while (count_of(err.text(), "'stuck' waits for a blocking function") < 3) {
            std::this_thread::yield();
        }
        CHECK_FALSE(down);
        CHECK(end.times == 0);
        b.let_go();
        closing.join();
        CHECK(b.returned == 1);
        CHECK(end.reason == cancel_reason::shutdown);
        const std::string text = err.text();
        CHECK(count_of(text, "by force") == (grace < 1s ? 1 : 0));
        CHECK(count_of(text, "waits for what cannot be stopped") + // within the grace
                  count_of(text, "still waiting for tasks") >=
              2);
    }
}

TEST_CASE("S215: nothing is named in a grace in which nothing blocks") {
    const stderr_capture err;
    scope_end end;
    std::atomic<bool> open{false};
    const auto waits = [](std::atomic<bool>& until, scope_end& to) -> task<> {
        const scope_probe probe(to);
        while (!until) co_await yield_now();
    };
    runtime_options options = some(1h);
    options.report_every = 1ms;
    std::optional<runtime> here(std::in_place, options);
    const auto shielded = [&waits](std::atomic<bool>& until, scope_end& to) -> task<> {
        co_await shield(waits(until, to));
    };
    here->spawn(shielded(open, end)).detach();
    CHECK_FALSE(here->shutdown(20ms).clean());
    open = true;
    here.reset();
    CHECK(err.text().empty());
}

TEST_CASE("S215: run() returns only when the functions that have begun have returned") {
    blocker b;
    scope_end end;
    std::thread later([&b] {
        b.wait_until_inside();
        b.let_go();
    });
    CHECK(run(blocks_by_itself(b, end), some(1h)) == 0);
    CHECK(b.returned == 1);
    CHECK(end.times == 1);
    later.join();
}

TEST_CASE("S216: on_stuck::abort ends the process, with the list of what blocks") {
    const child_end end = in_child([] {
        static blocker b;
        static scope_end never;
        runtime_options options = some(1ms);
        options.on_stuck = on_stuck::abort;
        runtime here(options);
        here.spawn(blocks(b, never), {.name = "stuck"}).detach();
        b.wait_until_inside();
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK(count_of(end.err, "'stuck' waits for a blocking function on thread block-0, started "
                            "at blocking_shutdown_test.cpp:") == 2); // by force; and at last
    CHECK_THAT(end.err, Catch::Contains("on_stuck is abort"));
}

TEST_CASE("S216: on_stuck::abort does nothing to a function that returns in time") {
    blocker b;
    scope_end end;
    runtime_options options = some(1ms);
    options.on_stuck = on_stuck::abort;
    const stderr_capture err;
    std::optional<runtime> here(std::in_place, options);
    here->spawn(blocks(b, end)).detach();
    b.wait_until_inside();
    static_cast<void>(here->shutdown(1ms));
    b.let_go();
    here.reset();
    CHECK(end.reason == cancel_reason::shutdown);
}

TEST_CASE("S217: a task that forks and blocks in the child ends the child with a sentence") {
    runtime here(some(5s));
    const stderr_capture err;
    const auto forks = []() -> task<int> {
        int status = 0;
        const pid_t child = ::fork();
        if (child == 0) {
            std::signal(SIGABRT, SIG_DFL);
            co_await spawn_blocking([] {});
            ::_exit(0);
        }
        ::waitpid(child, &status, 0);
        co_return status;
    };
    const int status = here.block_on(forks());
    CHECK(WIFSIGNALED(status));
    CHECK_THAT(err.text(), Catch::Contains("only by the process that made it"));
    CHECK(here.block_on(gives(3)) == 3);
}

TEST_CASE("S217: a forked process leaves a runtime whose functions block, and ends") {
    blocker b;
    scope_end end;
    std::optional<runtime> here(std::in_place, some(5s));
    auto handle = here->spawn(blocks(b, end));
    b.wait_until_inside();
    const child_end child = in_child([&] {
        here.reset();
        return 0;
    });
    CHECK(child.exited);
    CHECK(child.code == 0);
    CHECK(child.err.empty());
    b.let_go();
    here.reset();
    CHECK(end.times == 1);
}

TEST_CASE("spawn_blocking: tasks of two workers, cancelled from outside, and a shutdown in the "
          "middle: each function that began is delivered, and never more run than may") {
    for (int round = 0; round < 12; ++round) {
        tally t;
        runtime_options options = some(5s);
        options.workers = 2;
        options.blocking_threads = 3;
        options.blocking_keep_alive = std::chrono::milliseconds(round % 3);
        {
            runtime here(options);
            std::vector<join_handle<void>> all;
            for (unsigned i = 0; i < 60; ++i) {
                all.push_back(here.spawn(calls_thrice(t), {.where = placement::worker(i)}));
                if (i % 3 == 2) all[i - 1].cancel();
            }
            if (round % 2 == 0) CHECK(here.shutdown(1min).clean());
            for (auto& each : all) each.cancel();
        }
        CHECK(t.called == t.delivered);
        CHECK(t.begun == t.gone);
        CHECK(t.most <= 3);
        CHECK(t.inside == 0);
    }
}

TEST_CASE("runtime_options: numbers of threads and times that cannot be are refused by name") {
    runtime_options options = some(5s);
    options.blocking_threads = 5000;
    CHECK_THROWS_WITH(runtime(options), Catch::Contains("blocking_threads is 5000"));
    options = some(5s);
    options.report_every = 0ms;
    CHECK_THROWS_WITH(runtime(options), Catch::Contains("report_every is 0 ms"));
    options = some(5s);
    options.blocking_keep_alive = std::chrono::milliseconds::max();
    options.report_every = std::chrono::milliseconds::max();
    runtime here(options);
    CHECK(here.block_on(home_of_function()) == 0);
}
