// Waiting for a lock under exploration: cancelled, timed, raced and poisoned waiters in every
// schedule with few preemptions (section A of the scenarios).
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"
#include "support/explored.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <csignal>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;

/// Holds the lock until it is told to go.
task<> holds(mutex<int>& m, line& queue, event& inside, event& go) {
    queue.arrives(0);
    auto held = co_await m.lock();
    const line::stay here(queue, 0);
    inside.set();
    co_await go.wait();
}

/// Takes the lock, adds one, and lets go without an await inside.
task<> passes(mutex<int>& m, line& queue, int who) {
    co_await yield_now();
    queue.arrives(who);
    auto held = co_await m.lock();
    const line::stay here(queue, who);
    ++*held;
}

/// The same with an await inside.
task<> works(mutex<int>& m, line& queue, int who) {
    co_await yield_now();
    queue.arrives(who);
    auto held = co_await m.lock();
    const line::stay here(queue, who);
    const int before = *held;
    co_await yield_now();
    *held = before + 1;
}

/// Free, healthy, and entered so many times: what every scenario here ends with.
void expect_free(mutex<int>& m, int entered) {
    expect(!m.is_poisoned(), "somebody who only waited has poisoned the lock");
    auto held = m.try_lock();
    expect(held.has_value(), "the lock is not free although nobody is left");
    expect(**held == entered, "not everybody who should have has been in the section");
}

task<> s1(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue(4);
    event inside;
    event go;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds(m, queue, inside, go), on(0, "holder")).detach();
        co_await inside.wait();
        std::vector<join_handle<void>> waiters;
        for (int who = 1; who <= 3; ++who) {
            waiters.push_back(scope.spawn(passes(m, queue, who), on(who % 3, "waiter")));
        }
        co_await queue.everybody.wait();
        const unsigned victim = pick(world, 3);
        const char* const places[] = {"at the front", "in the middle", "at the back"};
        seen.note(places[queue.place_of(static_cast<int>(victim) + 1)]);
        queue.excuse(static_cast<int>(victim) + 1);
        waiters[victim].cancel();
        auto end = co_await waiters[victim].outcome();
        expect(end.is_cancelled(), "a waiter has entered while the lock was held");
        expect(queue.owner() == 0, "the holder has lost the lock to a waiter that left");
        go.set();
    };
    co_await with_scope(body);
    expect_free(m, 2);
}

task<> s2(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue(3);
    event inside;
    event go;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds(m, queue, inside, go), on(1, "holder")).detach();
        co_await inside.wait();
        auto head = scope.spawn(passes(m, queue, 1), on(1, "head"));
        scope.spawn(works(m, queue, 2), on(2, "behind")).detach();
        co_await queue.everybody.wait();
        go.set();
        co_await some_turns(world, 2);
        const bool tie = queue.last_left() == 0 && !queue.has_entered(1);
        queue.excuse(1);
        head.cancel();
        auto end = co_await head.outcome();
        expect(end.has_value() == queue.has_entered(1), "its end and its entry contradict");
        if (end.has_value()) {
            seen.note("granted");
        } else {
            seen.note(tie ? "removed at the tie" : "removed");
        }
    };
    co_await with_scope(body);
    expect(queue.has_entered(2), "the one behind a cancelled head was not served");
    expect_free(m, queue.has_entered(1) ? 2 : 1);
}

task<> unlocks_then_cancels(mutex<int>& m, line& queue, event& inside, event& go,
                            std::vector<join_handle<void>>& whom) {
    queue.arrives(0);
    auto held = co_await m.lock();
    {
        const line::stay here(queue, 0);
        inside.set();
        co_await go.wait();
    }
    held.unlock(); // the first waiter is the owner now, and has not run
    for (auto& each : whom) each.cancel();
}

