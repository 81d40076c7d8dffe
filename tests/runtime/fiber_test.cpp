// Fibers: code on a stack of its own awaits, is cancelled and fails as a coroutine does.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/fiber/stack.hpp>

#include "support/dies.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> doubles(int value) {
    co_await sleep_for(1ms);
    co_return 2 * value;
}
task<> fails_after(std::chrono::milliseconds time) {
    co_await sleep_for(time);
    throw std::runtime_error("from a child");
}

/// Deep in code that is no coroutine.
int walks_down(int depth) {
    if (depth == 0) return fiber::await(doubles(21));
    return walks_down(depth - 1);
}

void waits_at(gate& at, event_log& log) {
    traced inner(log, "inner");
    fiber::await(at.pass());
    log.push_back("passed");
}
task<> driven(gate& at, event_log& log) {
    traced outer(log, "coroutine");
    auto body = [&] {
        traced local(log, "fiber");
        waits_at(at, log);
        log.push_back("returns");
    };
    co_await run_fiber(body);
    log.push_back("ended");
}

} // namespace

TEST_CASE("a fiber gives what its function returns", "[fiber]") {
    stepped w;
    CHECK(w.run(run_fiber([] { return 7; })) == 7);
    w.run(run_fiber([] {}));
    int target = 3;
    auto refers = [&]() -> int& { return target; };
    w.run([](auto& fn) -> task<> {
        int& got = co_await run_fiber(fn);
        got = 4;
    }(refers));
    CHECK(target == 4);
    auto unique = w.run(run_fiber([] { return std::make_unique<int>(5); }));
    CHECK(*unique == 5);
    CHECK(detail::live_fiber_stacks() == 0);
}

TEST_CASE("a fiber has a copy of its function, which ends with the task", "[fiber]") {
    stepped w;
    event_log log;
    auto shared = std::make_shared<traced>(log, "captured");
    {
        auto owner = [held = std::move(shared)] { return held != nullptr; };
        auto body = std::make_optional(run_fiber(owner));
        CHECK(log.empty());
        CHECK(w.run(*std::move(body)));
        CHECK(log.empty());
        body.reset();
    }
    CHECK(log == event_log{"captured"});
}

TEST_CASE("an exception leaves a fiber as it leaves a task", "[fiber]") {
    stepped w;
    CHECK_THROWS_WITH(w.run(run_fiber([] { throw std::runtime_error("from a fiber"); })),
                      "from a fiber");
    auto deep = [] {
        fiber::await(sleep_for(1ms));
        fiber::await(fails_after(1ms));
    };
    CHECK_THROWS_WITH(w.run(run_fiber(deep)), "from a child");
}

TEST_CASE("a fiber awaits from deep within code that is no coroutine", "[fiber]") {
    stepped w;
    CHECK(w.run(run_fiber([] { return walks_down(100); })) == 42);
}

TEST_CASE("a fiber awaits whatever a task awaits", "[fiber]") {
    stepped w;
    auto body = [&] {
        fiber::await(yield_now());
        fiber::await(checkpoint());
        auto pair = fiber::await(when_all(doubles(1), doubles(2)));
        CHECK(std::get<0>(pair) + std::get<1>(pair) == 6);
        CHECK_THROWS_AS(fiber::await(with_timeout(1ms, sleep_for(1h))), timeout_error);
        auto handle = spawn(doubles(4));
        CHECK(fiber::await(std::move(handle)) == 8);
        const auto ended = fiber::await(as_outcome(fails_after(1ms)));
        CHECK(ended.has_exception());
        CHECK(fiber::await(run_fiber([] { return walks_down(3); })) == 42);
        task_scope* inside = nullptr;
        auto in_scope = [&](task_scope& scope) -> task<> {
            inside = &scope;
            scope.spawn(doubles(1));
            co_return;
        };
        fiber::await(with_scope(in_scope));
        CHECK(inside != nullptr);
        return std::string("whole");
    };
    CHECK(w.run(run_fiber(body)) == "whole");
}

TEST_CASE("S396: a fiber that is cancelled is unwound from where it stands, inside out, as a "
          "teardown with reason and place",
          "[fiber]") {
    stepped w;
    gate at;
    event_log log;
    scope_end end;
    auto body = [&] {
        scope_probe probe(end);
        waits_at(at, log);
    };
    auto around = [](auto& fn, event_log& to) -> task<> {
        traced outer(to, "coroutine");
        co_await run_fiber(fn);
    };
    auto handle = w.spawn(around(body, log));
    w.settle();
    REQUIRE(at.waited_for());
    SECTION("by a request") {
        handle.cancel();
        w.settle();
        CHECK(log == event_log{"inner!", "coroutine!"});
        CHECK(end.times == 1);
        CHECK(end.torn_down);
        CHECK(end.reason == cancel_reason::requested);
        CHECK(std::string(end.where.function_name()).find("waits_at") != std::string::npos);
        CHECK(w.end_of(handle).is_cancelled());
    }
    SECTION("not, where it was faster") {
        at.open();
        handle.cancel();
        w.settle();
        // The gate delivers, and nothing else is awaited.
        CHECK(log == event_log{"passed", "inner", "coroutine"});
        CHECK(w.end_of(handle).has_value());
        CHECK_FALSE(end.torn_down);
    }
    CHECK(detail::live_fiber_stacks() == 0);
}

