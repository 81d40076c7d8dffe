// Locks and channels on a fiber: a section that is cut poisons, and what blocks a thread
// elsewhere waits as a task does.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/fiber/stack.hpp>
#include <toadstone/sync.hpp>

#include "support/dies.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using lock = sync::mutex<int>;

void half_done(lock& m, gate& at) {
    auto held = fiber::await(m.lock());
    *held = -1;
    fiber::await(at.pass());
    *held = 1;
}
task<> keeps(lock& m, gate& at) {
    auto held = co_await m.lock();
    held.mark_consistent();
    co_await at.pass();
}
task<> waits_too(lock& m, sync::condition_variable& changed, event_log& log) {
    auto held = co_await m.lock();
    co_await changed.wait(held);
    log.push_back("other");
}
/// Says at its end whether the guard holds its lock.
class finally_sees {
public:
    finally_sees(const lock::guard& held, event_log& log) : held_(held), log_(log) {}
    finally_sees(const finally_sees&) = delete;
    finally_sees& operator=(const finally_sees&) = delete;
    ~finally_sees() { log_.push_back(held_ ? "locked" : "open"); }

private:
    const lock::guard& held_;
    event_log& log_;
};
task<bool> is_free(lock& m) {
    co_await yield_now();
    auto held = m.try_lock();
    co_return held.has_value();
}

} // namespace

TEST_CASE(
    "S41: a fiber that is cancelled inside a section poisons with reason, place and owner",
    "[fiber]") {
    stepped w;
    lock m(0, "accounts");
    gate at;
    auto handle = w.spawn(run_fiber([&] { half_done(m, at); }), {.name = "worker on a fiber"});
    w.settle();
    REQUIRE(at.waited_for());
    handle.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    const poison_cause cause = m.cause();
    CHECK(cause.reason() == cancel_reason::requested);
    CHECK(std::string(cause.interrupted_at().function_name()).find("half_done") !=
          std::string::npos);
    CHECK(cause.task_name() == "worker on a fiber");
    CHECK(cause.kind() == poison_kind::cancelled);
}

TEST_CASE("S41: an exception that leaves a section on a fiber poisons, and the cause names it",
          "[fiber]") {
    stepped w;
    lock m(0, "accounts");
    auto body = [&] {
        auto held = fiber::await(m.lock());
        *held = -1;
        fiber::await(yield_now());
        throw std::runtime_error("no more");
    };
    CHECK_THROWS_WITH(w.run(run_fiber(body)), "no more");
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().to_string().find("no more") != std::string::npos);
}

