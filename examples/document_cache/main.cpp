// An HTTP server that keeps documents in memory and finds them by their words, and that
// survives indexes left in the middle of a change.
//
// Shows: inverted indexes behind a shared_mutex, changed by tasks that fail on malformed
// documents in the middle, or are cancelled with their clients; the poisoning of the lock, and
// the restoring of a shard from what is known to be good while others wait for a moment; a
// quarantine for inputs that do it again; and what becomes of a server that terminates on
// poison instead, or ignores it.
//
//     $ document_cache --port 8080 --data /tmp/documents &
//     listening on 127.0.0.1:8080
//     $ curl -X PUT localhost:8080/documents/toad --data-binary 'A toad sat by the pond.'
//     {"id":"toad","version":1}
//     $ curl 'localhost:8080/search?q=pond'
//     {"documents":[{"id":"toad","version":1}]}
//     $ curl -X PUT 'localhost:8080/documents/frog?format=markdown' -d 'a [frog](in the pond'
//     {"error":"this has failed twice in the middle of the index, and is not tried again:
//         markdown, line 1: a link has no end"}
//     $ curl localhost:8080/documents --json '{"id":"newt","format":"csv","text":"newt,pond"}'
//     {"documents":[{"id":"newt","status":"stored","version":1}]}
//     $ curl localhost:8080/documents/toad
//     {"id":"toad","version":1,"format":"text","text":"A toad sat by the pond."}
//     $ curl -X DELETE localhost:8080/documents/toad
//     $ curl localhost:8080/healthz
//     $ curl localhost:8080/metrics        # Prometheus' text format
//     $ kill %1                            # drains, exit code 0
//
// http://localhost:8080/ is a page with the shards, the recoveries and their causes. A batch is
// one JSON object on each line (curl before 7.82: -H 'Content-Type: application/json' -d): one
// critical section for each shard, all of it or nothing; what is malformed in it is left out.
// A search lists up to 100 documents, or ?limit=, and says where the next ones are.
//
// Formats: text, csv, markdown and json (a value on each line); see formatter.hpp for what they
// refuse. A document that has broken an index twice is answered 422 from then on, without a
// try; the same text as another format is another input.
//
// --on-poison terminate ends the process with code 70 and the cause, for a supervisor to start
// it again; ignore goes on with what is there; restore is the default. docs/recovery.md
// compares them. Other exit codes: 0 after a signal, 1 when it cannot start, 2 for a wrong
// command line.
//
// What is confirmed is on the disk. A request whose client left has happened or not, as of any
// server. When the disk refuses a record, the journal is opened again, and the change tried
// again for as long as --disk-patience says; then it is answered 503. /healthz is 503, with the
// reason, as long as a journal is not open.
#include "log.hpp"
#include "options.hpp"
#include "server.hpp"

#include "http/program.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>

#include <unistd.h>

namespace cache {
namespace {

using toadstone::task;
namespace io = toadstone::io;

// EX_SOFTWARE of sysexits.h.
constexpr int poisoned_code = 70;

/// At once, as by an assertion: what is in the memory is not to be trusted.
[[noreturn]] void die(const toadstone::poison_cause& why) noexcept {
    try {
        const std::string line = "document_cache: " + why.to_string() + "\n";
        static_cast<void>(!::write(STDERR_FILENO, line.data(), line.size()));
    } catch (...) { // no memory to say why
    }
    ::_exit(poisoned_code);
}

task<int> run_until_signal(toadstone::runtime& here, const options& chosen) {
    const std::string too_few = http::raise_descriptor_limit(chosen.clients);
    if (!too_few.empty()) say(too_few);
    toadstone::cancellation_source stop;
    surroundings around;
    around.live_tasks = [&here] { return here.live_tasks(); };
    around.on_listening = http::print_listening;
    around.on_fatal = die;
    const auto serve = [&] { return operate(chosen, around, stop.token()); };
    co_await http::serve_until_signal(serve, stop, say);
    co_return 0;
}

} // namespace
} // namespace cache

int main(int argc, char** argv) {
    toadstone::open_standard_descriptors();
    cache::options chosen;
    int exit_code = 0;
    if (!cache::parse_options(argc, argv, chosen, exit_code)) return exit_code;
    const auto body = [&](toadstone::runtime& here) {
        return cache::run_until_signal(here, chosen);
    };
    return http::run_program("document_cache", chosen.workers, body);
}
