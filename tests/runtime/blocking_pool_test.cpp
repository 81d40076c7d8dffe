// The threads for functions that block: how many, in which order, their names and their end.
#include <toadstone/runtime/blocking/pool.hpp>

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

// The functions of a test stop at flags, which the test sets: nothing depends on how long
// something takes.

namespace {

/// A function waits here until the test says so.
class latch_for_functions {
public:
    void pass() {
        ++inside_;
        inside_.notify_all();
        open_.wait(false);
    }
    void wait_for(int inside) {
        for (int seen = inside_; seen < inside; seen = inside_) inside_.wait(seen);
    }
    void open() {
        open_ = true;
        open_.notify_all();
    }

private:
    std::atomic<int> inside_{0};
    std::atomic<bool> open_{false};
};

std::string name_of_thread() {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    return name;
}

/// The threads outlive the workers, and what the functions use outlives both.
struct bench {
    explicit bench(unsigned threads, std::chrono::nanoseconds keep_alive = 1h)
        : pool(threads, keep_alive) {
        w.calls = &pool;
    }
    template <class T>
    void run_to_end(join_handle<T>& handle) {
        while (!handle.done()) {
            if (w.step() == 0) std::this_thread::yield();
        }
    }
    detail::blocking_pool pool;
    stepped w;
};

/// While one lives, there is no memory for the stack of a new thread.
class no_stacks {
public:
    no_stacks() {
        pthread_getattr_default_np(&before_);
        pthread_attr_t huge = before_;
        pthread_attr_setstacksize(&huge, std::size_t{1} << 50);
        pthread_setattr_default_np(&huge);
    }
    ~no_stacks() { pthread_setattr_default_np(&before_); }
    no_stacks(const no_stacks&) = delete;
    no_stacks& operator=(const no_stacks&) = delete;

private:
    pthread_attr_t before_{};
};

task<> stops_at(latch_for_functions& at) {
    co_await spawn_blocking([&at] { at.pass(); });
}
task<std::string> tells_thread() {
    const std::string name = co_await spawn_blocking(name_of_thread);
    co_return name;
}

} // namespace

TEST_CASE("S214: spawn_blocking: threads are made when all others are in use, up to the bound, "
          "with the lowest free numbers as names") {
    latch_for_functions at;
    bench b(2);
    CHECK(b.pool.threads() == 0);
    auto name = b.w.spawn(tells_thread());
    b.run_to_end(name);
    CHECK(b.pool.threads() == 1);
    CHECK(b.w.end_of(name).value() == "block-0");
    auto again = b.w.spawn(tells_thread()); // it is idle, or soon is, and counts so
    b.run_to_end(again);
    CHECK(b.pool.threads() == 1);

    auto one = b.w.spawn(stops_at(at));
    b.w.settle();
    auto two = b.w.spawn(stops_at(at));
    b.w.settle();
    at.wait_for(2);
    CHECK(b.pool.threads() == 2);
    auto three = b.w.spawn(tells_thread());
    auto four = b.w.spawn(tells_thread());
    b.w.settle();
    CHECK(b.pool.threads() == 2);
    const auto entries = b.pool.entries();
    REQUIRE(entries.size() == 4);
    CHECK(entries[0].thread == 0U);
    CHECK(entries[1].thread == 1U);
    CHECK(std::set{entries[0].task_id, entries[1].task_id} == std::set{one.id(), two.id()});
    CHECK_FALSE(entries[2].thread);
    CHECK(entries[2].task_id == three.id());
    CHECK(entries[3].task_id == four.id());
    at.open();
    b.run_to_end(one);
    b.run_to_end(two);
    b.run_to_end(three);
    b.run_to_end(four);
    CHECK(b.pool.threads() == 2);
    CHECK(b.pool.entries().empty());
}

TEST_CASE("S214: spawn_blocking: more functions than threads run first come, first served") {
    latch_for_functions at;
    std::vector<int> ran;
    bench b(1);
    auto first = b.w.spawn(stops_at(at));
    b.w.settle();
    at.wait_for(1);
    const auto notes = [](std::vector<int>& list, int who) -> task<> {
        co_await spawn_blocking([&list, who] { list.push_back(who); });
    };
    std::vector<join_handle<void>> all;
    for (int i = 0; i < 5; ++i) all.push_back(b.w.spawn(notes(ran, i)));
    b.w.settle();
    all[3].cancel(); // it leaves the queue, though no thread is free to notice
    b.w.settle();
    CHECK(all[3].done());
    at.open();
    for (auto& each : all) b.run_to_end(each);
    CHECK(ran == std::vector<int>{0, 1, 2, 4});
}