TEST_CASE("a section on a fiber that ends in order, also in a handler, does not poison",
          "[fiber]") {
    stepped w;
    lock m;
    gate at;
    auto body = [&] {
        try {
            throw std::runtime_error("caught");
        } catch (const std::runtime_error&) {
            auto held = fiber::await(m.lock());
            fiber::await(at.pass());
            *held = 2;
        }
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    at.open();
    w.settle();
    CHECK(handle.done());
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S473: blocking_lock() on a fiber waits as a task does, and its worker goes on",
          "[fiber]") {
    stepped w;
    lock m;
    gate at;
    event_log log;
    auto holder = w.spawn(keeps(m, at));
    w.settle();
    auto body = [&] {
        traced local(log, "fiber");
        auto held = m.blocking_lock();
        *held = 5;
        log.push_back("locked");
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    CHECK(m.waiters() == 1);
    CHECK(log.empty());
    SECTION("granted") {
        at.open();
        w.settle();
        CHECK(log == event_log{"locked", "fiber"});
        CHECK(handle.done());
    }
    SECTION("cancelled while it is queued") {
        handle.cancel();
        w.settle();
        CHECK(log == event_log{"fiber!"});
        CHECK(m.waiters() == 0);
        at.open();
        w.settle();
        CHECK(w.run(is_free(m)));
    }
    SECTION("cancelled at the tie: the lock goes on") {
        at.open();
        w.step(); // the holder has been woken, and hands over
        handle.cancel();
        w.settle();
        CHECK(w.run(is_free(m)));
    }
    SECTION("the holder leaves it poisoned") {
        holder.cancel();
        w.settle();
        // It was marked consistent, so that it is healthy.
        CHECK(log == event_log{"locked", "fiber"});
    }
}

TEST_CASE("S473: within no_unwind a blocking wait is not cut, and the fiber ends afterwards",
          "[fiber]") {
    stepped w;
    lock m;
    gate at;
    event_log log;
    auto holder = w.spawn(keeps(m, at));
    w.settle();
    auto body = [&] {
        traced local(log, "fiber");
        {
            fiber::no_unwind keep;
            auto held = m.blocking_lock();
            log.push_back("locked");
        }
        fiber::await(yield_now());
        log.push_back("never");
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log.empty());
    at.open();
    w.settle();
    CHECK(log == event_log{"locked", "fiber!"});
    CHECK_FALSE(m.is_poisoned());
    CHECK(holder.done());
}

TEST_CASE("S475: condition_variable::blocking_wait() on a fiber waits as a task does",
          "[fiber]") {
    stepped w;
    lock m;
    sync::condition_variable changed;
    event_log log;
    auto body = [&] {
        auto held = m.blocking_lock();
        *held = 1;
        const finally_sees sees(held, log); // has the lock in every end
        changed.blocking_wait(held);
        log.push_back("told");
        *held = 0;
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    REQUIRE(w.run(is_free(m)));
    SECTION("notified") {
        changed.notify_one();
        w.settle();
        CHECK(log == event_log{"told", "locked"});
    }
    SECTION("cancelled while it waits: it has the lock again, and poisons nothing") {
        handle.cancel();
        w.settle();
        CHECK(log == event_log{"locked"});
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("cancelled while it waits for the lock again") {
        gate at;
        auto holder = w.spawn(keeps(m, at));
        w.settle();
        changed.notify_one();
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(log.empty());
        at.open();
        w.settle();
        CHECK(log == event_log{"locked"});
        CHECK_FALSE(m.is_poisoned());
    }
    SECTION("cancelled at the tie: the notification goes on") {
        auto other = w.spawn(waits_too(m, changed, log));
        w.settle();
        changed.notify_one();
        handle.cancel();
        w.settle();
        CHECK(log == event_log{"locked", "other"});
        CHECK_FALSE(m.is_poisoned());
    }
    w.settle();
    CHECK(handle.done());
    CHECK(w.run(is_free(m)));
}

TEST_CASE("S475: blocking_wait() within no_unwind goes on until it is notified", "[fiber]") {
    stepped w;
    lock m;
    sync::condition_variable changed;
    event_log log;
    auto body = [&] {
        {
            const fiber::no_unwind whole;
            auto held = m.blocking_lock();
            changed.blocking_wait(held);
            log.push_back("told");
        }
        fiber::await(yield_now());
        log.push_back("went on");
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(log.empty());
    changed.notify_all();
    w.settle();
    CHECK(log == event_log{"told"});
    CHECK(w.end_of(handle).is_cancelled());
    CHECK(w.run(is_free(m)));
}

TEST_CASE("S475: blocking_wait() on a fiber refuses a wrong guard, and others wait on",
          "[fiber]") {
    stepped w;
    lock m;
    lock another;
    sync::condition_variable changed;
    event_log log;
    auto waiting = w.spawn(waits_too(m, changed, log));
    w.settle();
    auto body = [&] {
        auto held = another.blocking_lock();
        *held = 1;
        CHECK_THROWS_WITH(changed.blocking_wait(held), Catch::Contains("the same mutex"));
        *held = 0;
        auto empty = m.blocking_lock();
        empty.unlock();
        CHECK_THROWS_AS(changed.blocking_wait(empty), std::logic_error);
        fiber::await(yield_now()); // the fiber is whole
    };
    w.run(run_fiber(body));
    CHECK_FALSE(another.is_poisoned());
    changed.notify_one();
    w.settle();
    CHECK(log == event_log{"other"});
    CHECK(waiting.done());
}

TEST_CASE("blocking_lock() of a poisoned, or a hopeless, lock on a fiber throws", "[fiber]") {
    stepped w;
    lock m(0, "m");
    gate at;
    auto holder = w.spawn(run_fiber([&] { half_done(m, at); }));
    w.settle();
    auto waits = w.spawn(run_fiber([&] { CHECK_THROWS_AS(m.blocking_lock(), poison_error); }));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(waits.done());
    CHECK_NOTHROW(w.end_of(waits).value());

    lock own;
    auto twice = [&] {
        auto held = own.blocking_lock();
        CHECK_THROWS_AS(own.blocking_lock(), sync::would_deadlock);
        CHECK_THROWS_AS(fiber::await(own.lock()), sync::would_deadlock);
    };
    w.run(run_fiber(twice));
}

TEST_CASE("S474: a guard on a fiber's stack is found by whoever asks for its lock behind a "
          "boundary, moved or not",
          "[fiber]") {
    stepped w;
    lock m(0, "m");
    auto asks = [&]() -> task<> { auto held = co_await m.lock(); };
    auto body = [&] {
        auto first = fiber::await(m.lock());
        auto moved = std::move(first);
        moved.mark_consistent();
        CHECK_THROWS_AS(fiber::await(with_timeout(1h, asks())), sync::would_deadlock);
        CHECK_THROWS_AS(fiber::await(with_timeout(
                            1h, run_fiber([&] { auto inside = fiber::await(m.lock()); }))),
                        sync::would_deadlock);
    };
    w.run(run_fiber(body));
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE(
    "S475: the other blocking forms wait on a fiber: semaphore, channels, events, barrier, "
    "shared locks",
    "[fiber]") {
    stepped w;
    sync::semaphore room(0);
    sync::manual_reset_event set;
    sync::barrier meeting(2);
    sync::shared_mutex<int> shared(1);
    auto [sender, receiver] = sync::mpsc::channel<int>(1);
    auto [answers, asks] = sync::oneshot::channel<int>();
    event_log log;
    auto body = [&] {
        auto permit = room.blocking_acquire();
        log.push_back("permit");
        set.blocking_wait();
        log.push_back("event");
        static_cast<void>(meeting.blocking_arrive_and_wait());
        log.push_back("barrier");
        log.push_back(std::to_string(*receiver.blocking_recv()));
        log.push_back(std::to_string(asks.blocking_recv()));
        auto written = shared.blocking_write();
        log.push_back("written");
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    CHECK(log.empty());
    room.add_permits(1);
    w.settle();
    CHECK(log.back() == "permit");
    set.set();
    w.settle();
    CHECK(log.back() == "event");
    auto reader = w.run(shared.read());
    w.run(
        [](auto& at) -> task<> { static_cast<void>(co_await at.arrive_and_wait()); }(meeting));
    w.settle();
    CHECK(log.back() == "barrier");
    CHECK(sender.try_send(8));
    w.settle();
    CHECK(log.back() == "8");
    CHECK(answers.send(9));
    w.settle();
    CHECK(log.back() == "9");
    reader.unlock();
    w.settle();
    CHECK(log.back() == "written");
    CHECK(handle.done());
}

TEST_CASE("a blocking form on a worker outside of fibers, or in an unwind, is still refused",
          "[fiber]") {
    lock m;
    gate at;
    stepped w;
    auto holder = w.spawn(keeps(m, at));
    w.settle();
    auto plain = [&]() -> task<> {
        CHECK_THROWS_AS(m.blocking_lock(), std::logic_error);
        co_return;
    };
    w.run(plain());
    // A coroutine that a fiber awaits is not on its stack.
    w.run(run_fiber([&] { fiber::await(plain()); }));
    std::optional<bool> refused;
    struct blocks {
        lock& m;
        std::optional<bool>& refused;
        ~blocks() {
            try {
                auto held = m.blocking_lock();
            } catch (const std::logic_error&) {
                refused = true;
            }
        }
    };
    gate never;
    auto body = [&] {
        blocks at_end{m, refused};
        fiber::await(never.pass());
    };
    auto handle = w.spawn(run_fiber(body));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(refused == true);
    CHECK(handle.done());
}

namespace {

// ThreadSanitizer knows of 8,000 stacks, and AddressSanitizer gives each a second one.
constexpr int crowd = TOADSTONE_TSAN ? 2'000 : TOADSTONE_ASAN ? 500 : 10'000;

task<> takes_part(lock& m, sync::latch& here) {
    auto body = [&] {
        here.count_down();
        fiber::await(here.wait());
        auto held = m.blocking_lock();
        ++*held;
        fiber::await(yield_now());
    };
    co_await run_fiber(body);
}
task<> one_after_the_other(int count, int& done) {
    auto body = [&] {
        fiber::await(yield_now());
        ++done;
    };
    for (int i = 0; i < count; ++i) co_await run_fiber(body);
}

} // namespace

TEST_CASE("S479: thousands of fibers of two workers at once pass a lock, and many more follow "
          "each other: all stacks and frames come back",
          "[fiber]") {
    const std::int64_t frames = detail::live_frames();
    lock m(0, "counter");
    sync::latch here(crowd);
    int done[2] = {};
    {
        runtime two({.workers = 2});
        auto all = [&]() -> task<> {
            auto spawns = [&](task_scope& scope) -> task<> {
                for (int i = 0; i < crowd; ++i) {
                    const auto worker = placement::worker(static_cast<unsigned>(i % 2));
                    scope.spawn(takes_part(m, here), {.where = worker}).detach();
                }
                co_return;
            };
            co_await with_scope(spawns);
            auto series = [&](task_scope& scope) -> task<> {
                for (unsigned i = 0; i < 2; ++i) {
                    const spawn_options on{.where = placement::worker(i)};
                    scope.spawn(one_after_the_other(5 * crowd, done[i]), on).detach();
                }
                co_return;
            };
            co_await with_scope(series);
        };
        two.block_on(all());
    }
    CHECK(m.get_mut() == crowd);
    CHECK(done[0] == 5 * crowd);
    CHECK(done[1] == 5 * crowd);
    CHECK(detail::live_fiber_stacks() == 0);
    CHECK(detail::live_frames() == frames);
}
