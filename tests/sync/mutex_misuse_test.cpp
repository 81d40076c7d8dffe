// Contract violations around a mutex: each ends the process with a sentence, never in silence.
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/capture.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstdio>
#include <optional>
#include <string>

namespace toadstone::tests {
namespace {

using sync::mutex;

/// Runs it in a child process, and requires that it dies by SIGABRT with the sentence.
template <class Fn>
void dies_saying(const std::string& sentence, Fn fn) {
    const child_end end = in_child([&fn]() -> int {
        std::signal(SIGABRT, SIG_DFL); // Catch2 would report the child as the test
        fn();
        return 0;
    });
    CHECK_FALSE(end.exited);
    CHECK(end.signal == SIGABRT);
    CHECK(end.err.find("toadstone: " + sentence + " (") != std::string::npos);
}

constexpr const char* destroyed_in_use =
    "a mutex is destroyed only when nobody holds it or waits for it";

} // namespace

TEST_CASE("S13: destroying a held mutex aborts with a sentence") {
    dies_saying(destroyed_in_use, [] {
        std::optional<mutex<int>> m(std::in_place);
        auto held = m->blocking_lock();
        m.reset();
    });
}

TEST_CASE("S13: destroying a mutex that is poisoned and held aborts too") {
    dies_saying(destroyed_in_use, [] {
        std::optional<mutex<int>> m(std::in_place);
        auto held = m->blocking_lock();
        held.poison("broken");
        m.reset();
    });
}

TEST_CASE("S13: destroying a mutex that somebody waits for aborts, though nobody holds it") {
    dies_saying(destroyed_in_use, [] {
        std::optional<mutex<int>> m(std::in_place);
        stepped w;
        w.run(break_by_exception(*m));
        auto patient = [](mutex<int>& lock) -> task<> {
            auto held = co_await lock.lock(sync::wait_recovery);
        };
        auto waiter = w.spawn(patient(*m));
        w.settle();
        m.reset();
    });
}

TEST_CASE("S13: a free mutex, and a poisoned one that nobody holds, may be destroyed") {
    const child_end end = in_child([]() -> int {
        const mutex<int> fresh;
        std::optional<mutex<int>> used(std::in_place);
        used->blocking_lock().unlock();
        used.reset();
        mutex<int> broken;
        auto held = broken.blocking_lock();
        held.poison("broken");
        held.unlock();
        return 0;
    });
    CHECK(end.exited);
    CHECK(end.code == 0);
}

TEST_CASE("guard: access through a guard that holds nothing aborts") {
    constexpr const char* sentence = "a guard gives access only while it holds the lock";
    dies_saying(sentence, [] {
        mutex<int> m;
        auto held = m.blocking_lock();
        held.unlock();
        *held = 1;
    });
    dies_saying(sentence, [] {
        mutex<std::string> m;
        auto held = m.blocking_lock();
        auto moved = std::move(held);
        held->clear();
    });
    dies_saying(sentence, [] {
        mutex<int> m;
        auto held = m.blocking_lock();
        held.unlock();
        held.clear_poison();
    });
    dies_saying("a guard that holds nothing poisons nothing", [] {
        mutex<int> m;
        auto held = m.blocking_lock();
        held.unlock();
        held.poison("too late");
    });
}

TEST_CASE("recovery: completing it twice aborts") {
    dies_saying("a recovery is completed once", [] {
        mutex<int> m;
        stepped w;
        auto body = [](mutex<int>& lock) -> task<> {
            auto right = co_await lock.recover();
            auto held = right.complete();
            auto again = right.complete();
        };
        w.run(body(m));
    });
}

TEST_CASE("recovery: access after complete() aborts: the data is the new guard's") {
    dies_saying("a recovery gives access until completed", [] {
        mutex<int> m;
        stepped w;
        auto body = [](mutex<int>& lock) -> task<> {
            auto right = co_await lock.recover();
            auto held = right.complete();
            *right = 1;
        };
        w.run(body(m));
    });
}

TEST_CASE("mutex: a sole owner's access to a mutex that somebody holds aborts") {
    dies_saying("a sole owner's mutex is not held by anybody", [] {
        mutex<int> m;
        auto held = m.blocking_lock();
        m.get_mut() = 1;
    });
}

} // namespace toadstone::tests
