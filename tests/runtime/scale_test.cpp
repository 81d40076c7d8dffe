// Large numbers: a million awaits, a million frames deep, a hundred thousand sleepers. All that
// was taken comes back, counted, and nobody starves, counted in turns and not in time.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/resources.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using clock_point = std::chrono::steady_clock::time_point;

namespace {

constexpr int million = 1000000;
constexpr int hundred_thousand = 100000;

/// How far the stack of the code under test reaches. AddressSanitizer may keep locals
/// elsewhere, so it asks for the frame, not for the address of a local.
class stack_gauge {
public:
    [[gnu::noinline]] void note() noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        lowest_ = std::min(lowest_, address);
        highest_ = std::max(highest_, address);
    }
    [[nodiscard]] std::uintptr_t extent() const noexcept { return highest_ - lowest_; }

private:
    std::uintptr_t lowest_ = UINTPTR_MAX;
    std::uintptr_t highest_ = 0;
};
constexpr std::uintptr_t few_bytes = 16384;

task<> counts_turns(const bool& stop, int& turns) {
    while (!stop) {
        ++turns;
        co_await yield_now();
    }
}
task<> ready_checkpoints(int& passed, stack_gauge& gauge) {
    for (int i = 0; i < million; ++i) {
        co_await checkpoint();
        ++passed;
        gauge.note();
    }
}
task<int> one() {
    co_return 1;
}
task<int> one_with_checkpoint(stack_gauge& gauge) {
    co_await checkpoint();
    gauge.note();
    co_return 1;
}
task<> ready_children(int& passed, stack_gauge& gauge) {
    for (int i = 0; i < million; ++i) {
        const int more = co_await one_with_checkpoint(gauge);
        passed += more;
        gauge.note();
    }
}
task<> ready_joins(int& passed, stack_gauge& gauge) {
    for (int i = 0; i < hundred_thousand; ++i) {
        auto child = spawn(one());
        co_await yield_now(); // it has ended now, and the join is ready at once
        const int more = co_await child;
        passed += more;
        gauge.note();
    }
}
task<> children_without_leaves(int& passed, stack_gauge& gauge) {
    for (int i = 0; i < million; ++i) {
        const int more = co_await one();
        passed += more;
        gauge.note();
    }
}

/// Every one looks whether it has to stop; none may ask all those around it.
task<> bounded(int below, int& returned, stack_gauge& gauge, gate& at_the_end) {
    if (below == 0) {
        co_await at_the_end.pass();
        co_return;
    }
    co_await checkpoint();
    static_cast<void>(co_await as_outcome(bounded(below - 1, returned, gauge, at_the_end)));
    co_await checkpoint();
    ++returned;
    gauge.note();
}

task<int> deep(int below, stack_gauge& gauge, gate* at_the_end) {
    int depth = 1;
    if (below > 0) {
        const int more = co_await deep(below - 1, gauge, at_the_end);
        depth += more;
    } else if (at_the_end) {
        co_await at_the_end->pass();
    }
    if (depth % 1000 == 0) gauge.note();
    co_return depth;
}
struct counts_end {
    int& count;
    stack_gauge& gauge;
    ~counts_end() {
        ++count;
        gauge.note();
    }
};
task<> deep_with_locals(int below, int& ended, stack_gauge& gauge, bool fail) {
    const counts_end local{ended, gauge};
    if (below > 0) {
        co_await deep_with_locals(below - 1, ended, gauge, fail);
    } else if (fail) {
        throw std::runtime_error("from the bottom");
    } else {
        co_await sleep_for(24h);
    }
}

task<> sleeps(std::atomic<int>& torn_down, int i) {
    const scope_fail count([&torn_down] { ++torn_down; });
    co_await sleep_for(1h + std::chrono::microseconds(i));
}
task<> scope_of_sleepers(task_scope& scope, std::atomic<int>& torn_down, int count) {
    for (int i = 0; i < count; ++i) scope.spawn(sleeps(torn_down, i)).detach();
    co_return;
}
task<> runs_scope_of_sleepers(std::atomic<int>& torn_down, int count) {
    const auto body = [&](task_scope& scope) {
        return scope_of_sleepers(scope, torn_down, count);
    };
    co_await with_scope(body);
}

} // namespace

TEST_CASE(
    "scale: a million awaits that are ready at once neither overflow the stack nor starve "
    "a neighbour") {
    const int kind = GENERATE(0, 1, 2);
    int passed = 0;
    int turns = 0;
    bool stop = false;
    stepped w;
    stack_gauge gauge;
    auto neighbour = w.spawn(counts_turns(stop, turns));
    auto handle = w.spawn(kind == 0   ? ready_checkpoints(passed, gauge)
                          : kind == 1 ? ready_children(passed, gauge)
                                      : ready_joins(passed, gauge));
    int steps = 0;
    for (; !handle.done() && steps < 2 * million; ++steps) w.step();
    stop = true;
    const int expected = kind == 2 ? hundred_thousand : million;
    CHECK(passed == expected);
    // The neighbour had its turn after each few hundred of them.
    CHECK(turns >= expected / 500);
    CHECK(turns >= steps - 1);
    CHECK(gauge.extent() < few_bytes);
}

