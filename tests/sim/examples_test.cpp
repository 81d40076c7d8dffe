// The examples that share data among tasks, cancelled at every await: they end, whatever is
// stopped wherever, and leave no lock held.
#ifndef __clang__ // g++ takes the unnamed namespaces of the examples for those of headers
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif

#include "support/cancelled.hpp"
#include "support/explored.hpp"

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

#include <fcntl.h>
#include <unistd.h>

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
namespace {

/// What is printed meanwhile is lost.
class quiet {
public:
    quiet() : kept_(dup(STDOUT_FILENO)) {
        std::fflush(stdout);
        const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(nowhere, STDOUT_FILENO);
        close(nowhere);
    }
    quiet(const quiet&) = delete;
    quiet& operator=(const quiet&) = delete;
    ~quiet() {
        std::fflush(stdout);
        dup2(kept_, STDOUT_FILENO);
        close(kept_);
    }

private:
    int kept_;
};

/// A story is told to its end, or ends by what its interrupted tasks have left; it is a task of
/// its own, which is stopped as the others are.
task<> tells(task<> story) {
    try {
        co_await std::move(story);
    } catch (const poison_error&) {
    } catch (const task_cancelled&) {
    }
}
task<> told(task<> story) {
    auto telling = spawn(tells(std::move(story)), {.name = "story"});
    static_cast<void>(co_await telling.outcome());
}

void cancelled(task<> (*story)(sim::world&), std::size_t awaits, const char* victims = "") {
    sim::cancel_report checked;
    {
        const quiet here;
        for (const bool pairs : {false, true}) {
            sim::cancel_options options;
            options.victims = victims;
            options.reason = cancel_reason::timeout;
            options.pairs = pairs;
            options.seeds = 0;
            checked = sim::cancel_at_every_await(options, story);
            if (!checked) break;
        }
    }
    INFO(checked.to_string());
    REQUIRE(checked);
    CHECK(checked.points.size() >= awaits);
}

/// The data that a story's main() has, of the run that goes on: its tasks may outlive the body.
template <class Data, class... From>
Data& made_anew(From&&... from) {
    static std::unique_ptr<Data> the;
    the.reset();
    the = std::make_unique<Data>(std::forward<From>(from)...);
    return *the;
}

} // namespace

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