TEST_CASE("S214: spawn_blocking: a thread that has nothing to do for long enough ends, and "
          "another one is made when it is needed") {
    bench b(3, 1ms);
    for (int i = 0; i < 3; ++i) {
        auto name = b.w.spawn(tells_thread());
        b.run_to_end(name);
        while (b.pool.threads() > 0) std::this_thread::yield();
        CHECK(b.w.end_of(name).value() == "block-0");
    }
}

TEST_CASE("spawn_blocking: idle threads, which would wait for an hour, end with their pool") {
    latch_for_functions at;
    bench b(4);
    std::vector<join_handle<void>> all;
    for (int i = 0; i < 4; ++i) all.push_back(b.w.spawn(stops_at(at)));
    b.w.settle();
    at.wait_for(4);
    at.open();
    for (auto& each : all) b.run_to_end(each);
    CHECK(b.pool.threads() == 4);
}

TEST_CASE(
    "S211: spawn_blocking: a function that has begun is not withdrawn, one that waits is") {
    latch_for_functions at;
    bench b(1);
    auto begun = b.w.spawn(stops_at(at));
    b.w.settle();
    at.wait_for(1);
    auto waits = b.w.spawn(stops_at(at));
    b.w.settle();
    begun.cancel();
    waits.cancel();
    b.w.settle();
    CHECK_FALSE(begun.done());
    CHECK(waits.done());
    at.open();
    b.run_to_end(begun);
    CHECK(b.w.end_of(waits).is_cancelled());
    CHECK_FALSE(b.w.end_of(begun).is_cancelled()); // it has no other await
}

namespace {

using lock = sync::mutex<int>;

/// The task's own guard, which the function uses.
task<> uses_guard(lock& m, latch_for_functions& at, scope_end& end) {
    const scope_probe probe(end);
    auto held = co_await m.lock();
    *held = 1;
    co_await spawn_blocking([&held, &at] {
        at.pass();
        *held = 2;
    });
    co_await checkpoint();
    *held = 3;
}

task<> throws_under_lock(lock& m) {
    co_await spawn_blocking([&m] {
        auto held = m.blocking_lock();
        *held = 1;
        throw std::runtime_error("the function broke");
    });
}
task<std::string> asks_for_own(lock& m, bool inside_timeout, bool moved) {
    std::string text = "locked";
    auto first = co_await m.lock();
    std::optional<lock::guard> held;
    if (moved) held.emplace(std::move(first));
    const auto asks = [](lock& of) -> task<> {
        co_await spawn_blocking([&of] { *of.blocking_lock() = 2; });
    };
    try {
        if (inside_timeout) {
            co_await with_timeout(1h, asks(m));
        } else {
            co_await asks(m);
        }
    } catch (const std::system_error& error) {
        text = error.what();
    }
    co_return text;
}
task<> takes_other(lock& m, lock& other) {
    auto held = co_await m.lock();
    co_await spawn_blocking([&other] { *other.blocking_lock() = 5; });
}
task<> holds_until(lock& m, gate& open) {
    auto held = co_await m.lock();
    co_await open.pass();
}

} // namespace

TEST_CASE(
    "S47: a blocking function uses data under the guard of a task that is cancelled: guard "
    "and frame stay until it has returned") {
    latch_for_functions at;
    lock m;
    scope_end end;
    bench b(1);
    auto handle = b.w.spawn(uses_guard(m, at, end));
    b.w.settle();
    at.wait_for(1);
    handle.cancel(cancel_reason::timeout);
    b.w.settle();
    CHECK(end.times == 0);
    CHECK_FALSE(m.try_lock());
    at.open();
    b.run_to_end(handle);
    CHECK(end.reason == cancel_reason::timeout);
    REQUIRE(m.is_poisoned()); // cancelled behind the function, at its next await
    CHECK(m.cause().reason() == cancel_reason::timeout);
}

