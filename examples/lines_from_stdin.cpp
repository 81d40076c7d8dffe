// A plain thread reads lines from standard input and spawns a task for each.
//
// Shows: how something that blocks joins in. std::getline() blocks, and a blocking call in a
// task stops its worker: every other task there, its timers and its sockets stand still until
// the call returns. So a thread that is no worker, here main(), waits for the input and hands
// each line to the runtime, which takes tasks from any thread. A counting semaphore bounds how
// many lines are being worked on, so that a long input does not fill the memory; it blocks that
// thread only.
//
//     $ printf 'one line\nnot a number: x\n3 4\n' | lines_from_stdin
//     line 1: 'one line', 2 words
//     line 2: 'not a number: x', 4 words
//     line 3: '3 4', 2 words
//     3 lines
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <semaphore>
#include <sstream>
#include <string>
#include <utility>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

constexpr std::ptrdiff_t most_at_once = 16;
using places = std::counting_semaphore<most_at_once>;

task<> work_on(int number, std::string line, places& free) {
    // However the task ends, its place is free again. release() never blocks.
    const scope_exit leaves([&free] { free.release(); });
    co_await sleep_for(1ms); // a database, far away
    std::istringstream words(line);
    int count = 0;
    for (std::string word; words >> word;) ++count;
    std::printf("line %d: '%s', %d words\n", number, line.c_str(), count);
}

} // namespace

int main() {
    open_standard_descriptors();
    places free(most_at_once);
    runtime here({.workers = 1});
    int lines = 0;
    for (std::string line; std::getline(std::cin, line);) {
        free.acquire();
        ++lines;
        here.spawn(work_on(lines, std::move(line), free), {.name = "line"}).detach();
    }
    for (std::ptrdiff_t i = 0; i < most_at_once; ++i) free.acquire(); // all are done
    std::printf("%d lines\n", lines);
}
