// The explorers: many runs of one scenario, and a cancellation at every await.
#include <toadstone/sim/simulate.hpp>

#include <toadstone/sim/kernel/driver.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace toadstone::sim::detail {

report run_once(const world_options& options, choices& dice, scenario& what) {
    return driver(options, dice).run(what);
}

namespace {

// A number from the environment, for runs that go deeper than the tests of every day.
std::uint64_t setting(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// What TOADSTONE_SIM_TIMES and TOADSTONE_SIM_SHARE make of a number of random runs.
unsigned runs_wanted(unsigned runs) {
    const std::uint64_t share = std::max<std::uint64_t>(1, setting("TOADSTONE_SIM_SHARE", 1));
    const std::uint64_t all = runs * setting("TOADSTONE_SIM_TIMES", 1);
    return static_cast<unsigned>((all + share - 1) / share);
}

/// Adds a line to the file that TOADSTONE_SIM_STATISTICS names, for whoever adds them up.
class statistics {
public:
    explicit statistics(const char* what) noexcept
        : what_(what), begun_(std::chrono::steady_clock::now()) {}
    void add(std::uint64_t runs, std::uint64_t steps) const {
        const char* path = std::getenv("TOADSTONE_SIM_STATISTICS");
        if (!path) return;
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun_;
        if (std::FILE* file = std::fopen(path, "ae")) {
            std::fprintf(file, "%s %llu %llu %.3f\n", what_,
                         static_cast<unsigned long long>(runs),
                         static_cast<unsigned long long>(steps), took.count());
            std::fclose(file);
        }
    }

private:
    const char* what_;
    std::chrono::steady_clock::time_point begun_;
};

// The source that a name from choices::name() means.
std::unique_ptr<choices> choices_named(std::string_view name) {
    const auto number = [&name] {
        std::uint64_t value = 0;
        const auto end = std::from_chars(name.data(), name.data() + name.size(), value);
        name.remove_prefix(static_cast<std::size_t>(end.ptr - name.data()));
        return value;
    };
    const auto starts = [&name](std::string_view with) {
        if (name.substr(0, with.size()) != with) return false;
        name.remove_prefix(with.size());
        return true;
    };
    if (starts("seed=")) return random_choices(number());
    if (starts("pct=")) {
        const std::uint64_t seed = number();
        const auto depth = static_cast<unsigned>(starts("/") ? number() : 3);
        const auto steps = static_cast<unsigned>(starts("/") ? number() : 1000);
        return pct_choices(seed, depth, steps);
    }
    starts("bytes=");
    return replayed_choices(name);
}

class explorer {
public:
    explorer(const explore_options& options, scenario& what) : options_(options), what_(what) {
        options_.random_runs = runs_wanted(options_.random_runs);
        options_.pct_runs = runs_wanted(options_.pct_runs);
        options_.repeat_percent = static_cast<unsigned>(
            setting("TOADSTONE_SIM_REPEAT_PERCENT", options_.repeat_percent));
        if (options_.exhaustive_bound > 0) {
            options_.exhaustive_bound +=
                static_cast<unsigned>(setting("TOADSTONE_SIM_DEEPER", 0));
        }
    }

    exploration run();

private:
    bool one(choices& dice);
    void failed(report found);
    bool check_repeat(const report& first, std::unique_ptr<choices> again);
    void count(const report& found) noexcept {
        ++result_.runs;
        result_.steps += found.steps;
    }
    /// Steps that a run takes, so that what PCT changes at a random one is in the run.
    [[nodiscard]] unsigned usual_length() const noexcept {
        if (result_.runs == 0) return 1000;
        return static_cast<unsigned>(result_.steps / result_.runs) + 1;
    }

    explore_options options_;
    scenario& what_;
    exploration result_;
};

bool explorer::one(choices& dice) {
    report found = run_once(options_.world, dice, what_);
    count(found);
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
    count(second);
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
        const std::string_view text = replay;
        const auto dice = choices_named(text);
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
        count(found);
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
        const auto dice =
            pct_choices(options_.first_seed + i, options_.pct_depth, usual_length());
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

struct named_moment {
    cancel_moment moment;
    std::string_view word;     // in what reproduces a run
    std::string_view sentence; // in what tells of it
};
constexpr named_moment moments[] = {
    {cancel_moment::before_start, "early", "cancelled before the await began"},
    {cancel_moment::prepared, "prepared", "cancelled before submission"},
    {cancel_moment::submitted, "submitted", "cancelled after submission"},
    {cancel_moment::completed, "completed", "cancelled after completion"},
    {cancel_moment::timed_out, "timeout", "timed out at the completion"},
    {cancel_moment::twice, "twice", "cancelled twice"},
    {cancel_moment::failed, "failed", "its operation failed"},
};

const named_moment& name_of(cancel_moment moment) noexcept {
    return *std::find_if(std::begin(moments), std::end(moments),
                         [moment](const auto& each) { return each.moment == moment; });
}

/// One world, tame or from a seed, in which everything goes wrong once.
class canceller {
public:
    canceller(const cancel_options& options, scenario& what, cancel_report& into)
        : options_(options), what_(what), into_(into) {}

    bool run_all(unsigned seed) {
        seed_ = seed;
        recorded_.clear();
        const auto points = attempt({});
        recorded_ = points;
        if (into_.ok && into_.points.empty()) into_.points = points;
        const std::size_t last = options_.cancels ? points.size() : 0;
        for (std::uint64_t k = 0; into_.ok && k < last; ++k) {
            for (const auto& each : moments) {
                const auto after = attempt({{{k, each.moment}}, {}});
                if (!into_.ok) return false;
                if (options_.pairs) run_pairs({k, each.moment}, after.size());
            }
        }
        if (options_.allocations) refuse_each();
        return into_.ok;
    }

    /// What `text`, of an earlier report, names.
    void replay(std::string_view text) {
        const std::size_t at = text.find('@');
        if (at != text.npos) seed_ = static_cast<unsigned>(to_number(text.substr(at + 1)));
        text = text.substr(0, at);
        run_plan plan;
        while (!text.empty()) {
            const std::size_t end = text.find('+');
            const std::string_view one = text.substr(0, end);
            text = end == text.npos ? std::string_view() : text.substr(end + 1);
            const std::size_t slash = one.find('/');
            if (slash == one.npos) continue;
            const std::string_view word = one.substr(0, slash);
            const std::uint64_t number = to_number(one.substr(slash + 1));
            if (word == refuse_word) plan.refused = number;
            for (const auto& each : moments) {
                if (each.word == word) plan.cancels.push_back({number, each.moment});
            }
        }
        recorded_ = attempt({});
        if (!into_.ok) return;
        into_ = {};
        into_.points = attempt(plan);
    }

private:
    static constexpr std::string_view refuse_word = "refuse";

    static std::uint64_t to_number(std::string_view text) {
        std::uint64_t value = 0;
        std::from_chars(text.data(), text.data() + text.size(), value);
        return value;
    }

    void run_pairs(const planned_cancel& first, std::uint64_t points) {
        for (std::uint64_t second = first.point + 1; second < points; ++second) {
            for (const auto moment : {cancel_moment::submitted, cancel_moment::completed}) {
                attempt({{first, {second, moment}}, {}});
                if (!into_.ok) return;
            }
        }
    }

    void refuse_each() {
        refused_ = true;
        for (std::uint64_t k = 0; into_.ok && refused_; ++k) {
            attempt({{}, k});
            into_.allocations += refused_;
        }
    }

    std::vector<await_point> attempt(const run_plan& plan) {
        world_options options = options_.world;
        const auto dice = seed_ ? random_choices(seed_) : replayed_choices(std::string_view());
        if (seed_) options.hostile = true;
        driver once(options, *dice);
        once.plan(plan, options_.victims, options_.reason);
        const report found = once.run(what_);
        refused_ = once.refused();
        ++into_.runs;
        into_.steps += found.steps;
        if (!found.ok) {
            into_.ok = false;
            // One that is cancelled before an await does not suspend there.
            const auto& names =
                once.points().size() > recorded_.size() ? once.points() : recorded_;
            into_.failure = describe(plan, names) + ": " + found.failure;
            into_.reproduce = name_of_plan(plan);
            into_.log = found.log;
        }
        return once.points();
    }

    std::string describe(const run_plan& plan, const std::vector<await_point>& points) const {
        std::string text;
        if (seed_) text = "in the world of seed " + std::to_string(seed_) + ", ";
        if (plan.refused) {
            return text + "without memory for allocation " + std::to_string(*plan.refused);
        }
        if (plan.cancels.empty()) return text + "with nothing cancelled";
        for (const auto& each : plan.cancels) {
            text.append(name_of(each.moment).sentence);
            text += " at await " + std::to_string(each.point);
            if (each.point < points.size()) {
                text +=
                    " (" + points[each.point].task + " at " + points[each.point].where + ")";
            }
            text += ", ";
        }
        text.resize(text.size() - 2);
        return text;
    }

    std::string name_of_plan(const run_plan& plan) const {
        std::string text = "cancel=";
        for (const auto& each : plan.cancels) {
            if (text.back() != '=') text += '+';
            text.append(name_of(each.moment).word) += '/' + std::to_string(each.point);
        }
        if (plan.refused) text.append(refuse_word) += '/' + std::to_string(*plan.refused);
        return seed_ ? text + '@' + std::to_string(seed_) : text;
    }

    const cancel_options& options_;
    scenario& what_;
    cancel_report& into_;
    unsigned seed_ = 0;
    bool refused_ = false;
    std::vector<await_point> recorded_; // of the run in which nothing goes wrong
};

} // namespace

exploration explore_all(const explore_options& options, scenario& what) {
    const statistics count("explore");
    exploration result = explorer(options, what).run();
    count.add(result.runs, result.steps);
    return result;
}

cancel_report cancel_everywhere(const cancel_options& options, scenario& what) {
    cancel_report result;
    cancel_options chosen = options;
    chosen.pairs = options.pairs || setting("TOADSTONE_SIM_PAIRS", 0) != 0;
    canceller all(chosen, what, result);
    constexpr std::string_view marker = "cancel=";
    const char* replay = std::getenv("TOADSTONE_SIM_REPLAY");
    if (replay && std::string_view(replay).substr(0, marker.size()) == marker) {
        all.replay(replay + marker.size());
        return result;
    }
    const statistics count("cancel");
    // No share of these: each world has awaits and allocations that others have not.
    const auto times = static_cast<unsigned>(setting("TOADSTONE_SIM_TIMES", 1));
    for (unsigned seed = 0; seed <= options.seeds * times; ++seed) {
        if (!all.run_all(seed)) break;
    }
    count.add(result.runs, result.steps);
    return result;
}

} // namespace toadstone::sim::detail

namespace toadstone::sim {

namespace {

/// The log of a run that failed, as part of a report.
std::string indented(const std::string& log) {
    std::string text;
    for (std::size_t at = 0; at < log.size();) {
        const std::size_t end = std::min(log.find('\n', at), log.size());
        text.append("\n  log: ").append(log, at, end - at);
        at = end + 1;
    }
    return text;
}

} // namespace

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
           "\n  reproduce with TOADSTONE_SIM_REPLAY=" + first_failure.reproduce +
           indented(first_failure.log);
}

std::string cancel_report::to_string() const {
    if (!ok) {
        return failure + "\n  reproduce with TOADSTONE_SIM_REPLAY=" + reproduce + indented(log);
    }
    std::string text = std::to_string(points.size()) + " awaits, ";
    if (allocations) text += std::to_string(allocations) + " allocations, ";
    return text + std::to_string(runs) + " runs, " + std::to_string(steps) + " steps";
}

} // namespace toadstone::sim
