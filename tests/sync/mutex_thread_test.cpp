// Plain threads at a mutex: waiting for tasks and for each other, failing, and leaving by ways
// that C++ calls no exception.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <fstream>
#include <source_location>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

namespace toadstone::tests {
namespace {

using sync::mutex;

std::string place(unsigned line) {
    return "mutex_thread_test.cpp:" + std::to_string(line);
}

// The thread waits in the kernel: its status says "State:\tS (sleeping)".
bool sleeps(pid_t thread) {
    std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
    std::string line;
    while (std::getline(status, line)) {
        if (line.find("State:") == 0) return line.find('S', 6) != line.npos;
    }
    return false;
}

} // namespace

TEST_CASE("mutex: a plain thread waits for a task's release, and a task for a thread's") {
    mutex<int> m;
    gate until;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    std::atomic<bool> released = false;
    bool was_released = false;
    std::thread waits([&] {
        auto held = m.blocking_lock();
        was_released = released.load();
        *held = 1;
    });
    released = true;
    until.open();
    w.settle();
    waits.join();
    CHECK(was_released);
    auto held = m.blocking_lock();
    auto waiter = w.spawn(pass(m, entered, 1));
    w.settle();
    CHECK(entered.empty());
    std::thread([moved = std::move(held)]() mutable { moved.unlock(); }).join();
    w.settle();
    CHECK(entered == order{1});
    CHECK(m.get_mut() == 1);
}

TEST_CASE(
    "mutex: a plain thread that has gone to sleep over its wait is woken by the release") {
    mutex<int> m;
    gate until;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    std::atomic<pid_t> sleeper{0};
    std::thread waits([&] {
        sleeper = ::gettid();
        auto held = m.blocking_lock();
        *held = 1;
    });
    while (sleeper == 0 || !sleeps(sleeper)) std::this_thread::yield();
    until.open();
    w.settle();
    waits.join();
    CHECK(m.get_mut() == 1);
}

TEST_CASE("S167: a plain thread waits in a batched mutex like the others, and has no batch") {
    mutex<int> m(0, "batched", sync::fairness::batched);
    gate until;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    std::atomic<pid_t> sleeper{0};
    std::thread waits([&] {
        sleeper = ::gettid();
        auto held = m.blocking_lock();
        entered.push_back(0);
    });
    while (sleeper == 0 || !sleeps(sleeper)) std::this_thread::yield();
    std::vector<join_handle<void>> waiters;
    for (int who = 1; who <= 100; ++who) waiters.push_back(w.spawn(pass(m, entered, who)));
    w.settle();
    until.open();
    while (!waiters.back().done()) w.settle();
    waits.join();
    REQUIRE(entered.size() == 101);
    CHECK(entered[64] == 0);
}

TEST_CASE("S167: a plain thread that releases a batched mutex does not prefer another") {
    mutex<int> m(0, "batched", sync::fairness::batched);
    order entered;
    stepped w;
    auto held = m.try_lock();
    REQUIRE(held);
    auto oldest = w.spawn(pass(m, entered, 1));
    w.settle();
    std::atomic<pid_t> sleeper{0};
    std::thread waits([&] {
        sleeper = ::gettid();
        auto also = m.blocking_lock();
        entered.push_back(0);
    });
    while (sleeper == 0 || !sleeps(sleeper)) std::this_thread::yield();
    std::thread([&] { held->unlock(); }).join(); // this one is a worker's
    w.settle();
    waits.join();
    CHECK(entered == order{1, 0});
}

TEST_CASE("mutex: a thread that waits is failed by the poisoning as a task is") {
    mutex<int> m;
    gate never;
    stepped w;
    auto holder = w.spawn(hold(m, never), {.name = "holder"});
    w.settle();
    std::string why;
    std::thread waits([&] {
        try {
            auto held = m.blocking_lock();
        } catch (const poison_error& error) {
            why = error.what();
        }
    });
    holder.cancel();
    w.settle();
    waits.join();
    CHECK(why.find("mutex poisoned: task " + std::to_string(holder.id()) + " 'holder' was " +
                   "cancelled (requested)") == 0);
}

TEST_CASE(
    "mutex: blocking_lock on a worker takes a free lock, and refuses to block the worker") {
    mutex<int> m;
    gate until;
    stepped w;
    auto blocks = [](mutex<int>& lock) -> task<std::string> {
        std::string why;
        try {
            auto held = lock.blocking_lock();
        } catch (const std::logic_error& error) {
            why = error.what();
        }
        co_return why;
    };
    CHECK(w.run(blocks(m)).empty());
    auto holder = w.spawn(hold(m, until));
    w.settle();
    CHECK(w.run(blocks(m)).find("would block a worker") != std::string::npos);
    CHECK_FALSE(m.is_poisoned());
    until.open();
    w.settle();
    CHECK(is_free(w, m));
}

TEST_CASE("S42: a plain thread whose section throws poisons, and the cause says that it was a "
          "plain thread") {
    mutex<int> m;
    unsigned line = 0;
    std::thread([&] {
        try {
            line = std::source_location::current().line() + 1;
            auto held = m.blocking_lock();
            throw std::runtime_error("boom");
        } catch (const std::runtime_error&) {
        }
    }).join();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
    CHECK(m.cause().task_id() == 0);
    CHECK(m.cause().task_name().empty());
    CHECK(m.cause().to_string() == "mutex poisoned: a plain thread failed with an exception "
                                   "holding the lock taken at " +
                                       place(line));
}

TEST_CASE(
    "S42: a plain thread's swallowed exception is never mistaken for one that a task throws "
    "later on the same thread") {
    mutex<int> m;
    try {
        auto held = m.blocking_lock();
        throw std::runtime_error("the culprit");
    } catch (const std::runtime_error&) {
    }
    REQUIRE(m.is_poisoned());
    stepped w;
    auto fails = []() -> task<> {
        throw std::runtime_error("somebody else");
        co_return;
    };
    CHECK_THROWS_WITH(w.run(fails()), "somebody else");
    CHECK(m.cause().to_string().find("somebody else") == std::string::npos);
}

TEST_CASE("mutex: blocking_with_lock gives the function's result and releases cleanly") {
    mutex<int> m(20);
    CHECK(m.blocking_with_lock([](int& value) { return value + 1; }) == 21);
    m.blocking_with_lock([](int& value) { value = 5; });
    CHECK(m.get_mut() == 5);
    CHECK_THROWS_WITH(m.blocking_with_lock([](int&) { throw std::runtime_error("boom"); }),
                      "boom");
    CHECK(m.is_poisoned());
}

namespace {

/// What a thread does in its section to leave it for good.
enum class leaves_by { pthread_exit, pthread_cancel };

[[noreturn]] void leave(leaves_by how) {
    if (how == leaves_by::pthread_cancel) {
        pthread_cancel(pthread_self());
        pthread_testcancel();
    }
    pthread_exit(nullptr);
}

struct section {
    mutex<int>& m;
    leaves_by how;
};

extern "C" void* with_plain_guard(void* argument) {
    auto& mine = *static_cast<section*>(argument);
    auto held = mine.m.blocking_lock();
    *held = 1;
    leave(mine.how);
}

extern "C" void* with_strict_form(void* argument) {
    auto& mine = *static_cast<section*>(argument);
    mine.m.blocking_with_lock([&mine](int& value) {
        value = 1;
        leave(mine.how);
    });
    return nullptr;
}

void run_thread(void* (*body)(void*), section mine) {
    pthread_t thread{};
    REQUIRE(pthread_create(&thread, nullptr, body, &mine) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
}

} // namespace

TEST_CASE("S42: a thread that leaves blocking_with_lock by pthread_exit or pthread_cancel "
          "poisons") {
    mutex<int> m;
    run_thread(with_strict_form,
               {m, GENERATE(leaves_by::pthread_exit, leaves_by::pthread_cancel)});
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::abandoned);
    CHECK(m.cause().task_id() == 0);
    CHECK(m.cause().to_string().find("mutex poisoned: a plain thread was abandoned") == 0);
    CHECK_THROWS_AS(m.try_lock(), poison_error);
}

TEST_CASE(
    "S42: a plain guard cannot see pthread_exit, which is no exception to C++: it releases "
    "as if all were well") {
    mutex<int> m;
    run_thread(with_plain_guard,
               {m, GENERATE(leaves_by::pthread_exit, leaves_by::pthread_cancel)});
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.get_mut() == 1);
}

TEST_CASE("S42: threads that wait for each other are served one at a time") {
    mutex<int> m;
    int inside = 0; // guarded by m, and looked at by ThreadSanitizer
    int most = 0;
    auto body = [&] {
        for (int i = 0; i < 500; ++i) {
            auto held = m.blocking_lock();
            ++inside;
            most = std::max(most, inside);
            *held += 1;
            --inside;
        }
    };
    std::thread one(body);
    std::thread two(body);
    std::thread three(body);
    one.join();
    two.join();
    three.join();
    CHECK(most == 1);
    CHECK(m.get_mut() == 1500);
}

} // namespace toadstone::tests