TEST_CASE(
    "S213: a guard of the function itself is judged by its exceptions, and the cause names "
    "them") {
    lock m;
    bench b(1);
    auto handle = b.w.spawn(throws_under_lock(m));
    b.run_to_end(handle);
    CHECK_THROWS_WITH(b.w.end_of(handle).value(), "the function broke");
    REQUIRE(m.is_poisoned());
    CHECK_THAT(m.cause().to_string(), Catch::Contains("the function broke"));
}

TEST_CASE(
    "S213: a function that asks for a lock that its task holds is told, and does not wait "
    "for itself") {
    for (const int how : {0, 1, 2, 3}) { // behind a boundary, with a guard that has moved
        lock m(0, "accounts");
        bench b(1);
        auto handle =
            b.w.spawn(asks_for_own(m, (how & 1) != 0, (how & 2) != 0), {.name = "asker"});
        b.run_to_end(handle);
        const std::string text = b.w.end_of(handle).value();
        CHECK_THAT(text, Catch::Contains("'accounts' is held by task") &&
                             Catch::Contains("'asker', which waits for the blocking function"));
        CHECK_FALSE(m.is_poisoned());
    }
}

TEST_CASE("S213: a function that asks for a lock that another task holds waits for that") {
    lock m;
    lock other;
    gate open;
    bench b(1);
    auto holder = b.w.spawn(holds_until(other, open));
    b.w.settle();
    auto handle = b.w.spawn(takes_other(m, other));
    b.w.settle();
    open.open();
    b.run_to_end(handle);
    CHECK(holder.done());
    CHECK(*other.try_lock().value() == 5);
}

TEST_CASE(
    "S217: a function that forks and returns in the child ends the child with a sentence") {
    bench b(1);
    int status = 0;
    const stderr_capture err;
    const auto forks = [](int& to) -> task<> {
        co_await spawn_blocking([&to] {
            const pid_t child = ::fork();
            if (child == 0) {
                std::signal(SIGABRT, SIG_DFL);
                return;
            }
            ::waitpid(child, &to, 0);
        });
    };
    auto handle = b.w.spawn(forks(status));
    b.run_to_end(handle);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
    CHECK_THAT(err.text(), Catch::Contains("does not return in the child"));
}

TEST_CASE("S218: spawn_blocking: where no thread can be started the caller is told; with one "
          "that is there, the function waits for it") {
    const child_end end = in_child([] {
        bench b(2);
        const auto tries = [](std::string& why) -> task<int> {
            int result = 0;
            try {
                result = co_await spawn_blocking([] { return 1; });
            } catch (const std::system_error& error) {
                why = error.what();
            }
            co_return result;
        };
        std::string why;
        auto refused = b.w.spawn(tries(why));
        {
            const no_stacks none;
            b.w.settle();
        }
        if (b.w.end_of(refused).value() != 0) return 1;
        if (why.find("could not be started") == std::string::npos) return 2;
        latch_for_functions at;
        auto first = b.w.spawn(stops_at(at));
        b.w.settle();
        at.wait_for(1);
        auto second = b.w.spawn(tries(why));
        {
            const no_stacks none;
            b.w.settle();
        }
        if (b.pool.threads() != 1 || second.done()) return 3;
        at.open();
        b.run_to_end(second);
        b.run_to_end(first);
        return b.w.end_of(second).value() == 1 ? 0 : 4;
    });
    CHECK(end.err.empty());
    CHECK(end.code == 0);
}

TEST_CASE("spawn_blocking: storms of functions and cancellations: every one that has begun is "
          "called once and delivered, no other is called") {
    constexpr int rounds = 40;
    std::atomic<int> called{0};
    int delivered = 0;
    int cancelled = 0;
    bench b(3, 100us);
    const auto one = [](std::atomic<int>& calls, int& results) -> task<> {
        results += co_await spawn_blocking([&calls] {
            ++calls;
            return 1;
        });
    };
    for (int round = 0; round < rounds; ++round) {
        std::vector<join_handle<void>> all;
        for (int i = 0; i < 20; ++i) all.push_back(b.w.spawn(one(called, delivered)));
        b.w.step();
        for (std::size_t i = 0; i < all.size(); i += 2) {
            all[(i * 7) % all.size()].cancel();
            if (i % 6 == 0) b.w.step();
        }
        for (auto& each : all) {
            b.run_to_end(each);
            cancelled += b.w.end_of(each).is_cancelled();
        }
    }
    CHECK(called == delivered);
    CHECK(delivered + cancelled == rounds * 20);
}
