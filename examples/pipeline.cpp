// A pipeline of three stages: each is a task, each pair of neighbours shares a channel with
// room for two messages. A stage that is slow holds back those before it; when the first one
// ends, what is on its way is drained, stage by stage; and one that fails tells the next why.
//
//     $ pipeline
//     read 1 line
//     read 2 lines
//     squared 1: 1
//     squared 2: 4
//     squared 3: 9
//     squared 4: 16
//     the end: 4 lines
//     squared 7: 49
//     broken: failed with std::invalid_argument: no number: eight
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace toadstone;
namespace mpsc = sync::mpsc;
using lines = std::vector<std::string>;

// Waits for room as often as the next stage is behind. When it returns, its sender goes, and
// with it the channel's last: the next stage gets what is left, and then the end.
task<> read_lines(const lines& from, mpsc::sender<std::string> to) {
    try {
        for (const std::string& line : from) co_await to.send(line);
    } catch (const sync::channel_closed&) {
        // Nobody wants the rest.
    }
}

int number_in(const std::string& line) {
    if (line.find_first_not_of("0123456789") != std::string::npos) {
        throw std::invalid_argument("no number: " + line);
    }
    return std::stoi(line);
}

// A failure becomes the end of what this stage sends: its neighbour gets the numbers before
// it, and then the cause.
task<> parse(mpsc::receiver<std::string> from, mpsc::sender<int> to) {
    try {
        for (;;) {
            const auto line = co_await from.recv();
            if (!line) break;
            int number = number_in(*line);
            co_await to.send(std::move(number));
        }
    } catch (const std::exception&) {
        to.fail(std::current_exception());
    }
}

task<int> print_squares(mpsc::receiver<int> from) {
    int count = 0;
    for (;;) {
        const auto number = co_await from.recv();
        if (!number) break;
        ++count;
        std::printf("squared %d: %d\n", *number, *number * *number);
    }
    co_return count;
}

task<int> run_pipeline(const lines& input) {
    auto texts = mpsc::channel<std::string>(2);
    auto numbers = mpsc::channel<int>(2);
    auto reader = spawn(read_lines, input, std::move(texts.tx));
    auto parser = spawn(parse, std::move(texts.rx), std::move(numbers.tx));
    auto printed = co_await as_outcome(print_squares(std::move(numbers.rx)));
    co_await reader;
    co_await parser;
    co_return std::move(printed).value();
}

// What back-pressure means: nobody receives, so the third line is not taken.
void fill_a_channel() {
    auto [tx, rx] = mpsc::channel<std::string>(2);
    for (int read = 1; tx.try_send(std::string("a line")); ++read) {
        std::printf("read %d line%s\n", read, read == 1 ? "" : "s");
    }
}

std::string reason(const poison_error& error) {
    const std::string story = error.what();
    const auto begin = story.find("failed with");
    return story.substr(begin, story.find(" and said so at") - begin);
}

task<> everything() {
    fill_a_channel();
    const lines good{"1", "2", "3", "4"};
    const int count = co_await run_pipeline(good);
    std::printf("the end: %d lines\n", count);
    const lines bad{"7", "eight", "9"};
    try {
        co_await run_pipeline(bad);
    } catch (const poison_error& error) {
        std::printf("broken: %s\n", reason(error).c_str());
    }
}

} // namespace

int main() {
    return run(everything());
}
