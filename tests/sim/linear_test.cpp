// Histories of every primitive are linearisable in every schedule that is tried: what
// tests/sync/linear_*_test.cpp do with threads, here by choice, so that a failure is replayed.
#include <toadstone/sim.hpp>

#include "support/explored.hpp"
#include "support/linear/broadcast_subject.hpp"
#include "support/linear/channel_subjects.hpp"
#include "support/linear/condition_subjects.hpp"
#include "support/linear/lock_subjects.hpp"
#include "support/linear/signal_subjects.hpp"
#include "support/linear/watch_subject.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests::linear {
namespace {

using maker = std::unique_ptr<subject> (*)(dice&);

task<> one_history(sim::world& world, maker make, unsigned workers) {
    dice chance(pick(world, 1'000'000));
    const auto in = std::make_unique<detail::run>(make(chance));
    in->left = detail::tasks; // and no plain thread
    for (unsigned i = 0; i < detail::tasks; ++i) {
        auto actor = detail::plays(*in, i, chance.below(1u << 30), detail::departure(*in));
        in->handles[i] = spawn(std::move(actor), on(static_cast<int>(chance.below(workers))));
    }
    auto end = spawn(detail::ends_waits(*in, chance.below(1u << 30)), on(0));
    co_await detail::joins(*in, end);
    const std::string complaint = in->what->complaint(in->log.written());
    if (!complaint.empty()) throw std::logic_error(complaint);
}

template <class Subject>
std::unique_ptr<subject> made(dice&) {
    return std::make_unique<Subject>();
}

void explore_histories(maker make, unsigned workers = 2) {
    sim::explore_options options;
    options.world.workers = workers;
    options.world.hostile = false;
    options.random_runs = 200;
    options.pct_runs = 200;
    const auto found = sim::explore(options, [make, workers](sim::world& world) {
        return one_history(world, make, workers);
    });
    INFO(found.to_string());
    CHECK(found);
}

} // namespace

TEST_CASE("S351: histories of locks are linearisable in every schedule that is tried") {
    explore_histories(made<mutex_subject>);
    explore_histories(made<batched_subject>);
    explore_histories(made<local_subject>, 1);
    explore_histories(made<shared_subject>);
    explore_histories(made<condition_subject>);
    explore_histories(made<cell_subject>);
}
TEST_CASE("S351: histories of signals are linearisable in every schedule that is tried") {
    explore_histories([](dice& chance) -> std::unique_ptr<subject> {
        return std::make_unique<semaphore_subject>(chance.below(4));
    });
    explore_histories(made<event_subject<sync::manual_reset_event>>);
    explore_histories(made<event_subject<sync::auto_reset_event>>);
    explore_histories(made<event_subject<sync::latch>>);
    explore_histories(made<barrier_subject>);
}
TEST_CASE("S351: histories of channels are linearisable in every schedule that is tried") {
    explore_histories([](dice& chance) -> std::unique_ptr<subject> {
        using bounded = channel_subject<sync::mpsc::halves<letter>>;
        return std::make_unique<bounded>(1 + 2 * chance.below(2));
    });
    explore_histories([](dice&) -> std::unique_ptr<subject> {
        using unbounded = channel_subject<sync::mpsc::unbounded_halves<letter>>;
        return std::make_unique<unbounded>(0u);
    });
    explore_histories([](dice&) -> std::unique_ptr<subject> {
        return std::make_unique<oneshot_subject>(false);
    });
    explore_histories([](dice& chance) -> std::unique_ptr<subject> {
        return std::make_unique<broadcast_subject>(1 + chance.below(3));
    });
    explore_histories(made<watch_subject>);
}

} // namespace toadstone::tests::linear
