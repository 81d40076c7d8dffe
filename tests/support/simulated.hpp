// What scenarios that run against a simulated kernel share: claims, patience, and clients.
#ifndef TOADSTONE_TESTS_SUPPORT_SIMULATED_HPP
#define TOADSTONE_TESTS_SUPPORT_SIMULATED_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace toadstone::tests {

/// Fails the run, and with it the exploration.
inline void expect(bool claim, const std::string& otherwise) {
    if (!claim) throw std::logic_error(otherwise);
}

/// The options of an exploration; TOADSTONE_SIM_SEED in the environment is the first seed.
inline sim::explore_options seeds(unsigned random_runs, unsigned pct_runs = 0) {
    const char* const first = std::getenv("TOADSTONE_SIM_SEED");
    sim::explore_options options;
    options.world.workers = 2;
    options.world.all_memory_back = true; // where failing_new.hpp is in the program
    options.first_seed = first ? std::strtoul(first, nullptr, 10) : 1;
    options.random_runs = random_runs;
    options.pct_runs = pct_runs;
    return options;
}

/// Everything that can go wrong once, for the tasks named so, in the tame world and in `seeds`
/// hostile ones.
inline sim::cancel_options everything_goes_wrong(const char* victims, unsigned seeds) {
    sim::cancel_options options;
    options.world.workers = 2;
    options.world.all_memory_back = true;
    options.victims = victims;
    options.allocations = true;
    options.seeds = TOADSTONE_ASAN ? seeds / 6 : seeds; // without it, in all of them
    return options;
}

/// After `faults` the world does no more harm, and whatever it has done, the scenario has to
/// come to its end within `settles`.
inline void calm_down(sim::explore_options& options, std::chrono::nanoseconds faults,
                      std::chrono::nanoseconds settles) {
    options.world.calm_after = faults;
    options.world.settles_within = settles;
}

/// Where a server listens, once it does.
class address {
public:
    void set(const io::endpoint& at) noexcept { at_ = at; }
    [[nodiscard]] bool is_known() const noexcept { return at_.has_value(); }
    [[nodiscard]] task<io::endpoint> known() const {
        while (!at_) co_await sleep_for(std::chrono::milliseconds(1));
        co_return *at_;
    }

private:
    std::optional<io::endpoint> at_;
};

/// Connects as often as it takes, for twenty seconds, or longer while the network is parted.
inline task<std::optional<io::tcp_stream>> connect_in_time(io::endpoint to) {
    std::optional<io::tcp_stream> stream;
    for (int i = 0; i < 40 && !stream; ++i) {
        try {
            stream.emplace(
                co_await with_timeout(std::chrono::seconds(10), io::tcp_stream::connect(to)));
        } catch (const std::system_error&) {
            // refused, by a fault of the network
        } catch (const timeout_error&) {
            // parted
        }
        if (!stream) co_await sleep_for(std::chrono::milliseconds(500));
    }
    co_return stream;
}

/// Reads to the end. `into` has what came, also when the connection breaks.
inline task<> read_to_end(io::tcp_stream& from, std::string& into) {
    char buffer[4096];
    for (;;) {
        const std::size_t count = co_await from.read_some(std::span(buffer));
        if (count == 0) co_return;
        into.append(buffer, count);
    }
}

} // namespace toadstone::tests

#endif
