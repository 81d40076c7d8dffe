// Waiting for a task, but not for ever; it goes on when the wait has ended.
//
// Shows: `h.outcome()` under a time limit. A handle is no task, so it cannot be given to
// try_with_timeout(), and moved away it would be lost. Its outcome can: the limit ends the
// wait, not the task, which may be asked again, and is cancelled only by `h.cancel()`.
//
//     $ limited_join
//     after 5 ms: still at work
//     in the end: 42
//     and one that is never done: cancelled (requested)
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

task<int> computes() {
    co_await sleep_for(50ms);
    co_return 42;
}
task<int> never_done() {
    co_await sleep_for(24h);
    co_return 0;
}

task<> story() {
    join_handle<int> work = spawn(computes(), {.name = "work"});
    // An outcome in an outcome: of the wait, and of the task that was waited for.
    outcome<outcome<int>> wait = co_await try_with_timeout(5ms, work.outcome());
    std::printf("after 5 ms: %s\n", wait.is_cancelled() ? "still at work" : "done already");

    const outcome<int> end = co_await work.outcome();
    std::printf("in the end: %d\n", end.value());

    join_handle<int> endless = spawn(never_done(), {.name = "endless"});
    wait = co_await try_with_timeout(5ms, endless.outcome());
    if (wait.is_cancelled()) endless.cancel();
    const outcome<int> stopped = co_await endless.outcome(); // it has been torn down by now
    std::printf("and one that is never done: %s\n",
                stopped.is_cancelled()
                    ? ("cancelled (" + std::string(to_string(stopped.reason())) + ")").c_str()
                    : "done");
}

} // namespace

int main() {
    return run(story());
}