task<> s3(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue(4);
    event inside;
    event go;
    std::vector<join_handle<void>> victims;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(unlocks_then_cancels(m, queue, inside, go, victims), on(0, "holder"))
            .detach();
        co_await inside.wait();
        const int cancelled = 1 + static_cast<int>(pick(world, 2));
        for (int who = 1; who <= 3; ++who) {
            auto waiter = scope.spawn(passes(m, queue, who), on(who % 3, "waiter"));
            co_await some_turns(world, 0);
            if (who <= cancelled) {
                victims.push_back(std::move(waiter));
                queue.excuse(who);
            } else {
                waiter.detach();
            }
        }
        co_await queue.everybody.wait();
        const bool first_granted = queue.place_of(1) == 0;
        go.set();
        for (auto& each : victims) {
            auto end = co_await each.outcome();
            expect(end.is_cancelled(), "a waiter that was cancelled first has entered");
        }
        if (first_granted) seen.note(cancelled == 1 ? "handed on" : "handed on twice");
    };
    co_await with_scope(body);
    expect(queue.has_entered(3), "the lock that was handed back has reached nobody");
    expect_free(m, 3 - static_cast<int>(victims.size()));
}

task<> s4(sim::world&, sightings&) {
    mutex<int> m;
    line queue(4);
    event inside;
    event go;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds(m, queue, inside, go), on(1, "holder")).detach();
        co_await inside.wait();
        std::vector<join_handle<void>> waiters;
        for (int who = 1; who <= 3; ++who) {
            waiters.push_back(scope.spawn(passes(m, queue, who), on(who % 3, "waiter")));
        }
        for (int who = 1; who <= 2; ++who) {
            auto& waiter = waiters[static_cast<std::size_t>(who) - 1];
            queue.excuse(who);
            waiter.cancel();
            auto end = co_await waiter.outcome();
            expect(end.is_cancelled(), "a waiter has entered while the lock was held");
            expect(queue.owner() == 0, "the lock has changed hands while it was held");
            expect(!waiters[2].done(), "the last waiter did not wait for its turn");
            expect(!m.try_lock(), "a held lock was given away");
        }
        go.set();
    };
    co_await with_scope(body);
    expect(queue.has_entered(3), "the last waiter was not served");
    expect_free(m, 1);
}

task<> never_enters(mutex<int>& m, join_handle<void>& self, bool by_itself, bool& entered) {
    if (by_itself) self.cancel();
    auto held = co_await m.lock();
    entered = true;
}

task<> s5(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue;
    bool entered = false;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(passes(m, queue, 1), on(1, "rival")).detach();
        co_await some_turns(world, 2);
        const bool by_itself = pick(world, 2) == 1;
        join_handle<void> victim;
        victim = scope.spawn(never_enters(m, victim, by_itself, entered), on(0, "victim"));
        if (!by_itself) victim.cancel();
        seen.note(queue.has_entered(1) ? "of a free lock" : "of a lock that nobody had yet");
        auto end = co_await victim.outcome();
        expect(end.is_cancelled(), "a pending request was not taken");
    };
    co_await with_scope(body);
    expect(!entered, "a task that was bound to stop has entered the section");
    expect_free(m, 1);
}

task<> s6(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue;
    event inside;
    event go;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds(m, queue, inside, go), on(2, "holder")).detach();
        co_await inside.wait();
        auto waiter = scope.spawn(passes(m, queue, 1), on(1, "waiter"));
        co_await some_turns(world, 3);
        seen.note(queue.arrived() == 2 ? "cancelled in the queue" : "cancelled before");
        queue.excuse(1);
        waiter.cancel();
        auto end = co_await waiter.outcome(); // a request that is lost is a deadlock here
        expect(end.is_cancelled(), "a waiter has entered while the lock was held");
        go.set();
    };
    co_await with_scope(body);
    expect_free(m, 0);
}

task<> holds_for(mutex<int>& m, line& queue, event& inside, std::chrono::nanoseconds how_long) {
    queue.arrives(0);
    auto held = co_await m.lock();
    const line::stay here(queue, 0);
    inside.set();
    co_await sleep_for(how_long);
}

