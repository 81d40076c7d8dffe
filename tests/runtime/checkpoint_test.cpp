// checkpoint and yield_now: where a request takes effect, who runs in between, and the budget.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<> passes(int count, int& passed) {
    for (int i = 0; i < count; ++i) {
        co_await checkpoint();
        ++passed;
    }
}
task<> yields(event_log& log, std::string name, int count) {
    for (int i = 0; i < count; ++i) {
        log.push_back(name);
        co_await yield_now();
    }
}
task<> counts_turns(const bool& stop, int& turns) {
    while (!stop) {
        ++turns;
        co_await yield_now();
    }
}
task<> at_gate_then(gate& at, event_log& log, bool yield) {
    traced local(log, "local");
    co_await at.pass();
    log.push_back("passed");
    if (yield) {
        co_await yield_now();
    } else {
        co_await checkpoint();
    }
    log.push_back("went on");
}
task<> yields_once(event_log& log) {
    traced local(log, "local");
    log.push_back("before");
    co_await yield_now();
    log.push_back("after");
}

} // namespace

TEST_CASE("checkpoint: goes on at once when nothing is requested") {
    int passed = 0;
    stepped w;
    auto handle = w.spawn(passes(100, passed));
    w.step();
    CHECK(passed == 100);
    CHECK(handle.done());
}

TEST_CASE("checkpoint: with a request pending it never returns; nor does yield_now") {
    const bool yield = GENERATE(false, true);
    event_log log;
    gate at;
    stepped w;
    auto handle = w.spawn(at_gate_then(at, log, yield));
    w.settle();
    at.open(); // the wait is over and its result will be delivered
    handle.cancel();
    w.settle();
    CHECK(handle.done());
    CHECK(log == event_log{"passed", "local!"});
}

TEST_CASE("yield_now: every other ready task runs before it goes on") {
    event_log log;
    stepped w;
    auto a = w.spawn(yields(log, "a", 3));
    auto b = w.spawn(yields(log, "b", 3));
    auto c = w.spawn(yields(log, "c", 2));
    w.settle();
    CHECK(log == event_log{"a", "b", "c", "a", "b", "c", "a", "b"});
}

TEST_CASE("yield_now: a request that comes while the others run ends the task") {
    event_log log;
    stepped w;
    auto handle = w.spawn(yields_once(log));
    w.step();
    CHECK(log == event_log{"before"});
    handle.cancel();
    w.settle();
    CHECK(log == event_log{"before", "local!"});
    CHECK(handle.done());
}

TEST_CASE("checkpoint: a task that passes many lets its neighbours run in between") {
    stepped w;
    constexpr int checkpoints = 10000;
    int passed = 0;
    int turns = 0;
    bool stop = false;
    auto neighbour = w.spawn(counts_turns(stop, turns));
    auto handle = w.spawn(passes(checkpoints, passed));
    int steps = 0;
    for (; !handle.done() && steps < checkpoints; ++steps) w.step();
    stop = true;
    CHECK(passed == checkpoints);
    CHECK(turns >= steps - 1);
    // The budget: more than a handful of checkpoints in each turn, and not without limit.
    CHECK(steps >= checkpoints / 1000);
    CHECK(steps <= checkpoints / 10);
}
