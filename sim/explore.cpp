// The explorers: many runs of one scenario, and a cancellation at every await.
#include <toadstone/sim/simulate.hpp>

#include <toadstone/sim/kernel/driver.hpp>

#include <cstdlib>

namespace toadstone::sim::detail {

report run_once(const world_options& options, choices& dice, scenario& what) {
    return driver(options, dice).run(what);
}

namespace {

class explorer {
public:
    explorer(const explore_options& options, scenario& what) : options_(options), what_(what) {}

    exploration run();

private:
    bool one(choices& dice);
    void failed(report found);
    bool check_repeat(const report& first, std::unique_ptr<choices> again);

    const explore_options& options_;
    scenario& what_;
    exploration result_;
};

bool explorer::one(choices& dice) {
    report found = run_once(options_.world, dice, what_);
    ++result_.runs;
    result_.steps += found.steps;
    if (found.ok) return true;
    failed(std::move(found));
    return false;
}

// Shrinks what failed; keeps the original source if the recording does not fail again.
void explorer::failed(report found) {
    result_.ok = false;
    result_.first_failure = found;
    const auto fails = [&](const std::vector<std::uint8_t>& trace) {
        const auto dice = replayed_choices(trace);
        return !run_once(options_.world, *dice, what_).ok;
    };
    if (!fails(found.trace)) return;
    const auto smallest = shrink(found.trace, fails, 500);
    const auto dice = replayed_choices(smallest);
    report small = run_once(options_.world, *dice, what_);
    if (!small.ok) result_.first_failure = std::move(small);
}

bool explorer::check_repeat(const report& first, std::unique_ptr<choices> again) {
    const report second = run_once(options_.world, *again, what_);
    ++result_.runs;
    result_.steps += second.steps;
    if (second.hash == first.hash) return true;
    result_.ok = false;
    result_.first_failure = second;
    result_.first_failure.ok = false;
    result_.first_failure.failure =
        "the run is not deterministic: two runs from " + first.reproduce + " differ";
    return false;
}

exploration explorer::run() {
    if (const char* replay = std::getenv("TOADSTONE_SIM_REPLAY")) {
        std::string_view text = replay;
        std::unique_ptr<choices> dice;
        if (text.substr(0, 5) == "seed=") {
            dice = random_choices(std::strtoull(replay + 5, nullptr, 10));
        } else {
            if (text.substr(0, 6) == "bytes=") text.remove_prefix(6);
            dice = replayed_choices(text);
        }
        report found = run_once(options_.world, *dice, what_);
        result_.runs = 1;
        result_.steps = found.steps;
        result_.ok = found.ok;
        result_.first_failure = std::move(found);
        return result_;
    }
    for (unsigned i = 0; i < options_.random_runs; ++i) {
        const std::uint64_t seed = options_.first_seed + i;
        const auto dice = random_choices(seed);
        report found = run_once(options_.world, *dice, what_);
        ++result_.runs;
        result_.steps += found.steps;
        if (!found.ok) {
            failed(std::move(found));
            return result_;
        }
        if (i * 100 < options_.random_runs * options_.repeat_percent &&
            !check_repeat(found, random_choices(seed))) {
            return result_;
        }
    }
    for (unsigned i = 0; i < options_.pct_runs; ++i) {
        const auto dice = pct_choices(options_.first_seed + i, options_.pct_depth);
        if (!one(*dice)) return result_;
    }
    if (options_.exhaustive_bound > 0) {
        odometer all(options_.exhaustive_bound);
        result_.exhausted = true;
        do {
            if (!one(all.current())) return result_;
            if (++result_.exhaustive_runs >= options_.most_exhaustive_runs) {
                result_.exhausted = false;
                break;
            }
        } while (all.next());
    }
    return result_;
}

const char* name_of(cancel_moment moment) noexcept {
    switch (moment) {
    case cancel_moment::before_start:
        return "before the await began";
    case cancel_moment::prepared:
        return "before submission";
    case cancel_moment::submitted:
        return "after submission";
    case cancel_moment::completed:
        return "after completion";
    case cancel_moment::twice:
        return "twice";
    }
    return "?";
}

constexpr cancel_moment moments[] = {cancel_moment::before_start, cancel_moment::prepared,
                                     cancel_moment::submitted, cancel_moment::completed,
                                     cancel_moment::twice};

/// One world, tame or from a seed, in which everything is cancelled once.
class canceller {
public:
    canceller(const cancel_options& options, scenario& what, cancel_report& into)
        : options_(options), what_(what), into_(into) {}

