// The examples that share data among tasks, cancelled at every await: they end, whatever is
// stopped wherever, and leave no lock held.
#ifndef __clang__ // g++ takes the unnamed namespaces of the examples for those of headers
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif

#include "support/cancelled.hpp"
#include "support/explored.hpp"
#include "support/told.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// Each in a namespace of its own; what they include has been read before.
#define main example_main
namespace connection_pool {
#include "../../examples/connection_pool.cpp"
}
namespace metrics_counters {
#include "../../examples/metrics_counters.cpp"
}
namespace pipeline {
#include "../../examples/pipeline.cpp"
}
namespace poison_and_recover {
#include "../../examples/poison_and_recover.cpp"
}
namespace primitives {
#include "../../examples/primitives.cpp"
}
namespace state_manager {
#include "../../examples/state_manager.cpp"
}
namespace transfer_money {
#include "../../examples/transfer.cpp"
}
#undef main

namespace toadstone::tests {

TEST_CASE("examples: the borrowers of a pool, stopped at every await") {
    cancelled(
        [](sim::world&) -> task<> {
            using namespace connection_pool;
            co_await told(story(made_anew<pool>(2)));
        },
        8);
}
TEST_CASE("examples: counters whose lock releases, stopped at every await") {
    cancelled(
        [](sim::world&) -> task<> {
            using namespace metrics_counters;
            auto& counted = made_anew<metrics>(counters(), "metrics");
            co_await told(story(counted));
            expect(!counted.is_poisoned(), "a lock that releases was poisoned");
        },
        4);
}
TEST_CASE("examples: a pipeline with back-pressure, stopped at every await") {
    cancelled([](sim::world&) -> task<> { co_await told(pipeline::everything()); }, 8);
}
TEST_CASE("examples: the README's bank, stopped at every await") {
    cancelled(
        [](sim::world&) -> task<> {
            using namespace poison_and_recover;
            auto& money = made_anew<bank>(accounts(), "accounts");
            co_await told(story(money));
        },
        5);
}
TEST_CASE("examples: readers and writers, stopped at every await") {
    cancelled(
        [](sim::world&) -> task<> {
            using namespace state_manager;
            co_await told(story(made_anew<state>(factory(), "factory")));
        },
        8);
}
TEST_CASE("examples: transactions, stopped at every await: no money is lost") {
    cancelled(
        [](sim::world&) -> task<> {
            using namespace transfer_money;
            auto& money = made_anew<bank>(accounts(), "accounts");
            co_await told(story(money));
            if (auto held = money.try_lock())
                expect((*held)->alice + (*held)->bob == 100, "money was lost");
            expect(!money.is_poisoned(), "a transaction has poisoned");
        },
        4);
}
TEST_CASE("examples: every lock, permit and event, stopped at every await") {
    // The others wait for each other: who is stopped alone is missed.
    cancelled([](sim::world&) -> task<> { co_await told(primitives::show_all()); }, 10,
              "story");
}

} // namespace toadstone::tests