task<> tries_for(mutex<int>& m, line& queue, std::chrono::nanoseconds limit, sightings& seen) {
    queue.excuse(1); // by its time limit
    queue.arrives(1);
    auto held = co_await m.try_lock_for(limit);
    if (!held) {
        seen.note("timed lock: time is up");
        co_return;
    }
    const line::stay here(queue, 1);
    ++**held;
    seen.note("timed lock: got it");
}

task<> locks_within(mutex<int>& m, line& queue, std::chrono::nanoseconds limit,
                    sightings& seen) {
    queue.excuse(1);
    queue.arrives(1);
    try {
        auto held = co_await with_timeout(limit, m.lock());
        const line::stay here(queue, 1);
        ++*held;
        seen.note("with_timeout: got it");
    } catch (const timeout_error&) {
        expect(queue.owner() != 1, "a timeout was reported to the owner of the lock");
        seen.note("with_timeout: time is up");
    }
}

task<> s7(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue;
    event inside;
    const auto body = [&](task_scope& scope) -> task<> {
        const auto until = 10ms - 1us * pick(world, 2);
        scope.spawn(holds_for(m, queue, inside, until), on(0, "holder")).detach();
        co_await inside.wait();
        auto waiter = pick(world, 2) == 0 ? tries_for(m, queue, 10ms, seen)
                                          : locks_within(m, queue, 10ms, seen);
        scope.spawn(std::move(waiter), on(1, "timed")).detach();
        scope.spawn(works(m, queue, 2), on(2, "behind")).detach();
    };
    co_await with_scope(body);
    expect(queue.has_entered(2), "the one behind a timed waiter was not served");
    expect_free(m, queue.has_entered(1) ? 2 : 1);
}

task<> races(mutex<int>& m, line& queue, event& other, std::optional<std::size_t>& winner) {
    queue.excuse(1);
    queue.arrives(1);
    auto first = co_await when_any(m.lock(), other.wait());
    winner = first.index;
    if (first.index == 0) {
        auto held = std::get<0>(std::move(first.value));
        const line::stay here(queue, 1);
        ++*held;
    }
}

task<> s8(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue;
    event inside;
    event go;
    event other;
    std::optional<std::size_t> winner;
    bool tie = false;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds(m, queue, inside, go), on(0, "holder")).detach();
        co_await inside.wait();
        scope.spawn(races(m, queue, other, winner), on(1, "racer")).detach();
        scope.spawn(works(m, queue, 2), on(2, "behind")).detach();
        co_await some_turns(world, 2);
        if (pick(world, 2) == 0) {
            go.set();
            co_await some_turns(world, 2);
            tie = queue.last_left() == 0 && !winner;
            other.set();
        } else {
            other.set();
            co_await some_turns(world, 2);
            go.set();
        }
    };
    co_await with_scope(body);
    expect(winner.has_value(), "a race has no winner");
    expect((*winner == 0) == queue.has_entered(1), "the winner and the entry contradict");
    expect(queue.has_entered(2), "the one behind a race was not served");
    expect_free(m, *winner == 0 ? 2 : 1);
    if (*winner == 0) seen.note("the lock won");
    if (*winner == 1) seen.note(tie ? "the other won at the tie" : "the other won");
}

task<> breaks(mutex<int>& m, line& queue, event& inside, event& go) {
    try {
        queue.arrives(0);
        auto held = co_await m.lock();
        const line::stay here(queue, 0);
        inside.set();
        co_await go.wait();
        throw boom();
    } catch (const boom&) {
    }
}

/// Must be told of the poison that `holder` left.
task<> fails(mutex<int>& m, line& queue, int who, std::uint64_t& holder) {
    queue.excuse(who);
    queue.arrives(who);
    bool failed = false;
    try {
        auto held = co_await m.lock();
        expect(false, "a plain lock() has become the owner of poisoned data");
    } catch (const poison_error& error) {
        failed = true;
        expect(error.cause().task_id() == holder, "the poison tells of somebody else");
    }
    expect(failed, "a plain lock() of a poisoned mutex did not fail");
}