    bool run_all(unsigned seed) {
        seed_ = seed;
        const auto points = attempt({});
        if (!into_.ok) return false;
        if (into_.points.empty()) into_.points = points;
        for (std::uint64_t k = 0; k < points.size(); ++k) {
            for (const auto moment : moments) {
                const auto after = attempt({{k, moment}});
                if (!into_.ok) return false;
                if (!options_.pairs) continue;
                for (std::uint64_t second = k + 1; second < after.size(); ++second) {
                    attempt({{k, moment}, {second, cancel_moment::submitted}});
                    if (!into_.ok) return false;
                    attempt({{k, moment}, {second, cancel_moment::completed}});
                    if (!into_.ok) return false;
                }
            }
        }
        return true;
    }

private:
    std::vector<await_point> attempt(std::vector<planned_cancel> cancels) {
        world_options options = options_.world;
        const auto dice = seed_ ? random_choices(seed_) : replayed_choices(std::string_view());
        if (seed_) options.hostile = true;
        driver once(options, *dice);
        once.plan(cancels, options_.victims, options_.reason);
        const report found = once.run(what_);
        ++into_.runs;
        into_.steps += found.steps;
        if (!found.ok) {
            into_.ok = false;
            into_.failure = describe(cancels, once.points()) + ": " + found.failure;
        }
        return once.points();
    }

    std::string describe(const std::vector<planned_cancel>& cancels,
                         const std::vector<await_point>& points) const {
        std::string text =
            seed_ ? "in the world of seed " + std::to_string(seed_) + ", " : std::string();
        if (cancels.empty()) return text + "without any cancellation";
        for (const auto& each : cancels) {
            text += "cancelled at await " + std::to_string(each.point);
            if (each.point < points.size()) {
                text +=
                    " (" + points[each.point].task + " at " + points[each.point].where + ")";
            }
            text += " " + std::string(name_of(each.moment)) + ", ";
        }
        text.resize(text.size() - 2);
        return text;
    }

    const cancel_options& options_;
    scenario& what_;
    cancel_report& into_;
    unsigned seed_ = 0;
};

} // namespace

exploration explore_all(const explore_options& options, scenario& what) {
    return explorer(options, what).run();
}

cancel_report cancel_everywhere(const cancel_options& options, scenario& what) {
    cancel_report result;
    canceller all(options, what, result);
    for (unsigned seed = 0; seed <= options.seeds; ++seed) {
        if (!all.run_all(seed)) break;
    }
    return result;
}

} // namespace toadstone::sim::detail

namespace toadstone::sim {

std::string exploration::to_string() const {
    if (ok) {
        return std::to_string(runs) + " runs, " + std::to_string(steps) + " steps" +
               (exhaustive_runs ? ", of them " + std::to_string(exhaustive_runs) +
                                      (exhausted ? " exhaustive"
                                                 : " of an exhaustive search "
                                                   "that was cut short")
                                : std::string());
    }
    return first_failure.failure +
           "\n  reproduce with TOADSTONE_SIM_REPLAY=" + first_failure.reproduce;
}

std::string cancel_report::to_string() const {
    if (!ok) return failure;
    return std::to_string(points.size()) + " awaits, " + std::to_string(runs) + " runs, " +
           std::to_string(steps) + " steps";
}

} // namespace toadstone::sim
