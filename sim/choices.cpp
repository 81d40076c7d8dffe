// The sources of decisions: dice, priorities, recordings, and the odometer.
#include <toadstone/sim/choices.hpp>

#include <toadstone/sim/kernel/own_memory.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

namespace toadstone::sim {

unsigned choices::choose(unsigned n, choice about) {
    const detail::own_memory ours;
    if (n <= 1) return 0;
    n = std::min(n, 256U);
    const unsigned answer = std::min(decide(n, about), n - 1);
    trace_.push_back(static_cast<std::uint8_t>(answer));
    return answer;
}

unsigned choices::pick(std::span<const unsigned> candidates) {
    candidates = candidates.first(std::min<std::size_t>(candidates.size(), 256));
    const auto last = static_cast<unsigned>(candidates.size() - 1);
    const unsigned answer = std::min(decide_among(candidates), last);
    if (last > 0) trace_.push_back(static_cast<std::uint8_t>(answer));
    return answer;
}

unsigned choices::decide_among(std::span<const unsigned> candidates) {
    const auto n = static_cast<unsigned>(candidates.size());
    return n > 1 ? decide(n, choice::schedule) : 0;
}

namespace {

// Small, fast, and the same everywhere, which std::uniform_int_distribution is not.
class dice {
public:
    explicit dice(std::uint64_t seed) noexcept : state_(seed + 0x9e3779b97f4a7c15) {}
    std::uint64_t roll() noexcept { // SplitMix64
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    unsigned below(unsigned n) noexcept { return static_cast<unsigned>(roll() % n); }

private:
    std::uint64_t state_;
};

class random_source final : public choices {
public:
    explicit random_source(std::uint64_t seed) : seed_(seed), dice_(seed) {
        for (auto& each : tame_of_four_) each = static_cast<std::uint8_t>(dice_.below(5));
    }
    std::string name() const override { return "seed=" + std::to_string(seed_); }

private:
    unsigned decide(unsigned n, choice about) override {
        // In a run, a kind is tame 0 to 4 times out of four on top of the dice.
        if (dice_.below(4) < tame_of_four_[static_cast<std::size_t>(about)]) return 0;
        return dice_.below(n);
    }

    std::uint64_t seed_;
    dice dice_;
    std::uint8_t tame_of_four_[5] = {};
};

class pct_source final : public choices {
public:
    pct_source(std::uint64_t seed, unsigned depth, unsigned steps)
        : seed_(seed), depth_(depth), expected_steps_(steps), dice_(seed) {
        for (unsigned i = 1; i < depth; ++i) changes_.push_back({dice_.below(steps), i});
        std::sort(changes_.begin(), changes_.end());
    }
    std::string name() const override {
        return "pct=" + std::to_string(seed_) + "/" + std::to_string(depth_) + "/" +
               std::to_string(expected_steps_);
    }

private:
    // A step, and the priority that a worker drops to there: below all those of the beginning.
    // Which of two drops goes deeper is as random as when they come.
    using change = std::pair<unsigned, std::int64_t>;
    static constexpr unsigned patience = 200; // steps of one worker in a row

    unsigned decide(unsigned n, choice) override { return dice_.below(8) ? 0 : dice_.below(n); }

    unsigned decide_among(std::span<const unsigned> candidates) override {
        for (const unsigned each : candidates) {
            while (priorities_.size() <= each) {
                priorities_.push_back(depth_ + static_cast<std::int64_t>(dice_.roll() >> 2));
            }
        }
        unsigned best = most_urgent(candidates);
        for (; next_change_ < changes_.size() && changes_[next_change_].first <= step_;
             ++next_change_) {
            priorities_[candidates[best]] = changes_[next_change_].second;
            best = most_urgent(candidates);
        }
        if (candidates[best] != latest_) in_a_row_ = 0;
        if (++in_a_row_ > patience && candidates.size() > 1) {
            priorities_[candidates[best]] = lowest_--;
            best = most_urgent(candidates);
            in_a_row_ = 1;
        }
        latest_ = candidates[best];
        ++step_;
        return best;
    }

    unsigned most_urgent(std::span<const unsigned> candidates) const {
        const auto best = std::max_element(
            candidates.begin(), candidates.end(),
            [this](unsigned a, unsigned b) { return priorities_[a] < priorities_[b]; });
        return static_cast<unsigned>(best - candidates.begin());
    }

