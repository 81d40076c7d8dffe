// Work beside the requests: a task that tidies up every few milliseconds, and ends with the
// server.
//
// Shows: a scope as the life of a server. What is spawned in it may fail, and then the server
// ends with that failure; it cannot outlive the server, and nobody has to remember to stop it.
// It finishes what it is doing: the change of two counters is not cut in half.
//
//     $ background_work
//     request 1 of 3 served
//     request 2 of 3 served
//     request 3 of 3 served
//     the tidier ended in the scope, with counters that agree
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstdio>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct counters {
    int begun = 0;
    int finished = 0;
};

task<> tidy_once(counters& tidied) {
    ++tidied.begun;
    co_await sleep_for(1ms);
    ++tidied.finished;
}

// For ever, until it is cancelled: at the sleep, as the shield lets nothing in before.
task<> tidy_up(counters& tidied) {
    const scope_exit says_so([&tidied] {
        std::printf("the tidier ended in the scope, with counters that %s\n",
                    tidied.begun == tidied.finished ? "agree" : "differ");
    });
    for (;;) {
        co_await shield(tidy_once(tidied));
        co_await sleep_for(2ms);
    }
}

task<> serve_requests(int count) {
    for (int i = 1; i <= count; ++i) {
        co_await sleep_for(10ms); // a client, far away
        std::printf("request %d of %d served\n", i, count);
    }
}

task<> server() {
    counters tidied;
    const auto body = [&tidied](task_scope& scope) -> task<> {
        scope.spawn(tidy_up(tidied), {.name = "tidier"}).detach(); // the scope waits for it
        co_await serve_requests(3);
        scope.cancel(); // the requests are done, and so is what runs beside them
    };
    co_await with_scope(body);
}

} // namespace

int main() {
    return run(server());
}
