// manual_reset_event: a door that stays open.
#include <toadstone/sync/manual_reset_event.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::manual_reset_event;

task<> go_through(manual_reset_event& door, order& passed, int who) {
    co_await door.wait();
    passed.push_back(who);
}

} // namespace

TEST_CASE("S266: all who wait pass when it is set, in their order, and everybody after them; a "
          "reset closes it again") {
    manual_reset_event door;
    order passed;
    stepped w(2);
    auto one = w.spawn(go_through(door, passed, 1));
    w.settle();
    auto two = w.spawn(go_through(door, passed, 2));
    w.settle();
    CHECK(passed.empty());
    door.set();
    CHECK(passed.empty()); // resumes nobody
    w.settle();
    CHECK(passed == order{1, 2});
    w.run(go_through(door, passed, 3));
    CHECK(passed == order{1, 2, 3});
    door.reset();
    CHECK_FALSE(door.is_set());
    auto four = w.spawn(go_through(door, passed, 4));
    w.settle();
    CHECK_FALSE(four.done());
    door.set();
    w.settle();
    CHECK(four.done());
}

TEST_CASE("S266: who is stopped leaves the queue, and takes nothing from the others") {
    manual_reset_event door;
    order passed;
    stepped w;
    std::vector<join_handle<>> all;
    for (int who = 0; who < 4; ++who) all.push_back(w.spawn(go_through(door, passed, who)));
    w.settle();
    all[1].cancel();
    all[3].cancel();
    w.settle();
    door.set();
    all[2].cancel(); // has been let through, and has not run
    w.settle();
    CHECK(passed == order{0});
    CHECK(w.end_of(all[2]).is_cancelled());
}

TEST_CASE("S266: a time limit, and a set at the same moment, which wins") {
    manual_reset_event door;
    stepped w;
    auto waits = [](manual_reset_event& at) -> task<bool> {
        co_return co_await at.wait_for(10ms);
    };
    auto late = w.spawn(waits(door));
    w.settle();
    w.advance(10ms);
    CHECK_FALSE(w.end_of(late).value());
    auto in_time = w.spawn(waits(door));
    w.settle();
    w.kernel().time += 10ms;
    door.set();
    w.settle();
    CHECK(w.end_of(in_time).value());
}

TEST_CASE(
    "S266: a plain thread waits, and sees what came before set(); a worker does not block") {
    manual_reset_event door;
    int data = 0;
    std::thread waits([&] {
        door.blocking_wait();
        CHECK(data == 1);
    });
    data = 1;
    door.set();
    waits.join();
    manual_reset_event closed;
    stepped w;
    auto blocks = [](manual_reset_event& at) -> task<> {
        at.blocking_wait();
        co_return;
    };
    CHECK_THROWS_AS(w.run(blocks(closed)), std::logic_error);
}

} // namespace toadstone::tests
