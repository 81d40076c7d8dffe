// simulate, explore, cancel_at_every_await: running a scenario against a simulated kernel.
#ifndef TOADSTONE_SIM_SIMULATE_HPP
#define TOADSTONE_SIM_SIMULATE_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sim/choices.hpp>
#include <toadstone/sim/world.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace toadstone::sim {

/// How one run ended.
struct report {
    bool ok = true; ///< nothing went wrong
    /// What went wrong, in one line; empty when ok.
    std::string failure;
    /// How to run exactly this again: an argument for replayed_choices() or a seed.
    std::string reproduce;
    std::vector<std::uint8_t> trace; ///< every decision, for shrink()
    std::uint64_t hash = 0;          ///< of everything that happened; equal for equal decisions
    std::uint64_t steps = 0;         ///< turns of workers
    std::chrono::nanoseconds elapsed{}; ///< virtual
    /// What the run has given to the log, which does not get it: a line each, with the virtual
    /// time in front. The first 64 KiB.
    std::string log;
    /// ok.
    explicit operator bool() const noexcept { return ok; }
};

namespace detail {

/// A scenario without its type: makes the root task of a run.
class scenario {
public:
    virtual toadstone::task<> start(world& in) = 0;

protected:
    ~scenario() = default;
};

template <class Fn>
class scenario_of final : public scenario {
public:
    explicit scenario_of(Fn& fn) noexcept : fn_(fn) {}
    toadstone::task<> start(world& in) override { return fn_(in); }

private:
    Fn& fn_;
};

[[nodiscard]] report run_once(const world_options& options, choices& dice, scenario& what);

} // namespace detail

/// Runs `body(world&)`, a coroutine, on simulated workers in virtual time. Unchanged code runs
/// inside: tasks, locks, sockets, files, serve().
///
/// The run fails if the body throws; if nobody can go on although tasks are left (a deadlock: a
/// lost wake-up, a lock that is never released); if it takes too many steps; if frames,
/// descriptors, operations or timers are left at its end.
///
/// Threads: everything happens on the calling thread, which must not be a worker. One
///     simulation at a time per thread.
template <class Body>
[[nodiscard]] report simulate(const world_options& options, choices& dice, Body&& body) {
    detail::scenario_of<std::remove_reference_t<Body>> what(body);
    return detail::run_once(options, dice, what);
}
/// A tame run.
template <class Body>
[[nodiscard]] report simulate(Body&& body) {
    world_options options;
    options.hostile = false;
    const auto dice = replayed_choices(std::string_view());
    return simulate(options, *dice, body);
}

/// How much explore() does.
struct explore_options {
    world_options world{};        ///< in which each run takes place
    std::uint64_t first_seed = 1; ///< of the random runs; those after it follow
    unsigned random_runs = 200;   ///< how many of them
    unsigned pct_runs = 50;       ///< runs with priorities, by PCT
    unsigned pct_depth = 3;       ///< how many changes of priority
    /// Every schedule and fault with at most so many departures from the tame run; 0: none.
    unsigned exhaustive_bound = 0;
    std::uint64_t most_exhaustive_runs = 1'000'000; ///< of the exhaustive search
    /// Runs in a hundred that are repeated, to compare the hashes.
    unsigned repeat_percent = 5;
};

/// What explore() has found.
struct exploration {
    bool ok = true;                    ///< nothing went wrong
    report first_failure;              ///< shrunk
    std::uint64_t runs = 0;            ///< in all
    std::uint64_t steps = 0;           ///< turns of workers, in all
    std::uint64_t exhaustive_runs = 0; ///< of these, by the exhaustive search
    bool exhausted = false;            ///< the exhaustive search came to its end
    /// ok.
    explicit operator bool() const noexcept { return ok; }
    /// One line: what was done, or what failed and how to reproduce it.
    [[nodiscard]] std::string to_string() const;
};

namespace detail {
[[nodiscard]] exploration explore_all(const explore_options& options, scenario& what);
}