task<> looks(mutex<int>& m, line& queue, int who, bool repairs, event& plain_are_gone) {
    queue.arrives(who);
    if (repairs) {
        auto right = co_await m.recover();
        const line::stay here(queue, who);
        expect(right.needed(), "the poison was gone before anybody had repaired");
        co_await plain_are_gone.wait(); // a convoy would be a deadlock here
    } else {
        auto found = co_await m.lock_or_poison();
        const line::stay here(queue, who);
        expect(!found, "poisoned data was handed over as healthy");
        co_await plain_are_gone.wait();
    }
}

task<> s9(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue(5);
    event inside;
    event go;
    event plain_are_gone;
    std::uint64_t culprit = 0;
    const auto body = [&](task_scope& scope) -> task<> {
        auto holder = scope.spawn(breaks(m, queue, inside, go), on(0, "holder"));
        culprit = holder.id();
        co_await inside.wait();
        auto front = scope.spawn(fails(m, queue, 1, culprit), on(1, "plain"));
        const bool repairs = pick(world, 2) == 1;
        scope.spawn(looks(m, queue, 2, repairs, plain_are_gone), on(0, "looker")).detach();
        auto behind = scope.spawn(fails(m, queue, 3, culprit), on(1, "plain"));
        scope.spawn(looks(m, queue, 4, !repairs, plain_are_gone), on(1, "looker")).detach();
        if (pick(world, 2) == 0) co_await queue.everybody.wait();
        seen.note(queue.arrived() == 5 ? "all were queued" : "some came later");
        if (pick(world, 2) == 0) {
            go.set();
        } else {
            holder.cancel();
        }
        co_await front;
        co_await behind;
        plain_are_gone.set();
    };
    co_await with_scope(body);
    expect(queue.has_entered(2) && queue.has_entered(4), "a looker was not served");
    expect(m.is_poisoned(), "the poison is gone although nobody has repaired");
}

task<> locks_twice(mutex<int>& m, line& queue, unsigned way, bool escapes) {
    queue.arrives(1);
    auto held = co_await m.lock();
    const line::stay here(queue, 1);
    co_await yield_now();
    bool told = false;
    try {
        if (way == 0) auto again = co_await m.lock();
        if (way == 1) auto again = co_await m.try_lock_for(1h);
        if (way == 2) auto again = co_await m.recover();
    } catch (const sync::would_deadlock&) {
        told = true;
        if (escapes) throw;
    }
    expect(told, "a task was not told that it asks for a lock that it holds");
    ++*held;
}

task<> rival(mutex<int>& m, line& queue, bool& poisoned) {
    queue.excuse(2);
    queue.arrives(2);
    try {
        auto held = co_await m.lock();
        const line::stay here(queue, 2);
        co_await yield_now();
        ++*held;
    } catch (const poison_error& error) {
        poisoned = true;
        bool is_deadlock = false;
        try {
            std::rethrow_exception(error.cause().exception());
        } catch (const sync::would_deadlock&) {
            is_deadlock = true;
        }
        expect(is_deadlock, "the poison tells of another exception");
    }
}

task<> s12(sim::world& world, sightings& seen) {
    mutex<int> m;
    line queue;
    const unsigned way = pick(world, 3);
    const bool escapes = pick(world, 2) == 1;
    bool poisoned = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto twice =
            scope.spawn(as_outcome(locks_twice(m, queue, way, escapes)), on(0, "twice"));
        scope.spawn(rival(m, queue, poisoned), on(1, "rival")).detach();
        auto end = co_await twice;
        expect(end.has_exception() == escapes, "the second lock() ended otherwise");
    };
    co_await with_scope(body);
    expect(m.is_poisoned() == escapes, "would_deadlock poisons if, and only if, it escapes");
    expect(!poisoned || escapes, "a rival was told of a poison that is none");
    if (escapes) seen.note(poisoned ? "the rival was told" : "the rival was first");
    if (!escapes) seen.note("caught");
}

