// Exploring scenarios: every schedule up to a number of preemptions, then the same with faults.
#ifndef TOADSTONE_TESTS_MODEL_EXPLORE_HPP
#define TOADSTONE_TESTS_MODEL_EXPLORE_HPP

#include "engine.hpp"
#include "relacy.hpp"

#include <cstdint>
#include <ostream>
#include <sstream>
#include <string_view>
#include <vector>

namespace toadstone::model {

/// A closed system of threads: members are its state, made anew for each execution; thread(i)
/// is what the i-th does; after() looks at the end.
template <class Derived, int Threads>
struct scenario : execution, rl::test_suite<Derived, Threads> {};

struct finding {
    bool holds = false;
    std::uint64_t executions = 0;
    std::string story; ///< of the execution that failed
};

template <class Scenario>
finding explore(unsigned preemptions) {
    using scheduler = rl::context_bound_scheduler<Scenario::params::thread_count>;
    std::ostringstream story;
    rl::test_params params;
    params.search_type = rl::sched_bound;
    params.context_bound = preemptions;
    params.execution_depth_limit = 4000;
    params.output_stream = &story;
    params.progress_stream = &story;
    rl::ostringstream choices;
    finding result;
    result.holds =
        rl::run_test<Scenario, scheduler>(params, choices, false) == rl::test_result_success;
    result.executions = params.stop_iteration;
    if (result.holds) return result;
    story.str({});
    params.initial_state = choices.str(); // once more, with what happened
    params.collect_history = true;
    rl::ostringstream again;
    rl::run_test<Scenario, scheduler>(params, again, true);
    result.story = story.str();
    return result;
}

struct promise {
    const char* name; ///< what holds, as a sentence
    finding (*explore)(unsigned preemptions);
};

/// An ordering that nothing here misses, and why it stays.
struct spare {
    std::string_view file;
    std::string_view function; ///< its name, without the return type and the parameters
    std::string_view operation;
    std::memory_order order;
    std::memory_order weaker;
    std::string_view reason;
};

struct model {
    std::string_view name;
    std::vector<promise> promises;
    /// How the files begin whose orderings are weakened: what others pass through is another
    /// model's to check.
    std::vector<std::string_view> files;
    std::vector<spare> spares;
};

/// The seeded faults that a model has to find; none unless the sources under test have them.
[[nodiscard]] std::vector<const char*> mutants_of(std::string_view model_name);

/// The whole of a model's main(): [--preemptions N] [--only PART] [--orderings | --mutants]
/// [--story].
int run_models(int argc, char** argv, const model& what);

} // namespace toadstone::model

#endif
