// The tasks that nearly every test of a lock needs: one that holds it, one that passes through.
#ifndef TOADSTONE_TESTS_SUPPORT_LOCK_TASKS_HPP
#define TOADSTONE_TESTS_SUPPORT_LOCK_TASKS_HPP

#include <toadstone/runtime/task.hpp>

#include "probe.hpp"
#include "stepped.hpp"

#include <catch2/catch.hpp>

#include <stdexcept>
#include <string>
#include <vector>

namespace toadstone::tests {

/// In a test the locks come before the workers: the workers' destructor takes the tasks down.
using order = std::vector<int>;

/// Holds the lock until the gate opens. Notes itself, if it is given a list, as it enters.
template <class Mutex>
task<> hold(Mutex& m, gate& until) {
    auto held = co_await m.lock();
    co_await until.pass();
}
template <class Mutex>
task<> hold(Mutex& m, gate& until, order& entered, int who) {
    auto held = co_await m.lock();
    entered.push_back(who);
    co_await until.pass();
}

/// Takes the lock, notes itself, and lets go.
template <class Mutex>
task<> pass(Mutex& m, order& entered, int who) {
    auto held = co_await m.lock();
    entered.push_back(who);
}

/// Why a lock() fails, or "" if it does not.
template <class Mutex>
task<std::string> why_not(Mutex& m) {
    std::string why;
    try {
        auto held = co_await m.lock();
    } catch (const std::exception& error) {
        why = error.what();
    }
    co_return why;
}

/// Leaves the section by an exception, which it swallows outside.
template <class Mutex>
task<> break_by_exception(Mutex& m, const char* what = "boom") {
    try {
        auto held = co_await m.lock();
        throw std::runtime_error(what);
    } catch (const std::runtime_error&) {
    }
}

/// Whether a lock() from a new task gets the lock at once.
template <class Mutex>
bool is_free(stepped& w, Mutex& m) {
    order entered;
    auto visitor = w.spawn(pass(m, entered, 1));
    w.settle();
    visitor.cancel();
    w.settle();
    return entered == order{1};
}

/// A task that locks again and again, without having to wait, lets its neighbours run.
template <class Mutex>
void check_that_neighbours_run() {
    Mutex m;
    bool neighbour_ran = false;
    int locked_before_it = 0;
    stepped w;
    auto greedy = [](Mutex& lock, bool& ran, int& count) -> task<> {
        for (int i = 0; i < 100000 && !ran; ++i) {
            auto held = co_await lock.lock();
            ++count;
        }
    };
    auto neighbour = [](bool& ran) -> task<> {
        ran = true;
        co_return;
    };
    auto one = w.spawn(greedy(m, neighbour_ran, locked_before_it));
    auto two = w.spawn(neighbour(neighbour_ran));
    w.settle();
    CHECK(two.done());
    CHECK(locked_before_it < 1000);
}

} // namespace toadstone::tests

#endif
