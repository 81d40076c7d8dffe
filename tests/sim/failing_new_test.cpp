// failing_new.hpp: every allocation of the code under test fails once, and only of that code.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sim/failing_new.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"
#include "support/simulated.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Allocations that nobody but a replaced operator new sees: one of each kind.
struct alignas(64) wide {
    std::byte bytes[64];
};
task<> allocates_all_kinds(unsigned& survived) {
    co_await yield_now();
    const auto one = std::make_unique<int>(1);
    const auto many = std::make_unique<int[]>(100);
    const auto aligned = std::make_unique<wide>();
    const std::unique_ptr<int> quiet(new (std::nothrow) int(4));
    survived += quiet == nullptr;
    const std::string text(100, 'x');
    if (*one + text.back() != 'y') throw std::logic_error("not what was written");
}

/// Between the two halves of a change: an allocation.
task<> adds(sync::mutex<std::vector<std::string>>& to, std::size_t& entries) {
    auto held = co_await to.lock();
    ++entries;
    held->push_back(std::string(100, 'x'));
}
task<> adds_to_both(sim::world&) {
    sync::mutex<std::vector<std::string>> names;
    std::size_t entries = 0; // guarded by `names`
    auto first = spawn(adds(names, entries), {.name = "victim"});
    static_cast<void>(co_await first.outcome());
    auto second = spawn(adds(names, entries), {.name = "victim"});
    const auto end = co_await second.outcome();
    auto repair = co_await names.recover();
    if (repair.needed()) {
        expect(repair.cause().kind() == poison_kind::exception, "the wrong kind of cause");
        expect(!repair.cause().to_string().empty(), "a cause without a story");
        entries = repair->size();
    }
    const auto held = repair.complete();
    expect(held->size() == entries, "the entries and their number differ");
}

/// Ends in the middle of a section, in one way or the other.
task<> ends_inside(sync::mutex<int>& m, bool by_itself) {
    auto held = co_await m.lock();
    *held = 1;
    if (by_itself) throw boom();
    co_await sleep_for(1h);
}
task<> tells_of_an_end(sightings& seen, bool by_itself) {
    sync::mutex<int> m;
    auto victim = spawn(ends_inside(m, by_itself), {.name = "victim"});
    co_await sleep_for(1ms);
    victim.cancel(cancel_reason::timeout);
    static_cast<void>(co_await victim.outcome());
    auto found = co_await m.lock_or_poison();
    if (*found.guard() == 0) co_return; // it had no memory to begin with
    expect(!found, "half-done data, and the lock does not say so");
    const poison_cause cause = found.cause();
    const auto kind = by_itself ? poison_kind::exception : poison_kind::cancelled;
    expect(cause.kind() == kind, "the wrong kind of cause");
    expect(by_itself || cause.reason() == cancel_reason::timeout, "the wrong reason");
    const bool whole = cause.to_string().find("'victim'") != std::string::npos;
    const bool says_so = cause.to_string().find("no memory") != std::string::npos;
    expect(whole != says_so, "neither the whole story nor why not: " + cause.to_string());
    seen.note(whole ? "whole" : "without memory");
}

/// A guard that defers a cancellation ends on another worker, after the request.
task<> releases(sync::guard<int> held, bool& released) {
    co_await sleep_for(2ms);
    held.unlock();
    released = true;
}
task<> defers(sync::mutex<int>& m, bool& released) {
    auto held = co_await m.lock(sync::on_cancel::defer);
    auto other = spawn(releases(std::move(held), released),
                       {.name = "releaser", .where = placement::worker(1)});
    static_cast<void>(co_await other.outcome());
    co_await sleep_for(1h);
}
task<> ends_a_deferral(sim::world& world) {
    sync::mutex<int> m;
    bool released = false;
    const auto begun = world.now();
    auto holder = spawn(defers(m, released), {.name = "holder"});
    co_await sleep_for(1ms);
    holder.cancel();
    const auto end = co_await holder.outcome();
    expect(end.is_cancelled() && released, "the request is lost");
    expect(world.now() - begun < 1h, "the request came late");
}

} // namespace

