// runtime::post(): plain functions on a worker, from any thread.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

runtime_options two_workers() {
    runtime_options options;
    options.workers = 2;
    options.max_operations = 64;
    return options;
}

} // namespace

TEST_CASE(
    "S425: post: functions run on the worker that is asked for, in the order of their thread, "
    "as a task; move-only ones too") {
    runtime here(two_workers());
    std::vector<int> order;
    std::atomic<bool> done{false};
    std::thread::id first_on{};
    std::thread::id last_on{};
    std::string name;
    std::thread poster([&] {
        for (int i = 0; i < 100; ++i) {
            here.post(
                [&, i] {
                    if (i == 0) first_on = std::this_thread::get_id();
                    order.push_back(i);
                },
                placement::worker(1));
        }
        auto box = std::make_unique<int>(100);
        here.post(
            [&, box = std::move(box)] {
                order.push_back(*box);
                last_on = std::this_thread::get_id();
                name = this_task::name();
                done = true;
                done.notify_all();
            },
            placement::worker(1));
    });
    poster.join();
    done.wait(false);
    CHECK(here.shutdown(1min).clean());
    REQUIRE(order.size() == 101);
    for (int i = 0; i <= 100; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
    CHECK(first_on == last_on);
    CHECK(first_on != std::this_thread::get_id());
    CHECK(name == "posted");
}

TEST_CASE("S425: post: from a task of the runtime, to the other worker") {
    runtime here(two_workers());
    const auto body = [](runtime& in) -> task<bool> {
        std::atomic<int> elsewhere{0};
        std::atomic<int> done{0};
        const auto mine = std::this_thread::get_id();
        for (unsigned i = 0; i < 2; ++i) {
            in.post(
                [&] {
                    if (std::this_thread::get_id() != mine) ++elsewhere;
                    ++done;
                },
                placement::worker(i));
        }
        while (done < 2) co_await sleep_for(1ms);
        co_return elsewhere == 1;
    };
    CHECK(here.block_on(body(here)));
}

TEST_CASE("S425: post: what the function throws is told; after the shutdown it is refused") {
    const stderr_capture err;
    runtime here(two_workers());
    here.post([] { throw std::runtime_error("bad errand"); });
    CHECK(here.shutdown(1min).clean());
    CHECK_THAT(err.text(), Catch::Contains("'posted' failed and nobody joined it") &&
                               Catch::Contains("bad errand"));
    CHECK_THROWS_AS(here.post([] {}), std::logic_error);
}

TEST_CASE("S425: post: what was posted is called although a shutdown follows at once") {
    constexpr int many = 200;
    int called[2] = {0, 0};
    runtime here(two_workers());
    for (int i = 0; i < many; ++i) {
        const unsigned worker = i % 2 == 0 ? 0 : 1;
        here.post([&called, worker] { ++called[worker]; }, placement::worker(worker));
    }
    CHECK(here.shutdown(1min).clean());
    CHECK(called[0] + called[1] == many);
}
