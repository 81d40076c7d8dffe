// The sources of decisions: reproducible, replayable, exhaustive where they say so.
#include <toadstone/sim/choices.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

using namespace toadstone::sim;

namespace {

std::vector<unsigned> decisions(choices& from, unsigned count) {
    std::vector<unsigned> all;
    for (unsigned i = 0; i < count; ++i) {
        all.push_back(from.choose(2 + i % 5, static_cast<choice>(i % 5)));
    }
    return all;
}

/// Three workers that take ten steps each, one at a time. When each of them happened.
struct schedule {
    static constexpr unsigned workers = 3;
    static constexpr unsigned steps = 10;
    unsigned when[workers][steps] = {};
};
schedule made_by(choices& source) {
    schedule made;
    unsigned done[schedule::workers] = {};
    unsigned present = 0;
    for (unsigned now = 0; now < schedule::workers * schedule::steps; ++now) {
        std::vector<unsigned> candidates; // the present one in front, as the driver does it
        for (unsigned i = 0; i < schedule::workers; ++i) {
            const unsigned each = (present + i) % schedule::workers;
            if (done[each] < schedule::steps) candidates.push_back(each);
        }
        present = candidates[source.pick(candidates)];
        made.when[present][done[present]++] = now;
    }
    return made;
}
template <class Bug>
unsigned hits(unsigned runs, unsigned depth, Bug bug) {
    unsigned count = 0;
    for (unsigned seed = 0; seed < runs; ++seed) {
        const auto source = pct_choices(seed, depth, schedule::workers * schedule::steps);
        count += bug(made_by(*source));
    }
    return count;
}

} // namespace

TEST_CASE("choices: the same seed gives the same decisions, another seed others") {
    std::set<std::vector<unsigned>> seen;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const auto first = random_choices(seed);
        const auto second = random_choices(seed);
        const auto made = decisions(*first, 200);
        CHECK(made == decisions(*second, 200));
        CHECK(first->name() == "seed=" + std::to_string(seed));
        seen.insert(made);
    }
    CHECK(seen.size() == 50);
}

TEST_CASE(
    "choices: every source answers below n, and 0 without a record when there is no choice") {
    std::vector<std::unique_ptr<choices>> sources;
    sources.push_back(random_choices(7));
    sources.push_back(pct_choices(7, 3));
    sources.push_back(replayed_choices("255x1000"));
    for (auto& source : sources) {
        CHECK(source->choose(1, choice::schedule) == 0);
        CHECK(source->trace().empty());
        for (unsigned n = 2; n < 300; ++n) {
            CHECK(source->choose(n, choice::schedule) < std::min(n, 256U));
        }
        CHECK(source->trace().size() == 298);
    }
}

TEST_CASE("choices: what one source decided, its trace decides again") {
    const auto original = random_choices(3);
    const auto made = decisions(*original, 300);
    const auto from_bytes = replayed_choices(original->trace());
    CHECK(decisions(*from_bytes, 300) == made);
    const auto from_printed = replayed_choices(to_text(original->trace()));
    CHECK(decisions(*from_printed, 300) == made);
    const std::vector<unsigned> tame(10, 0);
    const auto used_up = replayed_choices("");
    CHECK(decisions(*used_up, 10) == tame);
}

TEST_CASE("choices: a pick is recorded and repeated as a choice of that many is") {
    const std::vector<unsigned> three{2, 0, 1};
    const std::vector<unsigned> one{2};
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const auto original = pct_choices(seed, 2);
        const auto random = random_choices(seed);
        const auto same_random = random_choices(seed);
        std::vector<std::uint8_t> picked;
        for (int i = 0; i < 50; ++i) {
            CHECK(original->pick(one) == 0);
            picked.push_back(static_cast<std::uint8_t>(original->pick(three)));
            CHECK(random->pick(three) == same_random->choose(3, choice::schedule));
        }
        CHECK(original->trace() == picked);
        const auto again = replayed_choices(original->trace());
        for (const auto each : picked) CHECK(again->pick(three) == each);
    }
}

// A bug that needs d constraints of order is found once in n * k^(d-1) runs, or more often.
TEST_CASE("choices: PCT keeps its word on bugs of depth 1 to 3 among three workers") {
    // One constraint: whoever goes first goes to its end.
    const auto last_first = [](const schedule& s) { return s.when[2][9] < s.when[0][0]; };
    CHECK(hits(3000, 1, last_first) >= 1000);
    // Two: another one gets between two steps.
    for (unsigned i = 0; i < 9; ++i) {
        const auto between = [i](const schedule& s) {
            return s.when[0][i] < s.when[1][0] && s.when[1][0] < s.when[0][i + 1];
        };
        CHECK(hits(9000, 2, between) >= 100);
    }
    // Three: a second one is interrupted after it has interrupted the first.
    const auto nested = [](const schedule& s) {
        return s.when[0][3] < s.when[1][0] && s.when[1][4] < s.when[2][0] &&
               s.when[2][9] < s.when[1][5];
    };
    CHECK(hits(54000, 3, nested) >= 20);
}

TEST_CASE("choices: PCT lets others go on while one spins") {
    const std::vector<unsigned> both{0, 1};
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const auto source = pct_choices(seed, 1);
        unsigned seen = 0;
        for (int i = 0; i < 1000; ++i) seen |= 1U << both[source->pick(both)];
        CHECK(seen == 3);
    }
}

TEST_CASE("choices: a trace's text says runs shortly and reads back as what it was") {
    const std::vector<std::uint8_t> trace{0, 0, 0, 2, 1, 1, 255, 0};
    CHECK(to_text(trace) == "0x3.2.1x2.255.0");
    CHECK(from_text(to_text(trace)) == trace);
    CHECK(from_text("").empty());
}

TEST_CASE("odometer: enumerates every sequence of decisions within its bound, once each") {
    // Four decisions of 2, 3, 2 and 2 answers: with at most two departures there are
    // 1 + (1+2+1+1) + (2+1+1+2+2+1) = 15.
    odometer all(2);
    std::set<std::vector<std::uint8_t>> seen;
    do {
        choices& source = all.current();
        for (const unsigned n : {2U, 3U, 2U, 2U}) source.choose(n, choice::schedule);
        seen.insert(source.trace());
    } while (all.next());
    CHECK(all.runs() == 15);
    CHECK(seen.size() == 15);
    for (const auto& each : seen) {
        CHECK(std::count_if(each.begin(), each.end(), [](auto d) { return d != 0; }) <= 2);
    }
}

TEST_CASE("odometer: follows a run whose later decisions depend on the earlier ones") {
    odometer all(4);
    std::uint64_t runs = 0;
    do {
        choices& source = all.current();
        ++runs;
        if (source.choose(2, choice::schedule)) source.choose(3, choice::schedule);
    } while (all.next());
    CHECK(runs == 4);
}

TEST_CASE("shrink: keeps what the failure needs and tames the rest") {
    std::vector<std::uint8_t> trace(200, 3);
    trace[40] = 7;
    trace[90] = 9;
    const auto fails = [](const std::vector<std::uint8_t>& t) {
        const auto seven = std::find(t.begin(), t.end(), 7);
        return std::find(seven, t.end(), 9) != t.end();
    };
    CHECK(shrink(trace, fails) == std::vector<std::uint8_t>{7, 9});
}