TEST_CASE("scale: a million children that never suspend leave the stack where it was") {
    int passed = 0;
    stepped w;
    stack_gauge gauge;
    const auto frames = detail::live_frames();
    {
        auto handle = w.spawn(children_without_leaves(passed, gauge));
        w.settle();
        CHECK(handle.done());
    }
    CHECK(passed == million);
    CHECK(gauge.extent() < few_bytes);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("scale: a million children deep, suspended at the bottom or not") {
    const bool suspends = GENERATE(false, true);
    stepped w;
    stack_gauge gauge;
    gate at_the_end;
    const auto frames = detail::live_frames();
    {
        auto handle = w.spawn(deep(million - 1, gauge, suspends ? &at_the_end : nullptr));
        w.settle();
        CHECK(handle.done() == !suspends);
        if (suspends) CHECK(detail::live_frames() >= frames + million);
        at_the_end.open();
        CHECK(w.end_of(handle).value() == million);
    }
    CHECK(detail::live_frames() == frames);
    CHECK(gauge.extent() < few_bytes);
}

TEST_CASE("scale: a chain a million deep is torn down without a deep stack, every local once") {
    stepped w;
    stack_gauge gauge;
    int ended = 0;
    const auto frames = detail::live_frames();
    {
        auto handle = w.spawn(deep_with_locals(million - 1, ended, gauge, false));
        w.settle();
        CHECK(ended == 0);
        handle.cancel();
        w.settle();
        CHECK(handle.done());
    }
    CHECK(ended == million);
    CHECK(detail::live_frames() == frames);
    CHECK(gauge.extent() < few_bytes);
}

TEST_CASE("scale: a hundred thousand boundaries deep, cancelled at the bottom or not") {
    const bool cancelled = GENERATE(false, true);
    int returned = 0;
    stepped w;
    stack_gauge gauge;
    gate at_the_end;
    const auto frames = detail::live_frames();
    {
        auto handle = w.spawn(bounded(hundred_thousand, returned, gauge, at_the_end));
        w.settle();
        CHECK_FALSE(handle.done());
        if (cancelled) {
            handle.cancel();
        } else {
            at_the_end.open();
        }
        w.settle();
        CHECK(w.end_of(handle).is_cancelled() == cancelled);
    }
    CHECK(returned == (cancelled ? 0 : hundred_thousand));
    CHECK(detail::live_frames() == frames);
    CHECK(gauge.extent() < few_bytes);
}

TEST_CASE("scale: an exception climbs out of a hundred thousand frames") {
    stepped w;
    stack_gauge gauge;
    int ended = 0;
    const auto frames = detail::live_frames();
    {
        auto handle = w.spawn(deep_with_locals(hundred_thousand - 1, ended, gauge, true));
        const auto end = w.end_of(handle);
        REQUIRE(end.has_exception());
        CHECK_THROWS_WITH(end.value(), "from the bottom");
    }
    CHECK(ended == hundred_thousand);
    CHECK(detail::live_frames() == frames);
    CHECK(gauge.extent() < few_bytes);
}

TEST_CASE("scale: a hundred thousand sleepers, cancelled together, return every frame and "
          "descriptor") {
    const int how = GENERATE(0, 1, 2);
    const auto frames = detail::live_frames();
    const auto fds = open_descriptors();
    std::atomic<int> torn_down{0};
    {
        stepped w;
        {
            cancellation_source source;
            std::vector<join_handle<void>> handles;
            if (how == 2) {
                handles.push_back(w.spawn(runs_scope_of_sleepers(torn_down, hundred_thousand)));
            } else {
                handles.reserve(hundred_thousand);
                for (int i = 0; i < hundred_thousand; ++i) {
                    handles.push_back(
                        w.spawn(sleeps(torn_down, i),
                                {.token = how == 0 ? source.token() : cancellation_token()}));
                }
            }
            w.settle();
            CHECK(detail::live_frames() >= frames + 2 * hundred_thousand);
            CHECK(w.worker().next_timer() != clock_point::max());
            if (how == 0) source.cancel();
            if (how == 1) w.worker().stop_roots(cancel_reason::requested, false);
            if (how == 2) handles.front().cancel();
            w.settle();
            CHECK(torn_down == hundred_thousand);
            CHECK(std::all_of(handles.begin(), handles.end(),
                              [](const auto& each) { return each.done(); }));
            CHECK(w.worker().next_timer() == clock_point::max());
            CHECK(w.worker().first_root() == nullptr);
        }
        CHECK(detail::live_frames() == frames);
    }
    CHECK(open_descriptors() == fds);
}

TEST_CASE("scale: a hundred thousand sleepers on a runtime that goes return everything") {
    const auto frames = detail::live_frames();
    const auto fds = open_descriptors();
    std::atomic<int> torn_down{0};
    {
        runtime here({.workers = 2, .grace = 50s});
        for (int i = 0; i < hundred_thousand; ++i) {
            here.spawn(sleeps(torn_down, i)).detach();
        }
    }
    CHECK(torn_down <= hundred_thousand); // those that had begun
    CHECK(detail::live_frames() == frames);
    CHECK(open_descriptors() == fds);
}