TEST_CASE("a request that was there before stops a fiber at its first await", "[fiber]") {
    stepped w;
    event_log log;
    gate at;
    auto handle = w.spawn(driven(at, log));
    handle.cancel();
    w.settle();
    CHECK(log == event_log{"inner!", "fiber!", "coroutine!"});
    CHECK_FALSE(at.waited_for());
}

TEST_CASE("a fiber that has not begun destroys its function and has no stack", "[fiber]") {
    event_log log;
    {
        auto owner = [held = std::make_shared<traced>(log, "captured")] {};
        auto never = run_fiber(owner);
        CHECK(detail::live_fiber_stacks() == 0);
    }
    CHECK(log == event_log{"captured"});
}

TEST_CASE("S397: a runtime that ends unwinds the fibers of its tasks", "[fiber]") {
    event_log log;
    gate at;
    {
        stepped w;
        w.spawn(driven(at, log)).detach();
        w.settle();
        CHECK(detail::live_fiber_stacks() == 1);
    }
    CHECK(log == event_log{"inner!", "fiber!", "coroutine!"});
    CHECK(detail::live_fiber_stacks() == 0);
}

TEST_CASE("limits around a fiber end it, limits within end what they stand around", "[fiber]") {
    stepped w;
    event_log log;
    gate never;
    auto around = [&]() -> task<> { co_await with_timeout(5ms, driven(never, log)); };
    CHECK_THROWS_AS(w.run(around()), timeout_error);
    CHECK(log == event_log{"inner!", "fiber!", "coroutine!"});
}

TEST_CASE("S398: each fiber has exceptions of its own: caught, in flight and counted",
          "[fiber]") {
    stepped w;
    event_log log;
    std::array<gate, 2> at;
    auto body = [&](int which) {
        const std::string name = std::to_string(which);
        try {
            throw std::runtime_error(name);
        } catch (const std::runtime_error&) {
            fiber::await(at[static_cast<unsigned>(which)].pass());
            CHECK(std::uncaught_exceptions() == 0);
            // As it was before others ran, with handlers of their own.
            try {
                throw;
            } catch (const std::runtime_error& again) {
                log.push_back(again.what());
            }
        }
        CHECK(std::current_exception() == nullptr);
    };
    auto first = w.spawn(run_fiber([&] { body(0); }));
    auto second = w.spawn(run_fiber([&] { body(1); }));
    auto plain = [&]() -> task<> {
        CHECK(std::current_exception() == nullptr);
        co_await yield_now();
        CHECK(std::uncaught_exceptions() == 0);
    };
    w.settle();
    auto third = w.spawn(plain());
    CHECK(std::current_exception() == nullptr);
    at[0].open();
    w.settle();
    at[1].open();
    w.settle();
    CHECK(log == event_log{"0", "1"});
    CHECK(first.done());
    CHECK(second.done());
    CHECK(third.done());
}

namespace {

/// Awaits as an exception passes.
class awaits_at_end {
public:
    explicit awaits_at_end(gate& at) : at_(&at) {}
    ~awaits_at_end() {
        fiber::no_unwind keep;
        static_cast<void>(fiber::try_await(at_->pass()));
    }

private:
    gate* at_;
};

} // namespace

