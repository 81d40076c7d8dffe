// Runs a plain function on the real ring and on the simulated kernel, tame and hostile, and
// compares what it has seen.
#ifndef TOADSTONE_TESTS_SUPPORT_TWO_RINGS_HPP
#define TOADSTONE_TESTS_SUPPORT_TWO_RINGS_HPP

#include "support/io.hpp"
#include "support/rig.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace toadstone::tests {

struct ring_body {
    const char* name;
    void (*what)(rig&);
    /// Room for completions: few, so that it is soon full.
    detail::ring_options sizes = {64, 256};
};

inline std::vector<std::string> seen_on_real_ring(const ring_body& body) {
    const temporary_folder folder;
    const std::size_t before = open_descriptors();
    std::vector<std::string> seen;
    {
        real_rig in(folder.path(), body.sizes);
        body.what(in);
        seen = in.seen();
    }
    CHECK(open_descriptors() == before);
    return seen;
}

/// False if the body has nothing to say.
inline bool run_simulated(const ring_body& body, unsigned seed,
                          const std::vector<std::string>& real, record::choices& chosen) {
    sim::world_options options;
    options.hostile = seed > 0;
    const auto dice =
        seed > 0 ? sim::random_choices(seed) : sim::replayed_choices(std::string_view());
    sim::world::state world(options, *dice);
    sim::detail::sim_kernel kernel(world);
    const sim::detail::use_world use(world);
    bool whole = true;
    {
        simulated_rig in(world, kernel, body.sizes);
        try {
            body.what(in);
            INFO("seed " << seed);
            REQUIRE(in.seen() == real);
            CHECK(kernel.in_flight() == 0);
            CHECK(kernel.complaint() == std::string());
            CHECK(kernel.balanced());
            CHECK(world.descriptors() == 0);
            in.add_to(chosen);
        } catch (const not_this_time&) {
            whole = false;
        }
        kernel.be_prompt();
        for (int i = 0; i < 1000 && kernel.in_flight() > 0; ++i) {
            if (i % 10 == 0) in.cancel_all();
            in.ring().submit();
        }
    }
    return whole;
}

/// Whatever the worlds decide, the body sees the same; and they make every choice that the body
/// says the kernel has.
inline void same_on_both_rings(const ring_body& what) {
    constexpr unsigned seeds = 200;
    constexpr unsigned most_seeds = 5000; // for what is rare
    const auto real = seen_for_real([&what] { return seen_on_real_ring(what); });
    record::choices chosen;
    unsigned whole = 0;
    for (unsigned seed = 0;
         seed <= most_seeds && (whole <= seeds || !never_simulated(chosen).empty()); ++seed) {
        whole += run_simulated(what, seed, real, chosen);
    }
    CHECK(whole > seeds);
    CHECK(never_simulated(chosen) == std::set<std::string>());
}

template <class Bodies>
void run_bodies(const Bodies& bodies) {
    for (const ring_body& each : bodies) {
        DYNAMIC_SECTION(each.name) {
            same_on_both_rings(each);
        }
    }
}

} // namespace toadstone::tests

#endif
