// spawn(fn, args...): what the record keeps, for how long, and who is told of what first.
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using lock = sync::mutex<int>;

/// Counts the blocks that this thread takes.
class counter final : detail::allocation_watcher {
public:
    counter() { before_ = detail::watch_allocations(this); }
    ~counter() { detail::watch_allocations(before_); }
    counter(const counter&) = delete;
    counter& operator=(const counter&) = delete;
    int blocks = 0;

private:
    bool refuses() noexcept override {
        ++blocks;
        return false;
    }
    detail::allocation_watcher* before_ = nullptr;
};

task<int> adds(int a, int b) {
    co_await yield_now();
    co_return a + b;
}
struct counting {
    int by = 10;
    task<int> from(int start) {
        co_await yield_now();
        co_return start + by;
    }
};
task<std::string> joins(join_handle<void>& other, event_log& log) {
    auto end = co_await other.outcome();
    log.push_back("joined");
    co_return end.has_value() ? "returned" : end.is_cancelled() ? "cancelled" : "failed";
}

/// The guard stays in the record: the coroutine only refers to it.
task<> works_on(const lock::guard& held, gate& at, bool fails) {
    *held = 1;
    co_await at.pass();
    if (fails) throw std::runtime_error("in the middle");
}
/// The guard goes on into the coroutine's frame.
task<> works_with(lock::guard held, gate& at, bool fails) {
    *held = 1;
    co_await at.pass();
    if (fails) throw std::runtime_error("in the middle");
}
template <class Fn>
task<> hands_over(lock& m, Fn fn, gate& at, bool fails, join_handle<void>& to) {
    auto held = co_await m.lock();
    to = spawn({.name = "heir"}, fn, std::move(held), std::ref(at), fails);
}
task<> logs_its_end(traced&& first, const traced&, event_log& log, gate& at) {
    traced local(log, "local");
    traced taken(std::move(first));
    co_await at.pass();
}

} // namespace

TEST_CASE("spawn: the captures of a lambda coroutine live as long as the task") {
    std::string seen;
    stepped w;
    auto body = [&]() -> task<int> {
        auto text = std::make_unique<std::string>("captured");
        auto child = spawn([&seen, text = std::move(text)]() -> task<int> {
            co_await sleep_for(10ms);
            seen = *text;
            co_return 4;
        });
        const int four = co_await child;
        auto named = spawn(
            {.name = "named"},
            [four](int more) -> task<int> {
                co_await yield_now();
                co_return static_cast<int>(this_task::name().size()) + four + more;
            },
            1);
        const int sum = co_await named;
        co_return sum;
    };
    CHECK(w.run(body()) == 10);
    CHECK(seen == "captured");
}

TEST_CASE("spawn: functions, members and references are called as std::thread calls them") {
    counting here;
    int plain = 1;
    stepped w;
    auto body = [&]() -> task<std::array<int, 5>> {
        std::array<int, 5> got{};
        auto a = spawn(adds, 1, 2);
        got[0] = co_await a;
        auto b = spawn(&counting::from, &here, 1);
        got[1] = co_await b;
        auto c = spawn(&counting::from, std::ref(here), 2);
        got[2] = co_await c;
        auto d = spawn(&counting::from, std::make_unique<counting>(), 3);
        got[3] = co_await d;
        auto e = spawn(
            [](int& to) -> task<> {
                ++to;
                co_return;
            },
            std::ref(plain));
        co_await e;
        got[4] = plain;
        co_return got;
    };
    CHECK(w.run(body()) == std::array<int, 5>{3, 11, 12, 13, 2});
}

TEST_CASE("spawn: fn may make any awaitable, and is called on the task's worker") {
    stepped w(2);
    unsigned called_on = 9;
    auto nap = [&called_on](std::chrono::milliseconds time) {
        called_on = static_cast<detail::worker&>(*detail::executor::current()).index();
        return sleep_for(time);
    };
    auto other = w.spawn({.where = placement::worker(1)}, nap, 5ms);
    CHECK(called_on == 9);
    w.settle();
    w.advance(10ms);
    CHECK(other.done());
    CHECK(called_on == 1);
}

TEST_CASE("spawn: a guard among the arguments poisons when the task is cancelled or fails, and "
          "is released clean when it returns") {
    const auto run = [](auto fn, bool cancelled, bool fails) {
        lock m;
        gate at;
        join_handle<void> heir;
        event_log log;
        stepped w;
        w.run(hands_over(m, fn, at, fails, heir));
        w.settle();
        CHECK(at.waited_for());
        if (cancelled) {
            heir.cancel(cancel_reason::timeout);
        } else {
            at.open();
        }
        const std::string end = w.run(joins(heir, log));
        CHECK(m.is_poisoned() == (cancelled || fails));
        if (m.is_poisoned()) {
            CHECK(m.cause().task_name() == "heir");
            CHECK(m.cause().kind() ==
                  (cancelled ? poison_kind::cancelled : poison_kind::exception));
        } else {
            CHECK(m.try_lock().has_value());
        }
        return end;
    };
    CHECK(run(works_on, false, false) == "returned");
    CHECK(run(works_on, true, false) == "cancelled");
    CHECK(run(works_on, false, true) == "failed");
    CHECK(run(works_with, false, false) == "returned");
    CHECK(run(works_with, true, false) == "cancelled");
    CHECK(run(works_with, false, true) == "failed");
}

