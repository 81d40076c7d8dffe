// Many tasks at once: so many at a time, the first that succeeds, one for several, a stream.
//
// Shows: join_set with a limit, when_any_success, shared_task, async_generator,
// with_supervisor, throw_if_cancelled in a function that computes, abort_on_drop.
//
//     $ many_tasks
//     page 1: 10 bytes
//     page 3: 30 bytes
//     page 2: failed: no such page
//     fastest mirror: b
//     no mirror: 2 tasks failed: std::runtime_error: a is down; std::runtime_error: b is down
//     settings, read once: verbose verbose
//     lines: 1 2 3
//     supervised: 1 task failed: std::runtime_error: no such page
//     sum: cancelled (timeout)
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct page {
    int number = 0;
    int bytes = 0;
};

task<page> fetch(int number, std::chrono::milliseconds takes) {
    co_await sleep_for(takes);
    if (number == 2) throw std::runtime_error("no such page");
    co_return page{number, 10 * number};
}

// Two at a time; they are joined as they end.
task<> fetch_all() {
    join_set<page> pages(2);
    co_await pages.spawn_when_free(fetch(1, 1ms));
    co_await pages.spawn_when_free(fetch(2, 60ms));
    co_await pages.spawn_when_free(fetch(3, 1ms)); // when the first has ended
    for (;;) {
        const auto end = co_await pages.join_next();
        if (!end) break;
        if (end->has_value()) {
            std::printf("page %d: %d bytes\n", end->value().number, end->value().bytes);
        } else {
            std::puts("page 2: failed: no such page");
        }
    }
}

task<std::string> mirror(std::string name, std::chrono::milliseconds takes, bool up) {
    co_await sleep_for(takes);
    if (!up) throw std::runtime_error(name + " is down");
    co_return name;
}

task<> ask_mirrors() {
    const auto first =
        co_await when_any_success(mirror("a", 1ms, false), mirror("b", 5ms, true),
                                  mirror("c", 1h, true)); // cancelled, and gone
    std::printf("fastest mirror: %s\n", first.value.c_str());
    try {
        static_cast<void>(
            co_await when_any_success(mirror("a", 1ms, false), mirror("b", 5ms, false)));
    } catch (const aggregate_error& error) {
        std::printf("no mirror: %s\n", error.what());
    }
}

task<std::string> load_settings() {
    co_await sleep_for(1ms);
    co_return "verbose";
}

task<std::string> reads(shared_task<std::string> from) {
    const std::string& text = co_await from;
    co_return text;
}

task<> share_settings() {
    shared_task<std::string> settings(spawn(load_settings()));
    const auto both = co_await when_all(reads(settings), reads(settings));
    std::printf("settings, read once: %s %s\n", std::get<0>(both).c_str(),
                std::get<1>(both).c_str());
}

async_generator<int> lines(int count) {
    for (int i = 1; i <= count; ++i) {
        co_await sleep_for(1ms); // it reads
        co_yield i;
    }
}

task<> read_lines() {
    std::string text = "lines:";
    auto all = lines(3);
    while (auto next = co_await all.next()) text += " " + std::to_string(*next);
    std::puts(text.c_str());
}

task<> supervise() {
    const auto body = [](task_scope& scope) -> task<> {
        scope.spawn(fetch(2, 1ms)); // fails, and cancels nobody
        scope.spawn(fetch(3, 5ms));
        co_return;
    };
    try {
        co_await with_supervisor(body);
    } catch (const aggregate_error& error) {
        std::printf("supervised: %s\n", error.what());
    }
}

// No coroutine, so it cannot await a checkpoint().
unsigned sums_for_ever() {
    unsigned sum = 1;
    while (sum != 0) { // it stays odd
        this_task::throw_if_cancelled();
        sum += 2;
    }
    return sum;
}

task<unsigned> computes() {
    co_return sums_for_ever();
}

task<> give_up() {
    // On another worker: this one is to stay free. Dropped, it would be cancelled, too.
    abort_on_drop sum(spawn(computes(), {.where = placement::worker(1)}));
    co_await sleep_for(1ms);
    sum.cancel(cancel_reason::timeout);
    const outcome<unsigned> end = co_await sum.outcome();
    std::printf("sum: cancelled (%s)\n", std::string(to_string(end.reason())).c_str());
}

task<> story() {
    co_await fetch_all();
    co_await ask_mirrors();
    co_await share_settings();
    co_await read_lines();
    co_await supervise();
    co_await give_up();
}

} // namespace

int main() {
    runtime_options options;
    options.workers = 2;
    runtime workers(options);
    workers.block_on(story());
    return 0;
}