TEST_CASE("failing_new: each kind of operator new fails once; a nothrow one gives null") {
    unsigned survived = 0;
    const auto body = [&survived](sim::world&) -> task<> {
        auto victim = spawn(allocates_all_kinds(survived), {.name = "victim"});
        const auto end = co_await victim.outcome();
        if (!end.has_exception()) co_return;
        bool refused = false;
        try {
            end.value();
        } catch (const std::bad_alloc&) {
            refused = true;
        }
        expect(refused, "it failed otherwise");
    };
    sim::cancel_options options;
    options.allocations = true;
    options.victims = "victim";
    const auto found = sim::cancel_at_every_await(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.allocations == 5);
    CHECK(survived == 1);
}

TEST_CASE("failing_new: a section that runs out of memory poisons, and tells why") {
    sim::cancel_options options;
    options.allocations = true;
    options.victims = "victim";
    const auto found = sim::cancel_at_every_await(options, adds_to_both);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.allocations > 2);
}

TEST_CASE("failing_new: a cause for which there is no memory has its kind and its reason") {
    const bool by_itself = GENERATE(true, false);
    sightings seen;
    const auto body = [&seen, by_itself](sim::world&) {
        return tells_of_an_end(seen, by_itself);
    };
    sim::cancel_options options;
    options.allocations = true;
    options.victims = "victim";
    options.cancels = false;
    const auto found = sim::cancel_at_every_await(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(seen.has("whole"));
    CHECK(seen.has("without memory"));
}

TEST_CASE("failing_new: memory that a task leaves behind fails the run, if that is asked for") {
    std::vector<std::unique_ptr<int>> kept(10);
    const auto body = [&kept](sim::world&) -> task<> {
        kept[0] = std::make_unique<int>(2);
        const auto gone = std::make_unique<int>(1);
        co_await yield_now();
        kept[1] = std::make_unique<int>(3);
        kept[1] = nullptr;
    };
    sim::world_options options;
    const auto tame = [&options, &body] {
        const auto dice = sim::replayed_choices("");
        return sim::simulate(options, *dice, body);
    };
    CHECK(tame());
    options.all_memory_back = true;
    kept[0] = nullptr;
    const auto end = tame();
    CHECK_FALSE(end);
    CHECK(end.failure == "1 blocks of memory (4 bytes) that tasks have allocated are left");
}

TEST_CASE("failing_new: a deferral ends on another worker without memory") {
    sim::cancel_options options;
    options.world.workers = 2;
    options.allocations = true;
    options.cancels = false;
    options.victims = "releaser";
    const auto found = sim::cancel_at_every_await(options, ends_a_deferral);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.allocations == 0); // so there is none that could fail
}

TEST_CASE("failing_new: the first allocation of a run counts, too") {
    const auto body = [](sim::world&) -> task<> {
        const auto one = std::make_unique<int>(1);
        co_await yield_now();
    };
    sim::cancel_options options;
    options.allocations = true;
    const auto found = sim::cancel_at_every_await(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.allocations == 1);
}

TEST_CASE("failing_new: an aligned block of more than there can be is refused") {
    volatile std::size_t most = static_cast<std::size_t>(-1) - 8; // or the compiler warns
    CHECK(::operator new(most, std::align_val_t(64), std::nothrow) == nullptr);
}

TEST_CASE("failing_new: what the simulation allocates for the code under test never fails") {
    const auto body = [](sim::world& world) -> task<> {
        for (int i = 0; i < 20; ++i) {
            static_cast<void>(world.choices().choose(3, sim::choice::amount));
        }
        world.put_file("a", std::string_view("content"));
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        co_await yield_now();
    };
    sim::cancel_options options;
    options.allocations = true;
    const auto found = sim::cancel_at_every_await(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.allocations == 0);
}
