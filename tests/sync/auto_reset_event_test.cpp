// auto_reset_event: each signal is for one.
#include <toadstone/sync/auto_reset_event.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::auto_reset_event;

task<> take_signal(auto_reset_event& from, order& passed, int who) {
    co_await from.wait();
    passed.push_back(who);
}

} // namespace

TEST_CASE(
    "S267: each set() lets one pass, in the order of their coming; one for nobody is kept, "
    "and two are one") {
    auto_reset_event signal;
    order passed;
    stepped w;
    auto one = w.spawn(take_signal(signal, passed, 1));
    auto two = w.spawn(take_signal(signal, passed, 2));
    w.settle();
    signal.set();
    w.settle();
    CHECK(passed == order{1});
    signal.set();
    signal.set();
    w.settle();
    CHECK(passed == order{1, 2});
    CHECK(signal.try_wait()); // the second for nobody
    CHECK_FALSE(signal.try_wait());
    signal.set();
    signal.set();
    w.run(take_signal(signal, passed, 3));
    CHECK_FALSE(signal.is_set());
    signal.set();
    signal.reset();
    CHECK_FALSE(signal.try_wait());
}

TEST_CASE("S267: a signal that was given to who is stopped goes to the next, or is kept") {
    auto_reset_event signal;
    order passed;
    stepped w;
    auto one = w.spawn(take_signal(signal, passed, 1));
    auto two = w.spawn(take_signal(signal, passed, 2));
    w.settle();
    signal.set(); // for the first, which has not run
    one.cancel();
    w.settle();
    CHECK(passed == order{2});
    auto three = w.spawn(take_signal(signal, passed, 3));
    w.settle();
    signal.set();
    three.cancel();
    w.settle();
    CHECK(w.end_of(three).is_cancelled());
    CHECK(signal.try_wait());
}

TEST_CASE(
    "S267: a time limit at the same moment as a signal: the signal wins, or is not lost") {
    auto_reset_event signal;
    stepped w;
    auto waits = [](auto_reset_event& at) -> task<bool> {
        co_return co_await at.wait_for(10ms);
    };
    auto late = w.spawn(waits(signal));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(w.end_of(late).value());
    auto in_time = w.spawn(waits(signal));
    w.settle();
    w.kernel().time += 10ms;
    signal.set();
    w.settle();
    CHECK(w.end_of(in_time).value());
    CHECK_FALSE(signal.is_set());
}

TEST_CASE("S267: between threads, no signal is lost") {
    constexpr int rounds = 2000;
    auto_reset_event ping;
    auto_reset_event pong;
    std::thread other([&] {
        for (int i = 0; i < rounds; ++i) {
            ping.blocking_wait();
            pong.set();
        }
    });
    runtime r({.workers = 1});
    auto plays = [&]() -> task<int> {
        int played = 0;
        for (int i = 0; i < rounds; ++i) {
            ping.set();
            co_await pong.wait();
            ++played;
        }
        co_return played;
    };
    CHECK(r.block_on(plays()) == rounds);
    other.join();
}

TEST_CASE("S345: a signal that is there is taken at once, also while somebody sets it again") {
    constexpr int rounds = TOADSTONE_TSAN ? 20000 : 2000000; // of either, so that they meet
    auto_reset_event signal;
    std::atomic<bool> stop{false};
    std::atomic<int> set_elsewhere{0};
    std::thread other([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            signal.set();
            set_elsewhere.fetch_add(1, std::memory_order_relaxed);
        }
    });
    int taken = 0;
    int asked = 0;
    for (; asked < rounds || set_elsewhere.load(std::memory_order_relaxed) < rounds; ++asked) {
        signal.set();
        taken += signal.try_wait(); // nobody else takes any
    }
    stop = true;
    other.join();
    CHECK(taken == asked);
}

} // namespace toadstone::tests
