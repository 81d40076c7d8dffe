// A fuzzer's bytes as the decisions of a simulation: libFuzzer looks for the schedule, the
// fault or the cancellation that breaks a small server with a lock. tools/fuzz.sh runs it.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

using namespace toadstone;
using namespace std::chrono_literals;

namespace {

/// Two numbers that are equal whenever the lock is free and not poisoned.
struct ledger {
    int begun = 0;
    int done = 0;
};
using store = sync::mutex<ledger>;

task<> serves(io::tcp_listener& listener, store& books) {
    auto stream = co_await listener.accept();
    char buffer[16];
    for (;;) {
        const std::size_t count = co_await stream.read_some(std::span(buffer));
        if (count == 0) break;
        auto held = co_await books.lock();
        ++held->begun;
        co_await stream.write_all(std::string_view(buffer, count));
        ++held->done;
    }
    co_await stream.close();
}

task<> asks(io::endpoint at) {
    auto stream = co_await io::tcp_stream::connect(at);
    co_await stream.write_all(std::string_view("a question"));
    stream.shutdown_write();
    char buffer[16];
    for (;;) {
        const std::size_t count = co_await stream.read_some(std::span(buffer));
        if (count == 0) break;
    }
    co_await stream.close();
}

task<> scenario(sim::world& world) {
    store books;
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    std::vector<join_handle<void>> tasks;
    for (unsigned i = 0; i < 2; ++i) {
        const auto here = placement::worker(i);
        const auto there = placement::worker(i + 1);
        tasks.push_back(spawn(serves(listener, books), {.name = "server", .where = here}));
        tasks.push_back(
            spawn(asks(listener.local_endpoint()), {.name = "client", .where = there}));
    }
    co_await sleep_for(1us * world.choices().choose(256, sim::choice::timing));
    // One of them is cancelled, or none.
    const unsigned victim = world.choices().choose(5, sim::choice::fault);
    if (victim > 0) tasks[victim - 1].cancel();
    co_await sleep_for(10s);
    for (auto& each : tasks) each.cancel();
    for (auto& each : tasks) static_cast<void>(co_await each.outcome());
    auto found = co_await books.lock_or_poison();
    const ledger& now = *found.guard();
    if (found && now.begun != now.done) throw std::runtime_error("half an entry, not poisoned");
    co_await listener.close();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    sim::world_options options;
    options.workers = 2;
    options.network_faults = true;
    const auto dice = sim::replayed_choices(std::span(data, size));
    const auto end = sim::simulate(options, *dice, scenario);
    if (end) return 0;
    std::printf("%s\nreproduce with TOADSTONE_SIM_REPLAY=%s\n", end.failure.c_str(),
                end.reproduce.c_str());
    std::abort();
}
