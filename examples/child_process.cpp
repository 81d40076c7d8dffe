// Other programs: fed, read, waited for, and ended.
//
// Shows: io::child_process. Its pipes are read and written like streams, by two tasks at the
// same time, because a program that cannot get rid of its output stops to read its input. A
// wait that is cancelled, here by a time limit, ends the program (SIGTERM, and SIGKILL when its
// grace is over) and reaps it: no process is left behind, however a task ends.
//
//     $ child_process
//     sort says: apple pear quince
//     sort ended with exit code 0
//     run no-such-program: No such file or directory
//     sleep was stopped: signal 15 (Terminated)
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

task<> feed(io::pipe_writer& input) {
    co_await input.write_all("pear\nquince\napple\n");
    co_await input.close(); // this is all
}

task<std::string> words_of(io::pipe_reader& output) {
    io::buffered_reader lines(output);
    std::string words;
    std::optional<std::string> line = co_await lines.read_line();
    while (line) {
        words += " " + *line;
        line = co_await lines.read_line();
    }
    co_return words;
}

task<> sorts() {
    io::command sort("sort");
    sort.input(io::child_stream::pipe).output(io::child_stream::pipe);
    sort.environment("LC_ALL", "C");
    io::child_process child = io::child_process::spawn(sort);
    const auto both = co_await when_all(feed(child.input()), words_of(child.output()));
    const io::exit_status end = co_await child.wait();
    std::printf("sort says:%s\n", std::get<1>(both).c_str());
    std::printf("sort ended with %s\n", end.to_string().c_str());
}

task<> ends_it() {
    io::command sleep("sleep", {"1000"});
    sleep.grace(2s);
    io::child_process child = io::child_process::spawn(sleep);
    const auto waited = co_await try_with_timeout(10ms, child.wait());
    const io::exit_status end = co_await child.wait(); // it is known already
    std::printf("sleep %s: %s\n", waited.has_value() ? "ended" : "was stopped",
                end.to_string().c_str());
}

task<> story() {
    co_await sorts();
    try {
        static_cast<void>(io::child_process::spawn(io::command("no-such-program")));
    } catch (const std::system_error& error) {
        std::puts(error.what());
    }
    co_await ends_it();
}

} // namespace

int main() {
    return run(story());
}
