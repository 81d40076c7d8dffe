// A task reads lines from standard input and starts a task for each.
//
// Shows: io::standard_input(), read through a buffered_reader like any other stream: the worker
// goes on with its other tasks meanwhile, and a read that is cancelled has consumed nothing. A
// semaphore bounds how many lines are being worked on, so that a long input does not fill the
// memory; a scope waits for all of them.
//
//     $ printf 'one line\nnot a number: x\n3 4\n' | lines_from_stdin
//     line 1: 'one line', 2 words
//     line 2: 'not a number: x', 4 words
//     line 3: '3 4', 2 words
//     3 lines
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

constexpr std::size_t most_at_once = 16;

task<> work_on(int number, std::string line, sync::semaphore::permit) {
    co_await sleep_for(1ms); // a database, far away
    std::istringstream words(line);
    int count = 0;
    for (std::string word; words >> word;) ++count;
    std::printf("line %d: '%s', %d words\n", number, line.c_str(), count);
}

/// The last line may be without its end.
task<std::optional<std::string>> next_line(io::buffered_reader& from) {
    std::optional<std::string> line;
    try {
        line = co_await from.read_line();
    } catch (const io::unexpected_end&) {
        line = std::string(from.buffered());
        from.consume(line->size());
    }
    co_return line;
}

task<> read_lines() {
    io::pipe_reader input = io::standard_input();
    io::buffered_reader lines(input);
    sync::semaphore free(most_at_once);
    int count = 0;
    auto body = [&](task_scope& scope) -> task<> {
        std::optional<std::string> line = co_await next_line(lines);
        while (line) {
            auto permit = co_await free.acquire();
            scope.spawn(work_on, ++count, std::move(*line), std::move(permit));
            line = co_await next_line(lines);
        }
    };
    co_await with_scope(body);
    std::printf("%d lines\n", count);
}

} // namespace

int main() {
    return run(read_lines(), {.workers = 1});
}