/// Runs a scenario under many sources of decisions and stops at the first failure.
///
/// In the environment: TOADSTONE_SIM_REPLAY runs only what that reproduces;
/// TOADSTONE_SIM_TIMES=n makes n times as many random runs; TOADSTONE_SIM_SHARE=n makes one
/// n-th of them, rounded up; TOADSTONE_SIM_DEEPER=n adds n to the bound of an exhaustive
/// search; TOADSTONE_SIM_REPEAT_PERCENT; TOADSTONE_SIM_STATISTICS names a file that gets a line
/// "explore runs steps seconds".
template <class Body>
[[nodiscard]] exploration explore(const explore_options& options, Body&& body) {
    detail::scenario_of<std::remove_reference_t<Body>> what(body);
    return detail::explore_all(options, what);
}

/// When, seen from the suspension that is its target, a cancellation arrives.
enum class cancel_moment : unsigned char {
    before_start, ///< the request is there when the co_await begins
    prepared,     ///< suspended, nothing handed to the kernel yet
    submitted,    ///< by another thread, so seen one turn later
    completed,    ///< the operation has ended, the task has not run yet
    timed_out,    ///< as completed, by a time limit on the same worker
    twice,        ///< prepared, and once more with another reason
    failed,       ///< no cancellation: the operation ends with EIO. Only what asks the kernel
};

/// One suspension of one task.
struct await_point {
    std::uint64_t number = 0; ///< counted from 0 over the run
    std::string where;        ///< "store.cpp:88"
    std::string task;         ///< its number and name
};

/// How cancel_at_every_await() goes about it.
struct cancel_options {
    world_options world{.hostile = false}; ///< in which each run takes place
    /// Only tasks whose name starts so are cancelled. Empty: all but the scenario itself.
    std::string victims;
    cancel_reason reason = cancel_reason::requested; ///< what the victims are told
    /// False: nothing is cancelled and no operation fails, only allocations do.
    bool cancels = true;
    /// Cancel a second one, at every later await, too.
    bool pairs = false;
    /// Also let each allocation that a victim makes fail, one after the other: of frames and
    /// task records, and with failing_new.hpp in the program, of anything. No victims named:
    /// of all tasks, the scenario too. A std::bad_alloc that leaves the scenario is no failure
    /// then; leaks and hangs are.
    bool allocations = false;
    /// Random hostile worlds to repeat each of it in, besides the given one.
    unsigned seeds = 0;
};

/// What cancel_at_every_await() has found.
struct cancel_report {
    bool ok = true;                  ///< nothing went wrong
    std::string failure;             ///< which await, which moment, and what went wrong
    std::string reproduce;           ///< a value for TOADSTONE_SIM_REPLAY
    std::vector<await_point> points; ///< that the victims have
    std::uint64_t runs = 0;          ///< in all
    std::uint64_t steps = 0;         ///< turns of workers, in all
    std::uint64_t allocations = 0;   ///< that were made to fail
    std::string log;                 ///< of the run that failed, as report::log
    /// ok.
    explicit operator bool() const noexcept { return ok; }
    /// One line: what was done, or what failed and how to reproduce it.
    [[nodiscard]] std::string to_string() const;
};

namespace detail {
[[nodiscard]] cancel_report cancel_everywhere(const cancel_options& options, scenario& what);
}

/// Records every suspension of a scenario, then runs it again for each of them and each
/// cancel_moment, cancelling the task that is suspended there. With TOADSTONE_SIM_REPLAY in the
/// environment, runs only what that reproduces; with TOADSTONE_SIM_PAIRS=1, pairs too, whatever
/// the options say. The scenario is its own oracle: it throws when what it finds afterwards is
/// wrong; deadlocks and leaks are found as in simulate().
template <class Body>
[[nodiscard]] cancel_report cancel_at_every_await(const cancel_options& options, Body&& body) {
    detail::scenario_of<std::remove_reference_t<Body>> what(body);
    return detail::cancel_everywhere(options, what);
}

} // namespace toadstone::sim

#endif
