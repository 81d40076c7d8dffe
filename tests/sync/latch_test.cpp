// latch: counts down once.
#include <toadstone/sync/latch.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::latch;

task<> wait_for_latch(latch& of, order& passed, int who) {
    co_await of.wait();
    passed.push_back(who);
}

} // namespace

TEST_CASE("S268: everybody passes when the count is zero, and not before; below zero is an "
          "error that counts nothing") {
    latch all(3);
    order passed;
    stepped w;
    auto one = w.spawn(wait_for_latch(all, passed, 1));
    auto two = w.spawn(wait_for_latch(all, passed, 2));
    w.settle();
    all.count_down();
    all.count_down(0);
    w.settle();
    CHECK(passed.empty());
    CHECK_FALSE(all.try_wait());
    CHECK_THROWS_AS(all.count_down(3), std::logic_error);
    all.count_down(2);
    w.settle();
    CHECK(passed == order{1, 2});
    CHECK(all.try_wait());
    w.run(wait_for_latch(all, passed, 3));
    CHECK_THROWS_AS(all.count_down(), std::logic_error);
    latch none(0);
    w.run(wait_for_latch(none, passed, 4));
    CHECK(passed == order{1, 2, 3, 4});
}

TEST_CASE("S268: arrive_and_wait(), a cancelled waiter, a time limit") {
    latch two(2);
    order passed;
    stepped w;
    auto arrives = [](latch& at, order& in, int who) -> task<> {
        co_await at.arrive_and_wait();
        in.push_back(who);
    };
    auto one = w.spawn(arrives(two, passed, 1));
    auto stopped = w.spawn(wait_for_latch(two, passed, 2));
    auto limited =
        w.spawn([](latch& at) -> task<bool> { co_return co_await at.wait_for(1ms); }(two));
    w.settle();
    stopped.cancel();
    w.settle();
    w.advance(1ms);
    CHECK_FALSE(w.end_of(limited).value());
    CHECK(passed.empty());
    w.run(arrives(two, passed, 3));
    w.settle();
    CHECK(passed == order{3, 1});
}

TEST_CASE("S268: whoever has passed may destroy it, also while another thread counts down") {
    for (int round = 0; round < 300; ++round) {
        auto done = std::make_unique<latch>(2);
        latch& all = *done;
        std::thread one([&all] { all.count_down(); });
        std::thread two([&all] { all.count_down(); });
        all.blocking_wait();
        done.reset();
        one.join();
        two.join();
    }
}

} // namespace toadstone::tests
