// The process is aborted while an operation is out of its map. Nothing inside notices: no guard
// dies, no lock is poisoned, nothing is logged; lock and map are gone with the process. Whoever
// started it learns it from its exit status, and what is left is what is kept outside.
//
// Shows: a supervisor that runs itself as a child process, sees how it ends, and starts it
// again. The first child calls a function that promised noexcept and throws.
//
//     $ operations_abort
//     the child said: operation 1 is taken out
//     the child ended: signal 6 (Aborted)
//     the child said: operation 1 is done
//     the child ended: exit code 0
#include "operations.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace toadstone;
using namespace stories;

std::string promised_not_to_throw() noexcept {
    std::puts("operation 1 is taken out");
    std::fflush(stdout); // abort() writes nothing
    return no_printer();
}

// The child: what it says goes into the supervisor's pipe.
task<> works(store& all, answer ask) {
    co_await advance(all, 1, ask);
    const auto held = co_await all.lock();
    std::printf("operation 1 is %s\n", held->at(1).c_str());
}
int child(answer ask) {
    on_poison([](const poison_cause&) { std::puts("poisoned"); }); // is never called
    store all({{1, "queued"}, {2, "queued"}}, "operations");
    return run(works(all, ask));
}

task<> supervises(const char* how) {
    io::command itself("/proc/self/exe", {how});
    itself.output(io::child_stream::pipe).error(io::child_stream::null);
    io::child_process child = io::child_process::spawn(itself);
    io::buffered_reader said(child.output());
    std::optional<std::string> line = co_await said.read_line();
    while (line) {
        std::printf("the child said: %s\n", line->c_str());
        line = co_await said.read_line();
    }
    const io::exit_status end = co_await child.wait();
    std::printf("the child ended: %s\n", end.to_string().c_str());
}
task<> story() {
    co_await supervises("aborts");
    co_await supervises("works"); // from the beginning: nothing of the first one is left
}

} // namespace

int main(int count, char** arguments) {
    const std::string_view how = count > 1 ? arguments[1] : "";
    if (how == "aborts") return child(promised_not_to_throw);
    if (how == "works") return child(done);
    return run(story());
}