    std::uint64_t seed_;
    unsigned depth_;
    unsigned expected_steps_;
    dice dice_;
    std::vector<change> changes_;
    std::size_t next_change_ = 0;
    unsigned step_ = 0;
    std::vector<std::int64_t> priorities_; // of each worker, by its number
    std::int64_t lowest_ = 0;
    unsigned latest_ = 0;
    unsigned in_a_row_ = 0;
};

class replay_source final : public choices {
public:
    explicit replay_source(std::vector<std::uint8_t> bytes) : bytes_(std::move(bytes)) {}
    std::string name() const override { return "bytes=" + to_text(bytes_); }

private:
    unsigned decide(unsigned n, choice) override {
        return next_ < bytes_.size() ? bytes_[next_++] % n : 0;
    }

    std::vector<std::uint8_t> bytes_;
    std::size_t next_ = 0;
};

} // namespace

std::unique_ptr<choices> random_choices(std::uint64_t seed) {
    return std::make_unique<random_source>(seed);
}

std::unique_ptr<choices> pct_choices(std::uint64_t seed, unsigned depth,
                                     unsigned expected_steps) {
    return std::make_unique<pct_source>(seed, depth, std::max(1U, expected_steps));
}

std::unique_ptr<choices> replayed_choices(std::span<const std::uint8_t> bytes) {
    return std::make_unique<replay_source>(
        std::vector<std::uint8_t>(bytes.begin(), bytes.end()));
}

std::unique_ptr<choices> replayed_choices(std::string_view text) {
    return std::make_unique<replay_source>(from_text(text));
}

/// A prefix to repeat, then tame answers; remembers how many answers there were at each step.
class odometer::counted final : public choices {
public:
    explicit counted(std::vector<std::uint8_t> prefix) : prefix_(std::move(prefix)) {}
    std::string name() const override { return "bytes=" + to_text(prefix_); }
    std::vector<std::uint8_t> widths;

private:
    unsigned decide(unsigned n, choice) override {
        const std::size_t at = widths.size();
        widths.push_back(static_cast<std::uint8_t>(n - 1));
        return at < prefix_.size() ? prefix_[at] : 0;
    }

    std::vector<std::uint8_t> prefix_;
};

odometer::odometer(unsigned bound)
    : current_(std::make_unique<counted>(std::vector<std::uint8_t>())), bound_(bound) {}
odometer::~odometer() = default;

choices& odometer::current() noexcept {
    return *current_;
}

// The last decision that can be raised without leaving the bound is; what follows it is tame.
bool odometer::next() {
    ++runs_;
    const auto& trace = current_->trace();
    const auto& widths = current_->widths;
    unsigned wild = 0;
    for (const auto each : trace) wild += each != 0;
    for (std::size_t at = trace.size(); at-- > 0;) {
        const bool was_wild = trace[at] != 0;
        const unsigned before = wild - (was_wild ? 1 : 0); // wild decisions in front of `at`
        if (trace[at] < widths[at] && before < bound_) {
            std::vector<std::uint8_t> prefix(
                trace.begin(), trace.begin() + static_cast<std::ptrdiff_t>(at) + 1);
            ++prefix[at];
            current_ = std::make_unique<counted>(std::move(prefix));
            return true;
        }
        wild = before;
    }
    return false;
}

std::string to_text(std::span<const std::uint8_t> trace) {
    std::string text;
    for (std::size_t i = 0; i < trace.size();) {
        if (!text.empty()) text += '.';
        std::size_t end = i;
        while (end < trace.size() && trace[end] == trace[i]) ++end;
        text += std::to_string(trace[i]);
        if (end - i > 1) text += 'x' + std::to_string(end - i);
        i = end;
    }
    return text;
}

std::vector<std::uint8_t> from_text(std::string_view text) {
    std::vector<std::uint8_t> trace;
    while (!text.empty()) {
        const std::size_t dot = text.find('.');
        std::string_view word = text.substr(0, dot);
        text = dot == std::string_view::npos ? std::string_view() : text.substr(dot + 1);
        unsigned value = 0;
        unsigned count = 1;
        const std::size_t times = word.find('x');
        const std::string_view number = word.substr(0, times);
        std::from_chars(number.data(), number.data() + number.size(), value);
        if (times != std::string_view::npos) {
            const std::string_view how_many = word.substr(times + 1);
            std::from_chars(how_many.data(), how_many.data() + how_many.size(), count);
        }
        trace.insert(trace.end(), std::min(count, 10'000'000U),
                     static_cast<std::uint8_t>(value));
    }
    return trace;
}

} // namespace toadstone::sim
