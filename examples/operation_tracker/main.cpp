// An HTTP server that tracks operations, and that survives critical sections cut in the middle.
//
// Shows: a mutex that is held across awaits (a map is changed, a file written and synced), the
// poisoning of it when a client leaves or runs out of time in the middle, its recovery from the
// journal while others wait for a moment; deadlines and limits on everything; draining.
//
//     $ operation_tracker --port 8080 --journal /tmp/operations.journal &
//     listening on 127.0.0.1:8080
//     $ curl localhost:8080/operations --json '{"name":"rollout"}'
//     {"id":1,"name":"rollout","state":"pending","messages":0}
//     $ curl localhost:8080/operations/1/messages --json '{"event":"start","note":"go"}'
//     {"id":1,"name":"rollout","state":"running","messages":1,"note":"go"}
//     $ curl localhost:8080/operations/1/messages --json '{"event":"resume"}'
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
// (curl before 7.82: -H 'Content-Type: application/json' -d.) A list has up to 100 operations,
// or ?limit=, and says where the next ones are: {"operations":[...],"next":"/operations?..."}.
//
// With --slow-sync 2000 each change takes two seconds, time enough to leave in its middle:
//
//     $ curl --max-time 1 localhost:8080/operations/1/messages --json '{"event":"pause"}'
//
// and the server says on stderr, with the time and the task in front of each line,
//
//     the client left during POST /operations/1/messages
//     mutex 'operations' poisoned: task 9 'conn 127.0.0.1:40012' was cancelled (requested) at
//         store.cpp:98 holding the lock taken at store.cpp:38
//     restored from the journal in 112 us, operations: 1
//
// When the journal fails. After a failed fsync nobody knows what is on the disk, and a journal
// that was renamed or removed will not be found by the next server. Then nothing is changed any
// more (503), what can be read is the last state that is certain, /healthz is 503 with the
// reason, and tracker_journal_failed is 1. With --when-journal-fails exit it drains and ends by
// itself. Exit codes, for a supervisor: 0 after a signal, 1 when it cannot start, 2 for a wrong
// command line, 74 when the journal had failed: then start it again, it reads what is on the
// disk. A new server may be started while the old one drains: it waits for the journal, which
// only one at a time has, for as long as --journal-wait says.
//
// What a browser may do here. It sends what a web page tells it to, so changes need
// Content-Type: application/json, and an Origin, if any, that is this server. Requests have to
// name the server by an address, localhost, --host or an --allow-host, else they get 421.
//
// What a client does not learn. A request whose client left, or that ran out of time (503), has
// happened if its record had reached the journal by then, else it has not. As with any server,
// the client finds out by asking again. A client that shuts down its sending half
// (`nc -N`) looks like one that left, as TCP cannot tell the two apart.
#include "log.hpp"
#include "options.hpp"
#include "server.hpp"

#include "http/program.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>

namespace tracker {
namespace {

using toadstone::task;
namespace io = toadstone::io;

// EX_IOERR of sysexits.h.
constexpr int journal_failed_code = 74;

/// Returns: the exit code.
task<int> run_until_signal(toadstone::runtime& here, const options& chosen) {
    const std::string too_few = http::raise_descriptor_limit(chosen.clients);
    if (!too_few.empty()) log(too_few);
    toadstone::cancellation_source stop;
    std::atomic<bool> journal_failed = false;
    io::signal_set signals({SIGTERM, SIGINT});
    surroundings around;
    around.live_tasks = [&here] { return here.live_tasks(); };
    around.on_listening = [](const io::endpoint& where) {
        std::printf("listening on %s\n", where.to_string().c_str());
        std::fflush(stdout);
    };
    around.on_journal_failed = [&] {
        journal_failed = true;
        if (chosen.on_failure == when_journal_fails::exit) {
            stop.cancel(toadstone::cancel_reason::shutdown);
        }
    };
    auto body = [&](toadstone::task_scope& scope) -> task<> {
        // A failure of the one, such as a port in use, cancels the other.
        auto signal = scope.spawn(http::stop_on_signal(std::move(signals), stop, log));
        co_await operate(chosen, around, stop.token());
        signal.cancel();
    };
    co_await toadstone::with_scope(body);
    co_return journal_failed ? journal_failed_code : 0;
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
        return here.block_on(tracker::run_until_signal(here, chosen));
    } catch (const std::exception& error) {
        toadstone::log_line("operation_tracker: " + std::string(toadstone::what_of(error)));
        return 1;
    }
}
