// What a model's executable does: the promises as they are, weakened orderings, seeded faults.
#include "explore.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace toadstone::model {
namespace {

struct options {
    unsigned preemptions = 3;
    std::string_view only;
    bool orderings = false;
    bool mutants = false;
    bool story = false;
};

options parse(int argc, char** argv) {
    options result;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--preemptions" && i + 1 < argc) {
            result.preemptions = static_cast<unsigned>(std::atoi(argv[++i]));
        } else if (word == "--only" && i + 1 < argc) {
            result.only = argv[++i];
        } else if (word == "--orderings") {
            result.orderings = true;
        } else if (word == "--mutants") {
            result.mutants = true;
        } else if (word == "--story") {
            result.story = true;
        } else {
            std::fprintf(stderr,
                         "usage: %s [--preemptions N] [--only PART] [--orderings | --mutants] "
                         "[--story]\n",
                         argv[0]);
            std::exit(2);
        }
    }
    return result;
}

// Of this process, whatever else the machine does.
double seconds_since(std::clock_t start) {
    return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

unsigned long long number(std::uint64_t of) {
    return of;
}

// The verdict, and what every thread did; what each of them did alone follows in the story.
std::string in_short(const std::string& story) {
    return story.substr(0, story.find("\nthread 0:"));
}

// The first line of the story is the verdict.
std::string verdict(const finding& of) {
    return of.story.substr(0, of.story.find('\n'));
}

class runner {
public:
    runner(const options& how, const std::vector<promise>& promises)
        : how_(how), promises_(promises) {}

    /// Every promise as the code is written.
    bool all_hold() {
        bool good = true;
        bool any = false;
        for (const promise& each : promises_) {
            if (!how_.orderings && !wanted(each.name)) continue;
            any = true;
            const auto start = std::clock();
            const finding found = explore(each, how_.preemptions);
            std::printf("%-8s %s\n         %llu executions, %.1f s, up to %u preemptions\n",
                        found.holds ? "holds" : "BROKEN", each.name, number(found.executions),
                        seconds_since(start), how_.preemptions);
            if (!found.holds) std::printf("%s\n", in_short(found.story).c_str());
            std::fflush(stdout);
            good = good && found.holds;
        }
        if (!any) std::printf("no promise is called so\n");
        return good && any;
    }

    /// The fault is in force: does a promise break? Says which. Fewer preemptions come first:
    /// most faults need none or one.
    bool is_found(const std::string& fault) const {
        const auto start = std::clock();
        std::uint64_t executions = 0;
        for (unsigned preemptions = 0; preemptions <= how_.preemptions; ++preemptions) {
            for (const promise& each : promises_) {
                const finding found = explore(each, preemptions);
                executions += found.executions;
                if (found.holds) continue;
                std::printf("found    %s\n         %s: %s; %llu executions, %.1f s\n",
                            fault.c_str(), each.name, verdict(found).c_str(),
                            number(executions), seconds_since(start));
                if (how_.story) std::printf("%s\n", in_short(found.story).c_str());
                std::fflush(stdout);
                return true;
            }
        }
        std::printf("SURVIVES %s\n         %llu executions, %.1f s\n", fault.c_str(),
                    number(executions), seconds_since(start));
        std::fflush(stdout);
        return false;
    }

    [[nodiscard]] bool wanted(std::string_view name) const {
        return how_.only.empty() || name.find(how_.only) != name.npos;
    }

private:
    // With spurious failures one preemption less: they multiply the executions by ten.
    static finding explore(const promise& what, unsigned preemptions) {
        fail_spuriously(false);
        finding all = what.explore(preemptions);
        if (!all.holds || preemptions == 0) return all;
        fail_spuriously(true);
        finding more = what.explore(preemptions - 1);
        more.executions += all.executions;
        return more;
    }

    const options& how_;
    const std::vector<promise>& promises_;
};

// In a process of its own: a fault may do anything.
bool is_found_apart(const runner& run, const std::string& fault) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child < 0) {
        std::perror("fork");
        std::exit(2);
    }
    if (child == 0) {
        const bool found = run.is_found(fault);
        std::fflush(stdout);
        ::_exit(found ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) return WEXITSTATUS(status) == 0;
    std::printf("found    %s\n         it crashed\n", fault.c_str());
    return true;
}

bool is_spare(const site& at, std::memory_order to, const spare& each) {
    return at.file == each.file && at.function.find(each.function) != std::string::npos &&
           at.operation == each.operation && at.order == each.order && to == each.weaker;
}

bool is_ours(const site& at, const model& what) {
    for (const std::string_view beginning : what.files) {
        if (at.file.starts_with(beginning)) return true;
    }
    return false;
}

bool try_orderings(const options& how, runner& run, const model& what) {
    if (!run.all_hold()) return false; // and so the sites are known
    bool good = true;
    unsigned faults = 0;
    const std::size_t count = sites().size(); // more may be found behind a fault
    for (std::size_t i = 0; i < count; ++i) {
        const site& at = sites()[i];
        if (!is_ours(at, what)) continue;
        for (const std::memory_order to : weaker(at)) {
            const std::string name = at.file + ":" + std::to_string(at.line) + ": " +
                                     at.operation + " in " + at.function + ": " +
                                     name_of(at.order) + " -> " + name_of(to);
            if (!how.only.empty() && name.find(how.only) == std::string::npos) continue;
            ++faults;
            weaken(&at, to);
            const bool found = is_found_apart(run, name);
            weaken(nullptr, to);
            const spare* excuse = nullptr;
            for (const spare& each : what.spares) {
                if (is_spare(at, to, each)) excuse = &each;
            }
            if (excuse) {
                std::printf("         spare: %.*s\n", static_cast<int>(excuse->reason.size()),
                            excuse->reason.data());
            }
            if (found == (excuse != nullptr)) {
                std::printf("         UNEXPECTED\n");
                good = false;
            }
        }
    }
    std::printf("%u weaker orderings\n", faults);
    return good && faults != 0; // none: the model looks at files that have no orderings
}

bool try_mutants(runner& run, const std::vector<const char*>& mutants) {
    bool good = true;
    for (const char* name : mutants) {
        if (!run.wanted(name)) continue;
        seed(name);
        good = is_found_apart(run, name) && good;
        seed(nullptr);
    }
    std::printf("%zu seeded faults\n", mutants.size());
    return good && !mutants.empty();
}

} // namespace

int run_models(int argc, char** argv, const model& what) {
    const options how = parse(argc, argv);
    runner run(how, what.promises);
    bool good = false;
    if (how.orderings) {
        good = try_orderings(how, run, what);
    } else if (how.mutants) {
        good = try_mutants(run, mutants_of(what.name));
    } else {
        good = run.all_hold();
    }
    return good ? 0 : 1;
}

} // namespace toadstone::model
