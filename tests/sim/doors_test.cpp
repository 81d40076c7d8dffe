// Doors to code outside, in every order of an answer, a cancellation, a withdrawal and the end
// of the other side.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/doors.hpp"
#include "support/explored.hpp"
#include "support/sections.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using lock = sync::mutex<int>;

/// What became of one who asks.
struct asker {
    bool started = false;
    bool withdrawn = false;
    bool broken = false;
    bool gone = false; ///< its frame
    int delivered = 0;
};

enum class stops : unsigned char { never, truly, late };

task<> asks(desk& at, asker& a, lock& m, stops how) {
    const scope_exit tells([&a] { a.gone = true; });
    auto held = co_await m.lock();
    *held = half;
    std::size_t number = 0;
    const auto start = [&](completion<int> c) {
        expect(!a.started && !a.gone, "a start is called once, while its frame is there");
        a.started = true;
        number = at.ask(std::move(c));
    };
    const auto on_cancel = [&] {
        expect(a.started && !a.gone && !a.withdrawn,
               "on_cancel() is called once, behind start");
        if (how != stops::truly) return false;
        a.withdrawn = at.withdraw(number);
        return a.withdrawn;
    };
    try {
        const int got = co_await with_completion<int>(start, on_cancel);
        expect(!a.withdrawn, "a withdrawn question was answered");
        expect(*held == half && got == 7, "another's answer, or another in the section");
        ++a.delivered;
    } catch (const broken_completion&) {
        a.broken = true;
    }
    *held = whole;
    held.unlock();
    co_await yield_now();
}

/// Answers, or drops, one question, at some time.
task<> answers_one(sim::world& world, desk& at, bool drops, asker& a) {
    for (unsigned i = 0; i < 8; ++i) {
        co_await yield_now();
        completion<int> c = at.take();
        if (!c) continue;
        co_await some_turns(world, 1); // it is in hand, and cannot be withdrawn
        if (drops) co_return;
        expect(!a.withdrawn, "what was withdrawn is in hand");
        if (c.complete(7)) ++at.answers;
        co_return;
    }
    at.close();
}
task<> cancels(sim::world& world, join_handle<void>& whom) {
    co_await some_turns(world, 3);
    whom.cancel(cancel_reason::timeout);
}

task<> one_question(sim::world& world, sightings& seen) {
    desk at;
    asker a;
    lock m;
    const bool drops = pick(world, 3) == 0;
    const auto how = static_cast<stops>(pick(world, 3));
    bool cancelled = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto handle = scope.spawn(asks(at, a, m, how), on(0, "asker"));
        auto by = scope.spawn(cancels(world, handle), on(1, "canceller"));
        scope.spawn(answers_one(world, at, drops, a), on(1, "desk")).detach();
        co_await by;
        const auto end = co_await handle.outcome();
        expect(!end.has_exception(), "it failed");
        cancelled = end.is_cancelled();
    };
    co_await with_scope(body);
    expect(a.gone, "a frame is left");
    expect(a.delivered == at.answers, "an answer was lost, or came twice");
    expect(cancelled || a.delivered == 1 || a.broken, "it ended without an end");
    const int value = m.get_mut(sync::ignore_poison);
    expect((value == half) == m.is_poisoned(), "half-done data, or a needless alarm");
    expect(!a.delivered || value == whole, "it did not go on to its next await");
    if (!a.started) seen.note("never started");
    if (a.withdrawn) seen.note("withdrawn");
    if (a.delivered && cancelled) seen.note("waited for");
    if (a.delivered && !cancelled) seen.note("in time");
    if (a.broken) seen.note("broken");
    if (!a.broken && drops && a.started && !a.withdrawn && cancelled)
        seen.note("broken and stopped");
}

/// The same of a foreign awaitable.
struct guest {
    bool delivered = false;
    bool failed = false;
    bool broken = false;
    bool gone = false;
};
task<> parks(car_park& at, guest& g, lock& m) {
    const scope_exit tells([&g] { g.gone = true; });
    auto held = co_await m.lock();
    *held = half;
    try {
        const int got = co_await foreign(at.park());
        expect(got == 7, "another's result");
        g.delivered = true;
    } catch (const broken_completion&) {
        g.broken = true;
    } catch (const std::runtime_error&) {
        g.failed = true;
    }
    *held = whole;
    held.unlock();
    co_await yield_now();
}
task<> resumes_one(car_park& at, bool destroys) {
    for (int i = 0; i < 6; ++i) {
        co_await yield_now();
        if (destroys ? at.destroy_one() : at.resume_one()) co_return;
    }
    at.close();
}
task<> one_guest(sim::world& world, sightings& seen) {
    car_park at;
    guest g;
    lock m;
    const bool destroys = pick(world, 2) == 1;
    bool cancelled = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto handle = scope.spawn(parks(at, g, m), on(0, "guest"));
        auto by = scope.spawn(cancels(world, handle), on(1, "canceller"));
        scope.spawn(resumes_one(at, destroys), on(1, "attendant")).detach();
        co_await by;
        const auto end = co_await handle.outcome();
        expect(!end.has_exception(), "it failed");
        cancelled = end.is_cancelled();
    };
    co_await with_scope(body);
    expect(g.gone, "a frame is left");
    expect(cancelled || g.delivered || g.failed || g.broken, "it ended without an end");
    const int value = m.get_mut(sync::ignore_poison);
    expect((value == half) == m.is_poisoned(), "half-done data, or a needless alarm");
    if (at.parked == 0) seen.note("not parked");
    if (g.delivered && cancelled) seen.note("waited for");
    if (g.delivered && !cancelled) seen.note("in time");
    if (g.broken) seen.note("broken");
    if (destroys && cancelled && at.parked > 0 && !g.broken) seen.note("broken and stopped");
}

} // namespace

TEST_CASE(
    "S410: a question is answered, dropped, withdrawn, and its task cancelled, in every order: "
    "one end, never lost, never twice (explored)") {
    explored(schedules(2, 2), one_question,
             {"never started", "withdrawn", "waited for", "in time", "broken",
              "broken and stopped"});
}
TEST_CASE(
    "S419: a foreign awaitable is resumed, destroyed, and its task cancelled, in every order "
    "(explored)") {
    explored(schedules(3, 2), one_guest,
             {"not parked", "waited for", "in time", "broken", "broken and stopped"});
}

} // namespace toadstone::tests
