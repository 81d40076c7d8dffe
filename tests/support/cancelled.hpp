// Scenarios that are cancelled at every await, and run out of memory at every allocation. For
// programs of one file: it brings the operators new that fail.
#ifndef TOADSTONE_TESTS_SUPPORT_CANCELLED_HPP
#define TOADSTONE_TESTS_SUPPORT_CANCELLED_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include "failing_new.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <new>

namespace toadstone::tests {

/// At every await, every moment, in pairs; and once in a few hostile worlds, in fewer under
/// AddressSanitizer: without it they are thirty.
inline void cancelled_everywhere(task<> (*body)(sim::world&), std::size_t awaits) {
    for (const bool pairs : {true, false}) {
        sim::cancel_options options;
        options.world.workers = 2;
        options.reason = cancel_reason::timeout;
        options.pairs = pairs;
        options.seeds = pairs ? 0 : TOADSTONE_ASAN ? 6 : 30;
        options.allocations = true;
        options.world.all_memory_back = true;
        const auto checked = sim::cancel_at_every_await(options, body);
        INFO((pairs ? "in pairs: " : "by seeds: ") << checked.to_string());
        REQUIRE(checked);
        CHECK(checked.points.size() >= awaits);
    }
}

/// A scope's body and all that it spawns, but for an allocation that was made to fail.
template <class Body>
task<> all_of(Body& body) {
    try {
        co_await with_scope(body);
    } catch (const std::bad_alloc&) {
    }
}

} // namespace toadstone::tests

#endif
