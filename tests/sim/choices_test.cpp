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