TEST_CASE(
    "spawn: callable and arguments die behind the frames, the last argument first, before "
    "the joiner learns and whatever becomes of the handle") {
    for (const bool cancelled : {false, true}) {
        event_log log;
        gate at;
        stepped w;
        const std::string mark = cancelled ? "!" : "";
        {
            auto handle = w.spawn(
                [last = traced(log, "capture")](traced&& a, const traced& b, event_log& to,
                                                gate& where) {
                    return logs_its_end(std::move(a), b, to, where);
                },
                traced(log, "first"), traced(log, "second"), std::ref(log), std::ref(at));
            w.settle();
            CHECK(log.empty());
            auto joiner = w.spawn(joins(handle, log));
            w.settle();
            cancelled ? handle.cancel() : at.open();
            w.settle();
            CHECK(joiner.done());
            log.push_back("the handle goes");
        }
        CHECK(log == event_log{"first" + mark, "local" + mark, "second" + mark,
                               "capture" + mark, "joined", "the handle goes"});
    }
}

TEST_CASE("spawn: what fn throws before it returns its task is how the task ended") {
    lock m;
    event_log log;
    stepped w;
    auto body = [&]() -> task<std::string> {
        auto held = co_await m.lock();
        auto child = spawn(
            [](const lock::guard&, const traced&, bool fails) -> task<> {
                if (fails) throw std::runtime_error("no task");
                return []() -> task<> { co_return; }();
            },
            std::move(held), traced(log, "argument"), true);
        std::string text = "joined";
        try {
            co_await child;
        } catch (const std::runtime_error& error) {
            text = error.what();
        }
        co_return text;
    };
    CHECK(w.run(body()) == "no task");
    CHECK(log == event_log{"argument!"});
    CHECK(m.is_poisoned());
    CHECK(m.cause().to_string().find("no task") != std::string::npos);
}

TEST_CASE(
    "spawn: what copying an argument throws comes out of spawn(), and nothing was started") {
    struct never_copied {
        never_copied() = default;
        never_copied(const never_copied&) { throw std::runtime_error("copied"); }
    };
    event_log log;
    const auto frames = detail::live_frames();
    {
        stepped w;
        const never_copied source;
        CHECK_THROWS_AS(w.spawn([](const traced&, const never_copied&) -> task<> { co_return; },
                                traced(log, "argument"), source),
                        std::runtime_error);
        w.settle();
    }
    CHECK(log == event_log{"argument!"}); // by the exception, as anywhere
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("spawn: a callable with arguments takes no more blocks than a task") {
    stepped w;
    int task_blocks = 0;
    int call_blocks = 0;
    {
        const counter counting;
        auto handle = w.spawn(adds(1, 2));
        w.settle();
        task_blocks = counting.blocks;
    }
    {
        const counter counting;
        auto handle = w.spawn(adds, 1, 2);
        w.settle();
        call_blocks = counting.blocks;
    }
    CHECK(task_blocks == 2); // record and frame
    CHECK(call_blocks == 2);
}

TEST_CASE("spawn: scopes and runtimes keep callables, too; block_on() as well") {
    int children = 0;
    runtime here({.workers = 1});
    auto body = [&children](task_scope& scope) -> task<> {
        for (int i = 1; i <= 3; ++i) {
            scope.spawn([&children, i]() -> task<> {
                co_await yield_now();
                children += i;
            });
        }
        scope.spawn(
            {.name = "last"},
            [](int& to, int by) -> task<> {
                to += by;
                co_return;
            },
            std::ref(children), 10);
        co_return;
    };
    here.block_on([&body]() -> task<> { co_await with_scope(body); });
    CHECK(children == 16);
    CHECK(here.block_on(adds, 3, 4) == 7);
    auto first = here.spawn(adds, 1, 1);
    auto second = here.spawn({.name = "second"}, [two = 2]() -> task<int> { co_return two; });
    CHECK(here.block_on(std::move(first)) == 2);
    CHECK(here.block_on(second.outcome()).value() == 2);
}

TEST_CASE(
    "spawn: a task that nobody has run when its runtime ends keeps what it was given until "
    "then") {
    event_log log;
    {
        stepped w;
        w.spawn([](const traced&) -> task<> { co_await sleep_for(1h); },
                traced(log, "argument"))
            .detach();
    }
    CHECK(log == event_log{"argument!"});
}
