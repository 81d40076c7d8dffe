// Contract violations around a mutex: what a program survives is an error, the rest ends the
// process with a sentence; nothing passes in silence.
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/capture.hpp"
#include "support/dies.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>

namespace toadstone::tests {
namespace {

using sync::mutex;

constexpr const char* destroyed_in_use =
    "a mutex is destroyed only when nobody holds it or waits for it";

} // namespace

TEST_CASE("S13: destroying a held mutex aborts with a sentence") {
    dies_saying(std::string(destroyed_in_use) + " (", [] {
        std::optional<mutex<int>> m(std::in_place);
        auto held = m->blocking_lock();
        m.reset();
    });
}

TEST_CASE("S13: destroying a mutex that is poisoned and held aborts too") {
    dies_saying(std::string(destroyed_in_use) + " (", [] {
        std::optional<mutex<int>> m(std::in_place);
        auto held = m->blocking_lock();
        held.poison("broken");
        m.reset();
    });
}

TEST_CASE("S13: destroying a mutex that somebody waits for aborts, though nobody holds it") {
    dies_saying(std::string(destroyed_in_use) + " (", [] {
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

TEST_CASE("S13: the sentence names the mutex, and the task that destroys it") {
    const child_end end = in_child([]() -> int {
        stepped w;
        std::optional<mutex<int>> m(std::in_place, 0, "accounts");
        auto destroys = [](std::optional<mutex<int>>& which) -> task<> {
            co_await yield_now();
            which.reset();
        };
        auto held = m->blocking_lock();
        auto task = w.spawn(destroys(m), {.name = "closer"});
        w.settle();
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK_THAT(end.err, Catch::Contains(destroyed_in_use));
    CHECK_THAT(end.err, Catch::Contains(": mutex 'accounts'; "));
    CHECK_THAT(end.err, Catch::Contains(" 'closer', last seen at mutex_misuse_test.cpp:"));
}

namespace {

/// Runs it, and requires that it throws a std::logic_error that begins so.
template <class Fn>
void throws_saying(const std::string& sentence, Fn fn) {
    std::string text = "it threw nothing";
    try {
        fn();
    } catch (const std::logic_error& error) {
        text = error.what();
    }
    CHECK(text == sentence);
}

} // namespace

TEST_CASE(
    "contract: access through a guard that holds nothing is an error, and changes nothing") {
    constexpr const char* sentence = "a guard gives access only while it holds the lock";
    mutex<std::string> m(std::string("as it was"));
    {
        auto held = m.blocking_lock();
        held.unlock();
        throws_saying(sentence, [&] { held->clear(); });
        throws_saying(sentence, [&] { (*held).clear(); });
        throws_saying(sentence, [&] { held.clear_poison(); });
        throws_saying(sentence, [&] { static_cast<void>(held.is_poisoned()); });
        throws_saying(sentence, [&] {
            auto part = held.map([](std::string& all) -> char& { return all[0]; });
        });
        throws_saying("a guard that holds nothing poisons nothing",
                      [&] { held.poison("too late"); });
    }
    auto held = m.blocking_lock();
    auto moved = std::move(held);
    throws_saying(sentence, [&] { held->clear(); });
    CHECK(*moved == "as it was");
}

TEST_CASE("contract: completing a recovery twice, or access after it, is an error") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        auto held = right.complete();
        throws_saying("a recovery is completed once", [&] { auto more = right.complete(); });
        throws_saying("a recovery gives access until completed", [&] { *right = 1; });
        CHECK(*held == 0);
    };
    w.run(body(m));
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("contract: a sole owner's access to a mutex that somebody holds is an error") {
    mutex<int> m(4, "accounts");
    auto held = m.blocking_lock();
    throws_saying("a sole owner's mutex is not held by anybody: mutex 'accounts'",
                  [&] { m.get_mut() = 1; });
    throws_saying("a sole owner's mutex is not held by anybody: mutex 'accounts'",
                  [&] { static_cast<void>(std::move(m).into_inner()); });
    CHECK(*held == 4);
}

} // namespace toadstone::tests