TEST_CASE(
    "S398: what others do while a fiber waits with an exception in flight is at their own "
    "level",
    "[fiber]") {
    stepped w;
    gate at;
    event_log log;
    auto body = [&] {
        try {
            awaits_at_end end(at);
            throw std::runtime_error("passes");
        } catch (const std::runtime_error& error) {
            traced local(log, error.what());
        }
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    REQUIRE(at.waited_for());
    CHECK(std::uncaught_exceptions() == 0);
    auto other = [&]() -> task<> {
        traced local(log, "other");
        co_return;
    };
    auto plain = w.spawn(other());
    auto by_fiber = w.spawn(run_fiber([&] { traced local(log, "other fiber"); }));
    w.settle();
    at.open();
    w.settle();
    CHECK(handle.done());
    CHECK(log == event_log{"other", "other fiber", "passes"});
}

TEST_CASE("an await inside the handler of an exception may be cancelled", "[fiber]") {
    stepped w;
    gate at;
    event_log log;
    auto body = [&] {
        try {
            throw std::runtime_error("caught");
        } catch (const std::runtime_error&) {
            traced local(log, "in the handler");
            fiber::await(at.pass());
        }
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log == event_log{"in the handler!"});
    CHECK(std::uncaught_exceptions() == 0);
    CHECK(w.end_of(handle).is_cancelled());
}

TEST_CASE("a catch (...) that throws on lets an unwind pass", "[fiber]") {
    stepped w;
    gate at;
    event_log log;
    auto body = [&] {
        traced outer(log, "outer");
        try {
            waits_at(at, log);
        } catch (...) {
            traced local(log, "cleaning up");
            throw;
        }
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log == event_log{"inner!", "cleaning up!", "outer!"});
}

TEST_CASE(
    "S399: who swallows an unwind, or awaits during one, ends the process with a sentence",
    "[fiber]") {
    const auto cancelled = [](auto body) {
        const child_end end = in_child([&]() -> int {
            std::signal(SIGABRT, SIG_DFL);
            stepped w;
            gate at;
            auto handle = w.spawn(run_fiber([&] { body(at); }));
            w.settle();
            handle.cancel();
            w.settle();
            return 0;
        });
        CHECK(end.signal == SIGABRT);
        CHECK(end.err.find("toadstone: this fiber is being unwound because its task was "
                           "cancelled") != std::string::npos);
        CHECK(end.err.find("went on") == std::string::npos);
    };
    // At once, before the code behind it runs.
    cancelled([](gate& at) {
        try {
            fiber::await(at.pass());
        } catch (...) {
        }
        std::fputs("went on\n", stderr);
    });
    // At the end of the fiber, where the exception is kept by somebody.
    static std::exception_ptr kept;
    cancelled([](gate& at) {
        try {
            fiber::await(at.pass());
        } catch (...) {
            kept = std::current_exception();
        }
    });
    cancelled([](gate& at) {
        try {
            fiber::await(at.pass());
        } catch (...) {
            kept = std::current_exception();
            throw std::runtime_error("instead");
        }
    });
    cancelled([](gate& at) {
        try {
            fiber::await(at.pass());
        } catch (...) {
            fiber::await(yield_now());
            throw;
        }
    });
}

TEST_CASE("fiber::await within no_unwind ends the process, outside of fibers it is an error",
          "[fiber]") {
    dies_saying("within fiber::no_unwind a cancellation could not unwind the fiber", [] {
        stepped w;
        w.run(run_fiber([] {
            fiber::no_unwind keep;
            fiber::await(yield_now());
        }));
    });
    CHECK_THROWS_AS(fiber::await(yield_now()), std::logic_error);
    stepped w;
    auto in_coroutine = []() -> task<> {
        fiber::await(yield_now());
        co_return;
    };
    CHECK_THROWS_AS(w.run(in_coroutine()), std::logic_error);
    // Nor is a coroutine that a fiber awaits on the fiber's stack.
    auto through = [&] { fiber::await(in_coroutine()); };
    CHECK_THROWS_AS(w.run(run_fiber(through)), std::logic_error);
    fiber::no_unwind does_nothing;
}

namespace {

struct comparing {
    gate* at;
    event_log* log;
    bool stop = false;
};
comparing* compares = nullptr;

int compare(const void* left, const void* right) {
    const fiber::no_unwind keep;
    if (!compares->stop) {
        const auto waited = fiber::try_await(compares->at->pass());
        compares->stop = waited.is_cancelled();
        compares->log->push_back(compares->stop ? "stopped" : "waited");
    }
    return *static_cast<const int*>(left) - *static_cast<const int*>(right);
}

} // namespace

TEST_CASE("S41, S470: a callback of C code is told of a cancellation as a value, and the fiber "
          "ends at its first await after C has returned",
          "[fiber]") {
    stepped w;
    gate at;
    event_log log;
    comparing with{&at, &log};
    compares = &with;
    std::vector<int> numbers{3, 1, 2};
    auto body = [&] {
        traced local(log, "fiber");
        std::qsort(numbers.data(), numbers.size(), sizeof(int), compare);
        log.push_back("sorted");
        fiber::await(yield_now());
        log.push_back("never");
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    REQUIRE(at.waited_for());
    SECTION("cancelled") {
        handle.cancel();
        w.settle();
        CHECK(numbers == std::vector{1, 2, 3});
        CHECK(log == event_log{"stopped", "sorted", "fiber!"});
        CHECK(w.end_of(handle).is_cancelled());
    }
    SECTION("cancelled and passed at the tie: the first to complete wins") {
        at.open();
        handle.cancel();
        w.settle();
        CHECK(numbers == std::vector{1, 2, 3});
        CHECK(log.front() == "waited");
        CHECK(log.back() == "fiber!");
    }
    SECTION("by the end of the runtime") {
        for (auto reason : {cancel_reason::shutdown}) {
            w.worker().stop_roots(reason, true);
            w.settle();
            CHECK(log == event_log{"stopped", "sorted", "fiber!"});
        }
    }
}

TEST_CASE("try_await gives values and exceptions as outcomes, and nothing while the fiber is "
          "being unwound",
          "[fiber]") {
    stepped w;
    std::optional<bool> told;
    gate at;
    struct tries {
        std::optional<bool>& told;
        ~tries() { told = fiber::try_await(doubles(1)).is_cancelled(); }
    };
    auto body = [&] {
        CHECK(fiber::try_await(doubles(3)).value() == 6);
        CHECK(fiber::try_await(fails_after(1ms)).has_exception());
        tries at_end{told};
        fiber::await(at.pass());
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    w.advance(10ms);
    w.advance(10ms);
    REQUIRE(at.waited_for());
    handle.cancel();
    w.settle();
    CHECK(told == true);
    CHECK(handle.done());
}

TEST_CASE("a fiber without a stack says what it wanted", "[fiber]") {
    stepped w;
    const fiber_options vast{.stack_size = std::size_t{1} << 50};
    CHECK_THROWS_AS(w.run(run_fiber(vast, [] {})), std::system_error);
    const fiber_options small{.stack_size = 32 * 1024};
    CHECK(w.run(run_fiber(small, [] { return walks_down(2); })) == 42);
    CHECK(detail::live_fiber_stacks() == 0);
}

#if !TOADSTONE_ASAN && !TOADSTONE_TSAN
namespace {

[[gnu::noinline]] int touches_below() {
    volatile char here[280 * 1024]; // the stack is 256 KiB, and 64 KiB of guard lie below
    here[0] = 1;
    return here[0];
}
[[gnu::noinline]] int recurses(volatile char* before, int depth) {
    volatile char here[1024];
    here[0] = before ? static_cast<char>(before[0] + 1) : '\0';
    const int below = depth == 0 ? 0 : recurses(here, depth - 1);
    return below + here[0];
}

} // namespace

TEST_CASE("S471: a stack overflow is a fault below the stack, not somebody else's memory",
          "[fiber]") {
    for (int (*overflows)() :
         {+[] { return touches_below(); }, +[] { return recurses(nullptr, 100000); }}) {
        const child_end end = in_child([&]() -> int {
            std::signal(SIGSEGV, SIG_DFL);
            stepped w;
            return w.run(run_fiber(overflows));
        });
        CHECK_FALSE(end.exited);
        CHECK(end.signal == SIGSEGV);
    }
}
#endif

TEST_CASE("S472: stacks are used again, and go back when they are too many", "[fiber]") {
    stepped w;
    const std::int64_t frames = detail::live_frames();
    w.run(run_fiber([] {}));
    const std::size_t kept = detail::kept_fiber_stack_bytes();
    for (int i = 0; i < 1000; ++i) {
        w.run(run_fiber([] { fiber::await(yield_now()); }));
        w.run(run_fiber(fiber_options{.stack_size = 32 * 1024}, [] {}));
    }
    CHECK(detail::live_fiber_stacks() == 0);
    CHECK(detail::kept_fiber_stack_bytes() <= kept + 32 * 1024);

    constexpr int many = TOADSTONE_TSAN ? 200 : 1000;
    gate at[many];
    std::vector<join_handle<void>> all;
    for (auto& each : at) all.push_back(w.spawn(run_fiber([&] { fiber::await(each.pass()); })));
    w.settle();
    CHECK(detail::live_fiber_stacks() == many);
    for (auto& each : at) each.open();
    w.settle();
    all.clear();
    w.settle();
    CHECK(detail::live_fiber_stacks() == 0);
    CHECK(detail::kept_fiber_stack_bytes() <= 16 * 1024 * 1024);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S481: a fiber that blocks in C code is named by the report of a shutdown",
          "[fiber]") {
    std::atomic<bool> begun{false};
    std::atomic<bool> go_on{false};
    runtime one({.workers = 1});
    auto blocks = [&] {
        begun = true;
        while (!go_on) ::usleep(1000); // as a C library that waits by itself
    };
    one.spawn({.name = "blocks in C"}, [&]() { return run_fiber(blocks); }).detach();
    while (!begun) std::this_thread::yield();
    const shutdown_report report = one.shutdown(10ms);
    go_on = true;
    REQUIRE(report.leftover.size() == 1);
    CHECK(report.leftover[0].name == "blocks in C");
    CHECK(report.leftover[0].where == "running, and does not reach a co_await");
    CHECK_FALSE(report.leftover[0].suspended);
}
