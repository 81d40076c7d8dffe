// The measuring itself: how often to repeat, in which order, and what to print.
#include "measure.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <time.h>

namespace bench {
namespace {

double clock_ns(clockid_t which) noexcept {
    timespec now{};
    clock_gettime(which, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

void usage(const char* program, const char* what, const char* extra) {
    std::printf("%s [--brief] [--rounds N] [--only SUBJECT --count N [--timed]]\n%s\n"
                "  --brief         a moment each; says that it works, nothing about time\n"
                "  --rounds N      interleaved rounds per subject\n"
                "  --only SUBJECT  run this subject alone, --count N times, for callgrind\n"
                "  --timed         warm it up before, and print the ns each\n"
                "  --compiler      print what compiled this\n%s",
                program, what, extra);
}

void print_compiler() {
#if defined(__x86_64__)
    const char* const machine = "x86-64";
#else
    const char* const machine = "another machine";
#endif
#if defined(__clang__)
    std::printf("clang %d.%d.%d %s\n", __clang_major__, __clang_minor__, __clang_patchlevel__,
                machine);
#else
    std::printf("g++ %d.%d.%d %s\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__, machine);
#endif
}

[[nodiscard]] unsigned long number(const char* text) {
    char* end = nullptr;
    const unsigned long value = std::strtoul(text, &end, 10);
    if (end == text || *end != '\0') {
        std::fprintf(stderr, "'%s' is not a number\n", text);
        std::exit(2);
    }
    return value;
}

} // namespace

double stopwatch::now() noexcept {
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

double wall_stopwatch::now() noexcept {
    return clock_ns(CLOCK_MONOTONIC);
}

options parse(int argc, char** argv, const char* what, const char* extra) {
    options chosen;
    for (int i = 1; i < argc; ++i) {
        const std::string_view each = argv[i];
        const bool has_value = i + 1 < argc;
        if (each == "--help") {
            usage(argv[0], what, extra);
            std::exit(0);
        } else if (each == "--compiler") {
            print_compiler();
            std::exit(0);
        } else if (each == "--brief") {
            chosen.brief = true;
            chosen.rounds = 3;
            chosen.round_ms = 0.5;
        } else if (each == "--rounds" && has_value) {
            chosen.rounds = static_cast<unsigned>(std::max(1UL, number(argv[++i])));
        } else if (each == "--only" && has_value) {
            chosen.only = argv[++i];
        } else if (each == "--count" && has_value) {
            chosen.count = number(argv[++i]);
        } else if (each == "--timed") {
            chosen.timed = true;
        } else if (*extra != '\0') {
            chosen.others.push_back(argv[i]);
        } else {
            std::fprintf(stderr, "%s: '%s' is not understood; try --help\n", argv[0], argv[i]);
            std::exit(2);
        }
    }
    return chosen;
}

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

spread ratios(const std::vector<double>& of, const std::vector<double>& over) {
    std::vector<double> found;
    for (std::size_t i = 0; i < of.size(); ++i) found.push_back(of[i] / over[i]);
    std::sort(found.begin(), found.end());
    const std::size_t count = found.size();
    return {median(found), found[count / 4], found[count - 1 - count / 4]};
}

// The first runs also warm caches and fill the pools.
std::uint64_t suite::count_for(const subject& what) const {
    const double wanted = options_.round_ms * 1e6;
    std::uint64_t count = 1;
    for (;;) {
        const double took = what.run(count);
        if (took >= wanted / 4 || count > (std::uint64_t{1} << 40)) {
            const double scaled = static_cast<double>(count) * wanted / std::max(took, 1.0);
            return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(scaled));
        }
        count *= 2;
    }
}

void suite::run_single(const subject& what) const {
    if (options_.timed) what.run(options_.count / 10 + 1);
    const double took = what.run(options_.count);
    if (options_.timed) std::printf("%.3f\n", took / static_cast<double>(options_.count));
    std::fflush(stdout);
}

// One name for two subjects would have --only run both.
void suite::check_names(const std::vector<subject>& subjects) {
    for (const subject& each : subjects) {
        if (names_.insert(each.name).second) continue;
        std::fprintf(stderr, "two subjects are called '%s'\n", each.name.c_str());
        std::exit(1);
    }
}

std::vector<double> suite::compare(const char* title, const std::vector<subject>& subjects) {
    check_names(subjects);
    if (single()) {
        for (const subject& each : subjects) {
            if (each.name != options_.only) continue;
            found_ = true;
            run_single(each);
        }
        return std::vector<double>(subjects.size());
    }
    std::vector<std::uint64_t> counts;
    for (const subject& each : subjects) counts.push_back(count_for(each));
    std::vector<std::vector<double>> took(subjects.size());
    for (unsigned round = 0; round < options_.rounds; ++round) {
        for (std::size_t i = 0; i < subjects.size(); ++i) {
            took[i].push_back(subjects[i].run(counts[i]) / static_cast<double>(counts[i]));
        }
    }
    std::printf("\n%s\n  %-52s %10s %10s %8s\n", title, "", "median ns", "min ns", "ratio");
    std::vector<double> medians;
    for (std::size_t i = 0; i < subjects.size(); ++i) {
        std::vector<double> ratios;
        for (unsigned round = 0; round < options_.rounds; ++round) {
            ratios.push_back(took[i][round] / took[0][round]);
        }
        medians.push_back(median(took[i]));
        std::printf("  %-52s %10.1f %10.1f %8.2f\n", subjects[i].name.c_str(), medians[i],
                    *std::min_element(took[i].begin(), took[i].end()), median(ratios));
    }
    std::fflush(stdout);
    return medians;
}

int suite::result() const {
    if (!single() || found_) return 0;
    std::fprintf(stderr, "there is no subject '%s'\n", options_.only.c_str());
    return 2;
}

} // namespace bench
