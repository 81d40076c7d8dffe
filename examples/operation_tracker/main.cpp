// An HTTP server that tracks operations, and that survives critical sections cut in the middle.
//
// Shows: a mutex for each operation, held across awaits until a record is on the disk, while
// changes of other operations go on beside it and share the sync; the poisoning of that one
// mutex when a client leaves or runs out of time in the middle, and its repair, which costs
// what was touched; deadlines and limits on everything; draining.
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
//     operation 1: mutex 'operation' poisoned: task 9 'conn 127.0.0.1:40012' was cancelled
//         (requested) at store.cpp:124 holding the lock taken at store.cpp:75
//     operation 1 restored, as it is in the journal, in 30 us
//
// The journal is a folder (docs/journal.md, docs/tracker.md): records in segments, which are
// JSON, and snapshots, so that it grows with what there is, not with what has happened. What
// can be read is what is certain to be on the disk: it waits for no change. A journal of the
// former format, a file, is taken over into a new one by --import FILE.
//
// When the journal fails. After a failed fsync nobody knows what is on the disk, and a journal
// that was renamed or removed will not be found by the next server. Then nothing is changed any
// more (503), what can be read is the last state that is certain, /healthz is 503 with the
// reason, and tracker_journal_failed is 1. (A full disk is no failure: 507 until there is room
// again.) With --when-journal-fails exit it drains and ends by
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
// happened if its record had been given to the journal by then, else it has not. As with any
// server, the client finds out by asking again: a message to the operation comes behind it in
// any case, and so does a GET, once the server has noticed that the client has left. A client
// that shuts down its sending half (`nc -N`) looks like one that left, as TCP cannot tell the
// two apart.
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
    surroundings around;
    around.live_tasks = [&here] { return here.live_tasks(); };
    around.on_listening = http::print_listening;
    around.on_journal_failed = [&] {
        journal_failed = true;
        if (chosen.on_failure == when_journal_fails::exit) {
            stop.cancel(toadstone::cancel_reason::shutdown);
        }
    };
    const auto serve = [&] { return operate(chosen, around, stop.token()); };
    co_await http::serve_until_signal(serve, stop, log);
    co_return journal_failed ? journal_failed_code : 0;
}

} // namespace
} // namespace tracker

int main(int argc, char** argv) {
    toadstone::open_standard_descriptors();
    tracker::options chosen;
    int exit_code = 0;
    if (!tracker::parse_options(argc, argv, chosen, exit_code)) return exit_code;
    const auto body = [&](toadstone::runtime& here) {
        return tracker::run_until_signal(here, chosen);
    };
    return http::run_program("operation_tracker", chosen.workers, body);
}
