// Runs a body on the real ring and in simulated worlds, tame and hostile, and compares what it
// has seen.
#ifndef TOADSTONE_TESTS_SUPPORT_TWO_KERNELS_HPP
#define TOADSTONE_TESTS_SUPPORT_TWO_KERNELS_HPP

#include <toadstone/runtime/uring/kernel.hpp>
#include <toadstone/sim.hpp>

#include "support/conformance.hpp"
#include "support/io.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace toadstone::tests {

inline std::vector<std::string> seen_on_real_ring(body what) {
    const temporary_folder folder;
    const std::size_t before = open_descriptors();
    lab in(folder.path());
    {
        stepped workers;
        workers.run(what(in));
    }
    CHECK(open_descriptors() == before);
    return in.seen();
}

/// Whatever the worlds decide, the body sees the same; and they make every choice that the body
/// says the kernel has. `options` are the worlds', but for how hostile they are.
inline void same_on_both_kernels(body what, sim::world_options options = {}) {
    constexpr unsigned seeds = 200;
    constexpr unsigned most_seeds = 5000; // for what is rare
    const auto real = seen_for_real([&what] { return seen_on_real_ring(what); });
    lab::choices chosen;
    for (unsigned seed = 0;
         seed <= seeds || (seed <= most_seeds && !never_simulated(chosen).empty()); ++seed) {
        lab in("/world");
        options.hostile = seed > 0;
        options.latency = std::chrono::microseconds(5); // lab::quiet() outlasts the slowest
        const auto dice =
            seed > 0 ? sim::random_choices(seed) : sim::replayed_choices(std::string_view());
        const auto run = [&](sim::world& world) -> task<> {
            world.make_folder(in.folder());
            co_await what(in);
        };
        const auto end = sim::simulate(options, *dice, run);
        INFO("seed " << seed << ": " << end.failure);
        REQUIRE(in.seen() == real);
        REQUIRE(end);
        in.add_to(chosen);
    }
    CHECK(never_simulated(chosen) == std::set<std::string>());
}

/// Each of these opcodes has each of its cells, once, with a body or a reason.
inline void check_complete(std::span<const cell> cells, std::span<const std::uint8_t> opcodes) {
    for (const std::uint8_t opcode : opcodes) {
        for (const how end : every_how) {
            const auto matches = [&](const cell& each) {
                return each.opcode == opcode && each.end == end;
            };
            INFO(detail::opcode_name(opcode) << " " << how_names[static_cast<int>(end)]);
            CHECK(std::count_if(cells.begin(), cells.end(), matches) == 1);
        }
    }
    for (const cell& each : cells) CHECK((each.what == nullptr) == (each.why_not != nullptr));
}

inline void run_cells(std::span<const cell> cells) {
    for (const cell& each : cells) {
        if (!each.what) continue;
        DYNAMIC_SECTION(detail::opcode_name(each.opcode)
                        << " " << how_names[static_cast<int>(each.end)]) {
            same_on_both_kernels(each.what);
        }
    }
}

} // namespace toadstone::tests

#endif