task<> ends_the_last(std::optional<mutex<int>>& m, line& queue, int who, int& left) {
    {
        queue.arrives(who);
        auto held = co_await m->lock();
        const line::stay here(queue, who);
        co_await yield_now();
    }
    if (--left == 0) m.reset();
}

task<> s13_legal(sim::world&, sightings&) {
    std::optional<mutex<int>> m(std::in_place);
    line queue;
    int left = 3;
    const auto body = [&](task_scope& scope) -> task<> {
        for (int who = 1; who <= 3; ++who) {
            scope.spawn(ends_the_last(m, queue, who, left), on(who % 3)).detach();
        }
        co_return;
    };
    co_await with_scope(body);
    expect(!m, "the last one has not ended the mutex");
}

task<> s13_broken(sim::world&, bool held) {
    std::optional<mutex<int>> m(std::in_place);
    line queue(2);
    event inside;
    event go;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds(*m, queue, inside, go), on(1)).detach();
        co_await inside.wait();
        if (!held) {
            scope.spawn(passes(*m, queue, 1), on(0)).detach();
            co_await queue.everybody.wait();
        }
        m.reset();
    };
    co_await with_scope(body);
}

} // namespace

TEST_CASE("S1: a waiter that is cancelled anywhere in the queue leaves at once, and the rest "
          "keep their order (explored)") {
    explored(schedules(every), s1, {"at the front", "in the middle", "at the back"});
}
TEST_CASE("S2: a head waiter that is cancelled during the unlock is removed or granted, and "
          "nobody is stranded (explored)") {
    explored(schedules(every), s2, {"granted", "removed", "removed at the tie"});
}
TEST_CASE("S3: waiters that are cancelled after the hand-off hand the lock on, clean "
          "(explored)") {
    explored(schedules(every), s3, {"handed on", "handed on twice"});
}
TEST_CASE("S4: waiters leave one after the other, and the lock has one owner at every instant "
          "(explored)") {
    explored(schedules(every), s4);
}
TEST_CASE("S5: with a request pending lock() does not touch a free mutex (explored)") {
    explored(schedules(every), s5, {"of a free lock", "of a lock that nobody had yet"});
}
TEST_CASE("S6: a request that arrives on the way into the queue is not lost (explored)") {
    explored(schedules(every), s6, {"cancelled before", "cancelled in the queue"});
}
TEST_CASE("S7: the time limit and the hand-off at one instant have a single winner "
          "(explored)") {
    explored(schedules(every), s7,
             {"timed lock: got it", "timed lock: time is up", "with_timeout: got it",
              "with_timeout: time is up"});
}
TEST_CASE("S8: a lock that was granted to a branch that lost goes on, clean (explored)") {
    explored(schedules(4), s8, {"the lock won", "the other won", "the other won at the tie"});
}
TEST_CASE("S9: a poisoning fails all plain waiters at once, and those who want the lock all "
          "the same get it in turn (explored)") {
    explored(schedules(every), s9, {"all were queued", "some came later"});
}
TEST_CASE("S12: a task that asks again for its lock is told, and only what escapes poisons "
          "(explored)") {
    explored(schedules(every), s12, {"the rival was told", "the rival was first", "caught"});
}
TEST_CASE("S13: the last one may end the mutex as soon as it has unlocked (explored)") {
    explored(schedules(every), s13_legal);
}
TEST_CASE("S13: a mutex that ends while it is held or waited for aborts with a sentence "
          "(explored)") {
    const bool held = GENERATE(true, false);
    sim::world_options options = schedules(1).world;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        const auto end = in_child([&] {
            const auto dice = sim::random_choices(seed);
            const auto body = [held](sim::world& world) { return s13_broken(world, held); };
            return sim::simulate(options, *dice, body).ok ? 0 : 1;
        });
        CAPTURE(held, seed, end.err);
        CHECK(end.signal == SIGABRT);
        CHECK_THAT(end.err, Catch::Contains("a mutex is destroyed only when nobody holds it or "
                                            "waits for it"));
    }
}

} // namespace toadstone::tests
