// exit() while a global lock is held: the exit code comes through. What the program destroys
// itself is checked as ever (mutex_misuse_test.cpp).
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/capture.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

using sync::mutex;

constinit mutex<int> global(1);
std::unique_ptr<mutex<int>> on_the_heap;

task<int> exits_in_its_section(mutex<int>& m, int code) {
    auto held = co_await m.lock();
    std::exit(code);
    co_return 0;
}
task<> waits_for(mutex<int>& m) {
    auto held = co_await m.lock();
}
task<int> exits_before_a_queue(mutex<int>& m, int code) {
    auto held = co_await m.lock();
    spawn(waits_for(m)).detach();
    spawn(waits_for(m)).detach();
    co_await yield_now();
    co_await yield_now();
    std::exit(code);
    co_return 0;
}

void check_exit(const child_end& end, int code) {
    INFO(end.err);
    CHECK(end.exited);
    CHECK(end.code == code);
    CHECK(end.err.empty());
}

} // namespace

TEST_CASE("S103: exit() in a section of a global mutex keeps its code") {
    check_exit(in_child([] {
                   runtime here({.workers = 2});
                   return here.block_on(exits_in_its_section(global, 7));
               }),
               7);
}

TEST_CASE("S103: exit() while tasks wait for a global mutex keeps its code") {
    check_exit(in_child([] {
                   runtime here({.workers = 1});
                   return here.block_on(exits_before_a_queue(global, 8));
               }),
               8);
}

TEST_CASE("S103: exit() of a program without a runtime, in a section, keeps its code") {
    check_exit(in_child([]() -> int {
                   const auto held = global.blocking_lock();
                   std::exit(9);
               }),
               9);
}

TEST_CASE("S103: exit() while a function's static mutex is held keeps its code") {
    check_exit(in_child([] {
                   static mutex<int> local(1);
                   runtime here({.workers = 1});
                   return here.block_on(exits_in_its_section(local, 10));
               }),
               10);
}

TEST_CASE("S103: exit() while a mutex of a global pointer is held keeps its code") {
    check_exit(in_child([] {
                   on_the_heap = std::make_unique<mutex<int>>(1);
                   runtime here({.workers = 1});
                   return here.block_on(exits_in_its_section(*on_the_heap, 11));
               }),
               11);
}

TEST_CASE("S103: what the program destroys itself in use is told, with a runtime around") {
    const auto end = in_child([] {
        std::signal(SIGABRT, SIG_DFL);
        const runtime here({.workers = 1});
        std::optional<mutex<int>> on_the_stack(std::in_place, 1);
        const auto held = on_the_stack->blocking_lock();
        on_the_stack.reset();
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    const auto heap = in_child([] {
        std::signal(SIGABRT, SIG_DFL);
        on_the_heap = std::make_unique<mutex<int>>(1);
        const auto held = on_the_heap->blocking_lock();
        on_the_heap.reset();
        return 0;
    });
    CHECK(heap.signal == SIGABRT);
}
