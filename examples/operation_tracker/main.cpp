// An HTTP server that tracks operations, and that survives critical sections cut in the middle.
//
// Shows: a mutex that is held across awaits (a map is changed, a file written and synced), the
// poisoning of it when a client leaves or runs out of time in the middle, its recovery from the
// journal while others wait for a moment; deadlines and limits on everything; draining.
//
//     $ operation_tracker --port 8080 --journal /tmp/operations.journal &
//     listening on 127.0.0.1:8080
//     $ curl localhost:8080/operations -d '{"name":"rollout"}'
//     {"id":1,"name":"rollout","state":"pending","messages":0}
//     $ curl localhost:8080/operations/1/messages -d '{"event":"start","note":"go"}'
//     {"id":1,"name":"rollout","state":"running","messages":1,"note":"go"}
//     $ curl localhost:8080/operations/1/messages -d '{"event":"resume"}'
//     {"error":"operation 1 is running, so 'resume' is not possible"}
//     $ curl localhost:8080/operations/1
//     {"id":1,"name":"rollout","state":"running","messages":1,"note":"go"}
//     $ curl localhost:8080/operations
//     {"operations":[{"id":1,"name":"rollout","state":"running","messages":1,"note":"go"}]}
//     $ curl localhost:8080/operations/7
//     {"error":"there is no operation 7"}
//     $ curl localhost:8080/healthz
//     {"status":"ok"}
//     $ curl localhost:8080/metrics        # Prometheus' text format
//     $ kill %1                            # drains, exit code 0
//
// With --slow-sync 2000 each change takes two seconds, time enough to leave in its middle:
//
//     $ curl --max-time 1 localhost:8080/operations/1/messages -d '{"event":"pause"}'
//
// and the server says on stderr, with the time and the task in front of each line,
//
//     the client left during POST /operations/1/messages
//     mutex 'operations' poisoned: task 9 'conn 127.0.0.1:40012' was cancelled (requested) at
//         store.cpp:76 holding the lock taken at store.cpp:21
//     restored from the journal in 112 us, operations: 1
//
// What a client does not learn. A request whose client left, or that ran out of time (503), has
// happened if its record had reached the journal by then, else it has not. As with any server,
// the client finds out by asking again. A client that shuts down its sending half
// (`nc -N`) looks like one that left, as TCP cannot tell the two apart.
#include "log.hpp"
#include "options.hpp"
#include "server.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>

namespace tracker {
namespace {

using toadstone::task;
namespace io = toadstone::io;

/// The set is gone after the first signal, so that a second one ends the process as usual.
task<> stop_on_signal(io::signal_set signals, toadstone::cancellation_source& stop) {
    const int signal = co_await signals.wait();
    log("draining after " + std::string(signal == SIGINT ? "SIGINT" : "SIGTERM"));
    stop.cancel(toadstone::cancel_reason::shutdown);
}

task<> run_until_signal(toadstone::runtime& here, const options& chosen) {
    toadstone::cancellation_source stop;
    io::signal_set signals({SIGTERM, SIGINT});
    surroundings around;
    around.live_tasks = [&here] { return here.live_tasks(); };
    around.on_listening = [](const io::endpoint& where) {
        std::printf("listening on %s\n", where.to_string().c_str());
        std::fflush(stdout);
    };
    // A failure of the one, such as a port in use, cancels the other.
    co_await toadstone::when_all(operate(chosen, around, stop.token()),
                                 stop_on_signal(std::move(signals), stop));
}

} // namespace
} // namespace tracker

int main(int argc, char** argv) {
    toadstone::open_standard_descriptors();
    tracker::options chosen;
    int exit_code = 0;
    if (!tracker::parse_options(argc, argv, chosen, exit_code)) return exit_code;
    // A limit on file sizes is an error like a full disk, and no reason to die; nor is a reader
    // of stdout that has left.
    std::signal(SIGXFSZ, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        toadstone::runtime_options workers;
        workers.workers = chosen.workers;
        toadstone::runtime here(workers);
        here.block_on(tracker::run_until_signal(here, chosen));
        return 0;
    } catch (const std::exception& error) {
        toadstone::log_line(std::string("operation_tracker: ") + error.what());
        return 1;
    }
}
