// Choices: the one stream of decisions that drives a simulation, and where it comes from.
#ifndef TOADSTONE_SIM_CHOICES_HPP
#define TOADSTONE_SIM_CHOICES_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace toadstone::sim {

/// What a decision is about. Explorers treat them differently; replay does not.
enum class choice : unsigned char {
    schedule, ///< which worker goes next
    timing,   ///< whether, and in which order, completions are posted
    amount,   ///< how much of a transfer happens
    fault,    ///< whether something goes wrong
    race,     ///< how a cancellation and its target end
};

/// Answers choose(n). By convention 0 is the tame answer: go on with the same worker, complete
/// at once and in order, transfer everything, no fault.
class choices {
public:
    virtual ~choices() = default;
    choices(const choices&) = delete;
    choices& operator=(const choices&) = delete;

    /// A number below `n`, which is at least 1. Recorded, unless there is nothing to choose.
    unsigned choose(unsigned n, choice about);

    /// Which worker goes next: a position in `candidates`, the numbers of those that can go on.
    /// The tame answer is the first, by convention the one that went last. Recorded as
    /// choose(candidates.size()) is, so that a recording answers either.
    unsigned pick(std::span<const unsigned> candidates);

    /// True once in `n` times, if this run has such faults at all.
    [[nodiscard]] bool rarely(unsigned n, choice about = choice::fault) {
        return choose(n, about) == n - 1;
    }

    /// Decisions made so far.
    [[nodiscard]] const std::vector<std::uint8_t>& trace() const noexcept { return trace_; }
    /// How to make this source again: "seed=17", "bytes=0.0.2".
    [[nodiscard]] virtual std::string name() const = 0;

protected:
    choices() = default;
    virtual unsigned decide(unsigned n, choice about) = 0;
    /// For pick(); asked also when there is only one.
    virtual unsigned decide_among(std::span<const unsigned> candidates);

private:
    std::vector<std::uint8_t> trace_;
};

/// Uniform decisions, the tame answer more often. Each run switches some kinds of fault off
/// (swarm testing), so that runs differ in more than their dice.
[[nodiscard]] std::unique_ptr<choices> random_choices(std::uint64_t seed);

/// Probabilistic concurrency testing: of the workers that can go on, the one with the highest
/// priority does. Priorities are random; at `depth - 1` random steps the worker whose turn it
/// is drops below all others. With n workers and k = `expected_steps` steps a run meets a bug
/// that needs `depth` ordering constraints with a probability of 1 / (n * k^(depth - 1)) or
/// more. A worker that goes on for hundreds of steps while others could drops, too: it may be
/// spinning until they do something.
///
/// Source: Burckhardt et al., ASPLOS 2010.
[[nodiscard]] std::unique_ptr<choices> pct_choices(std::uint64_t seed, unsigned depth,
                                                   unsigned expected_steps = 1000);

/// Decisions from recorded bytes, or a fuzzer's; tame when they are used up.
[[nodiscard]] std::unique_ptr<choices> replayed_choices(std::span<const std::uint8_t> bytes);
/// From the text that a failed run printed.
[[nodiscard]] std::unique_ptr<choices> replayed_choices(std::string_view text);

/// Enumerates every sequence of decisions that leaves the tame answer at most `bound` times:
/// with `bound` preemptions and faults, all schedules.
///
///     odometer all(3);
///     do { run(*all.current()); } while (all.next());
class odometer {
public:
    /// With at most `bound` departures from the tame run.
    explicit odometer(unsigned bound);
    ~odometer();
    /// The source for the run that comes next.
    [[nodiscard]] choices& current() noexcept;
    /// Call after each run. False when every sequence has been run.
    [[nodiscard]] bool next();
    /// So far.
    [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }

private:
    class counted;
    std::unique_ptr<counted> current_;
    unsigned bound_;
    std::uint64_t runs_ = 0;
};

/// "0.0.2.1", with runs of zeros as "0x40".
[[nodiscard]] std::string to_text(std::span<const std::uint8_t> trace);
/// What a report's trace was printed as. Errors: std::invalid_argument for what is none.
[[nodiscard]] std::vector<std::uint8_t> from_text(std::string_view text);

/// A shorter or tamer trace for which `fails` is still true: drops the tail, tames decisions,
/// removes them. Runs `fails` at most `budget` times.
template <class Fails>
[[nodiscard]] std::vector<std::uint8_t> shrink(std::vector<std::uint8_t> trace, Fails&& fails,
                                               unsigned budget = 2000);

template <class Fails>
std::vector<std::uint8_t> shrink(std::vector<std::uint8_t> trace, Fails&& fails,
                                 unsigned budget) {
    const auto try_it = [&](std::vector<std::uint8_t> smaller) {
        if (budget == 0 || smaller == trace) return false;
        --budget;
        if (!fails(smaller)) return false;
        trace = std::move(smaller);
        return true;
    };
    for (std::size_t width = trace.size() / 2; width > 0; width /= 2) {
        for (std::size_t at = 0; at + width <= trace.size();) {
            auto without = trace;
            without.erase(without.begin() + static_cast<std::ptrdiff_t>(at),
                          without.begin() + static_cast<std::ptrdiff_t>(at + width));
            auto tamed = trace;
            for (std::size_t i = at; i < at + width; ++i) tamed[i] = 0;
            if (!try_it(std::move(without))) {
                try_it(std::move(tamed));
                at += width;
            }
        }
    }
    while (!trace.empty() && trace.back() == 0) trace.pop_back();
    return trace;
}

} // namespace toadstone::sim

#endif
