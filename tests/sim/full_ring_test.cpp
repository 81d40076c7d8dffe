// More requests in one turn than the submission queue has room for, on a kernel that now and
// then takes none of them.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include "support/simulated.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <span>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

constexpr int many = 110; // a simulated worker's queue has 64 entries

task<> accepts(io::tcp_listener& listener) {
    const auto stream = co_await listener.accept();
}

task<> cancels_all_at_once(sim::world&) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    std::vector<join_handle<void>> waiting;
    for (int i = 0; i < many; ++i) waiting.push_back(spawn(accepts(listener)));
    co_await sleep_for(1ms);
    for (auto& each : waiting) each.cancel();
    for (auto& each : waiting) {
        const auto end = co_await each.outcome();
        expect(end.is_cancelled(), "a task that was cancelled ended in another way");
    }
}

} // namespace

TEST_CASE("operation: a request to cancel that the full ring has no room for is made later") {
    const auto found = sim::explore(seeds(100), cancels_all_at_once);
    INFO(found.to_string());
    CHECK(found);
}
