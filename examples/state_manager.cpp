// The state of a small factory: many readers, few writers, and plain threads that read as well.
//
// Shows: `sync::shared_mutex`. Readers come together; a writer is alone, and is not starved by
// them; a plain thread reads by blocking_read(). A writer that is interrupted poisons the
// state, for readers too, and the next writer repairs it by write_or_recover() from what is
// known.
//
//     $ state_manager
//     3 readers at once: 40 parts in 2 machines
//     a plain thread: 40 parts
//     after the change: 41 parts in 2 machines
//     interrupted: the readers are told: yes
//     repaired from the machines' own counts: 42 parts in 2 machines
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <numeric>
#include <thread>
#include <vector>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct factory {
    std::vector<int> parts{20, 20}; // by machine
    int all = 40;                   // their sum
};
using state = sync::shared_mutex<factory>;

task<int> look(state& of, int& together) {
    const auto held = co_await of.read();
    ++together;
    co_await sleep_for(2ms); // others read meanwhile
    co_return held->all;
}

task<> make_part(state& of, std::size_t machine, std::chrono::milliseconds takes) {
    auto held = co_await of.write();
    ++held->parts[machine];
    co_await sleep_for(takes); // the sum is wrong
    ++held->all;
}

task<> show(state& of, const char* when) {
    const auto held = co_await of.read();
    std::printf("%s: %d parts in %zu machines\n", when, held->all, held->parts.size());
}

task<> story(state& made) {
    int together = 0;
    co_await when_all(look(made, together), look(made, together), look(made, together));
    {
        const auto held = co_await made.read();
        std::printf("%d readers at once: %d parts in %zu machines\n", together, held->all,
                    held->parts.size());
        std::thread([&made] {
            const auto also = made.blocking_read();
            std::printf("a plain thread: %d parts\n", also->all);
        }).join();
    }
    co_await make_part(made, 0, 1ms);
    co_await show(made, "after the change");

    auto writer = spawn(make_part(made, 1, 24h), {.name = "writer"});
    co_await sleep_for(5ms);
    writer.cancel();
    const outcome<> end = co_await writer.outcome();
    bool told = false;
    try {
        co_await show(made, "unreachable");
    } catch (const poison_error&) {
        told = true;
    }
    std::printf("interrupted: the readers are told: %s\n", told ? "yes" : "no");

    auto repair = [](factory& data, const poison_cause&) {
        data.all = std::accumulate(data.parts.begin(), data.parts.end(), 0);
    };
    {
        auto held = co_await made.write_or_recover(repair);
    }
    co_await show(made, "repaired from the machines' own counts");
}

} // namespace

int main() {
    state made({}, "factory"); // outlives all tasks, whatever ends them
    return run(story(made));
}
