// How the benches measure: interleaved rounds, medians, and the ratio to the peer beside it.
#ifndef TOADSTONE_BENCH_MEASURE_HPP
#define TOADSTONE_BENCH_MEASURE_HPP

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace bench {

/// The command line that all benches share.
struct options {
    bool brief = false;        ///< a moment each: says that it works, nothing about time
    unsigned rounds = 11;      ///< per subject
    double round_ms = 20;      ///< per round and subject
    std::string only;          ///< run only this subject, `count` times
    std::uint64_t count = 0;   ///< for `only`
    bool timed = false;        ///< with `only`: warm up, and print the ns per operation
    std::vector<char*> others; ///< arguments that belong to the bench itself
};

/// Ends the process on --help and on bad usage. `what` is one sentence; `extra` documents the
/// bench's own arguments, if it has any.
[[nodiscard]] options parse(int argc, char** argv, const char* what, const char* extra = "");

/// Measures the processor time of this thread, which the noise of a shared machine disturbs
/// least. To be read on the thread that made it.
class stopwatch {
public:
    stopwatch() noexcept : start_(now()) {}
    [[nodiscard]] double ns() const noexcept { return now() - start_; }

private:
    [[nodiscard]] static double now() noexcept;
    double start_;
};

/// Measures what a clock on the wall shows, for work that several threads share.
class wall_stopwatch {
public:
    wall_stopwatch() noexcept : start_(now()) {}
    [[nodiscard]] double ns() const noexcept { return now() - start_; }

private:
    [[nodiscard]] static double now() noexcept;
    double start_;
};

/// Something to measure: does its work `n` times and says how many ns that took.
struct subject {
    std::string name;
    std::function<double(std::uint64_t n)> run;
};

[[nodiscard]] double median(std::vector<double> values);

/// A median and the middle half of the values.
struct spread {
    double median = 0;
    double lower = 0;
    double upper = 0;
};

/// Of the quotients of two series, round by round.
[[nodiscard]] spread ratios(const std::vector<double>& of, const std::vector<double>& over);

/// Keeps the compiler from dropping or hoisting the work on a value.
template <class T>
void keep(T& value) noexcept {
    asm volatile("" : "+m"(value) : : "memory");
}

/// A bench is a list of groups; in each, the first subject is the peer of the others.
class suite {
public:
    explicit suite(options chosen) noexcept : options_(std::move(chosen)) {}

    /// Measures the subjects in interleaved rounds, A B C A B C, and prints for each the median
    /// and the minimum in ns, and the median of its ratios to the first in the same round.
    /// Returns the medians; zeros with --only.
    std::vector<double> compare(const char* title, const std::vector<subject>& subjects);

    [[nodiscard]] const options& chosen() const noexcept { return options_; }
    /// With --only, whether its subject has been run; the rest of the bench is to be skipped.
    [[nodiscard]] bool single() const noexcept { return !options_.only.empty(); }
    /// With --only for an instruction count: nothing but the subject is to run.
    [[nodiscard]] bool counted() const noexcept { return single() && !options_.timed; }
    /// For main() to return: 2 when --only named nothing.
    [[nodiscard]] int result() const;

private:
    [[nodiscard]] std::uint64_t count_for(const subject& what) const;
    void run_single(const subject& what) const;
    void check_names(const std::vector<subject>& subjects);

    options options_;
    bool found_ = false;
    std::set<std::string> names_;
};

} // namespace bench

#endif
