// A runtime whose first worker is the thread that made it.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/dies.hpp"
#include "support/probe.hpp"
#include "support/resources.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

runtime_options here(unsigned workers = 1) {
    runtime_options options;
    options.workers = workers;
    options.on_this_thread = true;
    options.grace = 10ms;
    return options;
}

std::size_t threads() {
    const std::filesystem::directory_iterator all("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

task<std::thread::id> whose_thread() {
    co_await yield_now();
    co_return std::this_thread::get_id();
}
task<> sleeps_for(std::chrono::milliseconds length) {
    co_await sleep_for(length);
}
task<int> counts_to(int last) {
    int count = 0;
    for (int i = 0; i < last; ++i) {
        co_await yield_now();
        ++count;
    }
    co_return count;
}
task<> fails() {
    co_await yield_now();
    throw std::runtime_error("as any other");
}
task<> goes_on_for_ever(std::atomic<int>& turns) {
    for (;;) {
        ++turns;
        co_await yield_now();
    }
}
task<> waits_for(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(24h);
}
task<> outlasts(scope_end& end) {
    scope_probe probe(end);
    co_await shield(sleep_for(24h));
}
/// Waits for an answer, and hands out the right to give it.
task<int> answered(std::atomic<completion<int>*>& by) {
    completion<int> right;
    auto start = [&](completion<int> own) {
        right = std::move(own);
        by = &right;
        by.notify_all();
    };
    co_return co_await with_completion<int>(start);
}
/// Computes there until told.
task<> computes(const std::atomic<bool>& enough) {
    while (!enough) std::this_thread::yield();
    co_return;
}
task<> asks(runtime& other, std::string& said) {
    try {
        other.block_on(counts_to(1));
    } catch (const std::logic_error& error) {
        said = error.what();
    }
    co_return;
}
task<> shuts_down(runtime& other, std::string& said) {
    try {
        other.shutdown(0ms);
    } catch (const std::logic_error& error) {
        said = error.what();
    }
    co_return;
}
task<int> tells_threads() {
    co_await yield_now();
    co_return static_cast<int>(threads());
}

task<> computes_for_ever() {
    for (volatile bool on = true; on;) {
    }
    co_return;
}
task<std::string> makes_one_inside() {
    try {
        const runtime inside(here());
    } catch (const std::logic_error& error) {
        co_return error.what();
    }
    co_return "it was made";
}
task<bool> sees_no_exceptions() {
    const bool none = std::uncaught_exceptions() == 0 && !std::current_exception();
    co_await yield_now();
    co_return none&& std::uncaught_exceptions() == 0 && !std::current_exception();
}
task<> breaks_quietly(poison<int>& data) {
    try {
        auto access = data.access();
        *access = 1;
        throw std::runtime_error("of the task");
    } catch (const std::runtime_error&) { // swallowed
    }
    co_await yield_now();
}
/// Looks in its destructor, which an exception runs.
struct looks_at_the_end {
    runtime& rt;
    bool& none;
    ~looks_at_the_end() { none = rt.block_on(sees_no_exceptions()); }
};
/// Ends some time after it was asked to.
task<> ends_later(scope_end& end) {
    scope_probe probe(end);
    co_await shield(sleep_for(5ms));
    co_await sleep_for(24h);
}
task<> spawns_more(std::vector<scope_end>& ends) {
    for (auto& each : ends) spawn(ends_later(each)).detach();
    co_await sleep_for(24h);
}

} // namespace

TEST_CASE("on_this_thread: S515: its tasks run on the thread that made it, and on no other") {
    const auto own = std::this_thread::get_id();
    flush_log(1s); // whose thread may be there already
    const std::size_t before = threads();
    const std::size_t descriptors = open_descriptors();
    {
        runtime rt(here());
        CHECK(threads() == before);
        CHECK(rt.workers() == 1);
        CHECK(rt.block_on(whose_thread()) == own);
        auto spawned = rt.spawn(whose_thread());
        CHECK_FALSE(spawned.done()); // nobody runs it
        CHECK(rt.block_on(std::move(spawned)) == own);
        CHECK_THROWS_AS(rt.block_on(fails()), std::runtime_error);
        rt.block_on(sleeps_for(2ms));
    }
    CHECK(open_descriptors() == descriptors);
}

TEST_CASE(
    "on_this_thread: S515: between two block_on() a task stands still, and then goes on") {
    std::atomic<int> turns = 0;
    runtime rt(here());
    auto busy = rt.spawn(goes_on_for_ever(turns));
    CHECK(turns == 0);
    CHECK(rt.block_on(counts_to(10)) == 10);
    const int first = turns;
    CHECK(first >= 10);
    CHECK(rt.block_on(counts_to(10)) == 10);
    CHECK(turns >= first + 10);
    busy.cancel();
    CHECK(rt.block_on(busy.outcome()).is_cancelled());
    CHECK(rt.live_tasks() == 0);
}

TEST_CASE("on_this_thread: S515: other threads are served while it is lent") {
    runtime rt(here());
    std::atomic<completion<int>*> answer = nullptr;
    std::atomic<int> posted = 0;
    int of_thread = 0;
    std::thread other([&] {
        answer.wait(nullptr);
        of_thread = rt.block_on(counts_to(5));
        rt.spawn(counts_to(5)).detach();
        rt.post([&posted] { ++posted; });
        rt.post([&answer] { answer.load()->complete(3); });
    });
    CHECK(rt.block_on(answered(answer)) == 3); // asleep meanwhile
    other.join();
    CHECK(of_thread == 5);
    CHECK(posted == 1);
    while (rt.live_tasks() > 0) rt.block_on(counts_to(1));
}

TEST_CASE(
    "on_this_thread: S515: here() is its worker, and the others have threads of their own") {
    const auto own = std::this_thread::get_id();
    runtime rt(here(2));
    const auto there = rt.block_on(rt.spawn({.where = placement::worker(1)}, whose_thread));
    CHECK(there != own);
    for (int i = 0; i < 4; ++i) CHECK(rt.block_on(whose_thread()) == own);
    for (int i = 0; i < 4; ++i) {
        CHECK(rt.block_on(rt.spawn({.where = placement::here()}, whose_thread)) == own);
    }
    // The last that it waits for ends on the other worker, while this one has nothing to do.
    for (int i = 0; i < 200; ++i) {
        auto elsewhere = [](runtime& of) -> task<> {
            co_await of.spawn({.where = placement::worker(1)}, counts_to, 3);
        };
        rt.block_on(elsewhere(rt));
    }
}

TEST_CASE("on_this_thread: S516: a shutdown lends the thread, for the grace at most") {
    scope_end patient;
    scope_end stubborn;
    {
        runtime rt(here(2));
        rt.spawn({.where = placement::worker(0)}, waits_for(patient)).detach();
        rt.block_on(counts_to(1));
        CHECK(rt.shutdown(10s).clean());
        CHECK(patient.torn_down);
        CHECK(patient.reason == cancel_reason::shutdown);
        CHECK_THROWS_AS(rt.block_on(counts_to(1)), std::logic_error);
    }
    const stderr_capture err;
    {
        runtime rt(here());
        rt.spawn(spawn_options{.name = "stubborn"}, outlasts, std::ref(stubborn)).detach();
        rt.block_on(counts_to(2));
        const shutdown_report report = rt.shutdown(1ms);
        REQUIRE(report.leftover.size() == 1);
        CHECK(report.leftover.front().name == "stubborn");
        CHECK(report.leftover.front().suspended);
        CHECK(stubborn.times == 0);
    } // by force
    CHECK(stubborn.torn_down);
    CHECK_THAT(err.text(), Catch::Contains("are taken by force"));
}

TEST_CASE("on_this_thread: S516: a shutdown is woken by the end of the last task elsewhere") {
    for (int i = 0; i < 100; ++i) {
        std::atomic<bool> enough = false;
        runtime rt(here(2));
        rt.spawn({.where = placement::worker(1)}, computes(enough)).detach();
        std::thread other([&enough] { enough = true; });
        CHECK(rt.shutdown(1h).clean());
        other.join();
    }
}

TEST_CASE("on_this_thread: S516: another thread shuts it down while it is lent") {
    scope_end end;
    runtime rt(here());
    std::atomic<bool> runs = false;
    std::thread other([&] {
        while (!runs) std::this_thread::yield();
        rt.shutdown(1h);
    });
    rt.post([&runs] { runs = true; }); // when it is lent
    CHECK_THROWS_AS(rt.block_on(waits_for(end)), task_cancelled);
    other.join();
    CHECK(rt.live_tasks() == 0);
}

TEST_CASE("on_this_thread: S517: misuse is refused with a sentence") {
    std::string said;
    {
        runtime outer(here());
        runtime other(here());
        outer.block_on(asks(other, said));
        CHECK_THAT(said, Catch::Contains("inside a task of another runtime"));
        said.clear();
        outer.block_on(shuts_down(other, said));
        CHECK_THAT(said, Catch::Contains("inside a task of another runtime"));
        outer.block_on(asks(outer, said));
        CHECK_THAT(said,
                   Catch::Contains("block_on() was called by a task of the same runtime"));
        CHECK(other.block_on(counts_to(3)) == 3);
    }
    dies_saying("a runtime with on_this_thread is destroyed by the thread that made it", [] {
        auto rt = std::make_unique<runtime>(here());
        std::thread([own = std::move(rt)] {}).join();
    });
}

TEST_CASE("on_this_thread: S518: run() with one worker makes no thread") {
    flush_log(1s);
    const auto before = static_cast<int>(threads());
    CHECK(run(tells_threads(), {.workers = 1}) == before);
    CHECK(run(tells_threads(), {.workers = 2}) == before + 2);
}

TEST_CASE("on_this_thread: S516: an exception that leaves the scope of a runtime destroys it") {
    scope_end patient;
    scope_end stubborn;
    try {
        runtime rt(here());
        rt.spawn(waits_for(patient)).detach();
        rt.spawn(outlasts(stubborn)).detach();
        rt.block_on(counts_to(2));
        throw std::runtime_error("leaves");
    } catch (const std::runtime_error&) {
        CHECK(patient.torn_down);
        CHECK(stubborn.torn_down);
    }
}

TEST_CASE("on_this_thread: S515: its tasks see nothing of the exceptions around them") {
    runtime rt(here());
    poison<int> data;
    bool none = false;
    try {
        throw std::logic_error("of the maker");
    } catch (const std::logic_error&) {
        CHECK(rt.block_on(sees_no_exceptions()));
        rt.block_on(breaks_quietly(data));
        CHECK(std::current_exception());
    }
    REQUIRE(data.is_poisoned());
    CHECK(data.cause().to_string().find("of the maker") == std::string::npos);
    try {
        const looks_at_the_end looks{rt, none};
        throw std::logic_error("of the maker");
    } catch (const std::logic_error&) {
    }
    CHECK(none);
}

TEST_CASE(
    "on_this_thread: S515: a cause of the maker waits for its exception in spite of tasks") {
    runtime rt(here());
    poison<int> own;
    poison<int> of_task;
    poison<int> later;
    try {
        const scope_exit runs_tasks([&] { rt.block_on(breaks_quietly(of_task)); });
        auto access = own.access();
        *access = 1;
        throw std::runtime_error("of the maker");
    } catch (const std::runtime_error&) {
        static_cast<void>(later.access()); // from then on the handler's is known to be it
        CHECK_THAT(own.cause().to_string(), Catch::Contains("of the maker"));
    }
    REQUIRE(of_task.is_poisoned());
    CHECK(of_task.cause().to_string().find("of the maker") == std::string::npos);
}

TEST_CASE(
    "on_this_thread: S515: what is placed anywhere does not wait for a thread that is away") {
    runtime rt(here(2));
    std::atomic<int> posted = 0;
    std::thread other([&] {
        for (int i = 0; i < 10; ++i) rt.post([&posted] { ++posted; });
        while (posted < 10) std::this_thread::yield();
        CHECK_NOTHROW(rt.block_on(counts_to(3)));
    });
    other.join();
    CHECK(posted == 10);
}

TEST_CASE("on_this_thread: S516: another thread shuts down while it is away, and is told so") {
    scope_end end;
    runtime rt(here());
    std::thread([&rt] {
        if (!rt.shutdown(1ms).clean()) std::abort(); // there is nothing
    }).join();
    runtime full(here());
    full.spawn(waits_for(end)).detach();
    full.block_on(counts_to(2));
    std::string text;
    std::thread([&] { text = full.shutdown(1ms).to_string(); }).join();
    CHECK(text.find("on_this_thread_test.cpp") != std::string::npos);
    CHECK(text.find("they stand still") != std::string::npos);
    CHECK(text.find("does not reach") == std::string::npos);
}

TEST_CASE(
    "on_this_thread: S516: it is lent until the tasks that another thread ends have ended") {
    for (int i = 0; i < 20; ++i) {
        std::vector<scope_end> ends(20);
        runtime rt(here());
        bool clean = false;
        std::atomic<bool> runs = false;
        std::thread other([&] {
            while (!runs) std::this_thread::yield();
            clean = rt.shutdown(1h).clean();
        });
        rt.post([&runs] { runs = true; });
        CHECK_THROWS_AS(rt.block_on(spawns_more(ends)), task_cancelled);
        other.join();
        CHECK(clean);
        CHECK(ends.back().torn_down);
    }
}

TEST_CASE("on_this_thread: S516: a task that computes for ever is named, and on_stuck holds") {
    const child_end end = in_child([] {
        std::signal(SIGABRT, SIG_DFL);
        auto options = here();
        options.grace = 1ms;
        options.on_stuck = on_stuck::abort;
        runtime rt(options);
        rt.spawn(spawn_options{.name = "busy"}, computes_for_ever).detach();
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK_THAT(end.err, Catch::Contains("'busy'") &&
                            Catch::Contains("running, and does not reach a co_await"));
}

TEST_CASE("on_this_thread: S517: it is not made inside a task, which goes on") {
    runtime outer({.workers = 1});
    CHECK_THAT(outer.block_on(makes_one_inside()), Catch::Contains("inside a task"));
    CHECK(outer.block_on(counts_to(3)) == 3);
    runtime lent(here());
    CHECK_THAT(lent.block_on(makes_one_inside()), Catch::Contains("inside a task"));
    CHECK(lent.block_on(counts_to(3)) == 3);
}

TEST_CASE("on_this_thread: S517: a thread that got the number of its maker is not its maker") {
    dies_saying("a runtime with on_this_thread is destroyed by the thread that made it", [] {
        std::unique_ptr<runtime> rt;
        std::thread([&rt] { rt = std::make_unique<runtime>(here()); }).join();
        std::thread([&rt] { rt.reset(); }).join();
    });
}

TEST_CASE("on_this_thread: S517: it may be destroyed at the end of the program") {
    const child_end end = in_child([] {
        poison<int> data;
        static std::unique_ptr<runtime> last;
        std::atexit([] { last.reset(); });
        last = std::make_unique<runtime>(here());
        last->block_on(breaks_quietly(data));
        last->spawn(breaks_quietly(data)).detach();
        std::exit(data.is_poisoned() ? 17 : 1);
        return 0;
    });
    CHECK(end.exited);
    CHECK(end.code == 17);
}

TEST_CASE("on_this_thread: S516: without a thread to look after its end it keeps the grace") {
    const child_end end = in_child([] {
        scope_end stubborn;
        scope_end elsewhere;
        {
            auto rarely = here(2);
            rarely.report_every = 1h; // nothing else wakes it
            runtime two(rarely);
            two.spawn({.where = placement::worker(1)}, waits_for, std::ref(elsewhere)).detach();
            runtime rt(here());
            rt.spawn(outlasts(stubborn)).detach();
            rt.block_on(counts_to(2));
            const rlimit none{.rlim_cur = 0, .rlim_max = 0};
            if (::setrlimit(RLIMIT_NPROC, &none) != 0) return 3;
            if (::geteuid() == 0 && (::setgid(65533) != 0 || ::setuid(65533) != 0)) return 3;
            const shutdown_report report = rt.shutdown(1ms);
            if (report.leftover.empty()) return 1;
            if (!two.shutdown(1h).clean()) return 4; // woken by the end there
        } // by force
        return stubborn.torn_down ? 17 : 2;
    });
    if (end.code == 3) {
        WARN("this process may not lower its limits");
        return;
    }
    CAPTURE(end.err);
    CHECK(end.code == 17);
}
