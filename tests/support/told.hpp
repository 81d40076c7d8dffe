// Examples under simulation: their stories told quietly, with each of their tasks stopped at
// every await.
#ifndef TOADSTONE_TESTS_SUPPORT_TOLD_HPP
#define TOADSTONE_TESTS_SUPPORT_TOLD_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace toadstone::tests {

/// What is printed meanwhile is lost.
class quiet {
public:
    quiet() : kept_(dup(STDOUT_FILENO)) {
        std::fflush(stdout);
        const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(nowhere, STDOUT_FILENO);
        close(nowhere);
    }
    quiet(const quiet&) = delete;
    quiet& operator=(const quiet&) = delete;
    ~quiet() {
        std::fflush(stdout);
        dup2(kept_, STDOUT_FILENO);
        close(kept_);
    }

private:
    int kept_;
};

/// A story is told to its end, or ends by what its interrupted tasks have left; it is a task of
/// its own, which is stopped as the others are.
inline task<> tells(task<> story) {
    try {
        co_await std::move(story);
    } catch (const poison_error&) {
    } catch (const task_cancelled&) {
    }
}
inline task<> told(task<> story) {
    auto telling = spawn(tells(std::move(story)), {.name = "story"});
    static_cast<void>(co_await telling.outcome());
}

inline void cancelled(task<> (*story)(sim::world&), std::size_t awaits,
                      const char* victims = "") {
    sim::cancel_report checked;
    {
        const quiet here;
        for (const bool pairs : {false, true}) {
            sim::cancel_options options;
            options.victims = victims;
            options.reason = cancel_reason::timeout;
            options.pairs = pairs;
            options.seeds = 0;
            checked = sim::cancel_at_every_await(options, story);
            if (!checked) break;
        }
    }
    INFO(checked.to_string());
    REQUIRE(checked);
    CHECK(checked.points.size() >= awaits);
}

/// The data that a story's main() has, of the run that goes on: its tasks may outlive the body.
template <class Data, class... From>
Data& made_anew(From&&... from) {
    static std::unique_ptr<Data> the;
    the.reset();
    the = std::make_unique<Data>(std::forward<From>(from)...);
    return *the;
}

} // namespace toadstone::tests

#endif
