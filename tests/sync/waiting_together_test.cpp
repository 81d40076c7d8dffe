// The promises about waiting, for what lets everybody through at once: the counterpart of
// waiting_test, whose subjects let one through.
#include <toadstone/sync.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;

// A subject is something that three wait for, by the numbers 1 to 3, each at most once at a
// time. When it is made there is nothing to be had; serve() lets everybody through who waits.
// may_pass(): that one would get through at once, and does.

class broadcast_subject {
public:
    task<> wait(order& got, int who) {
        auto message = co_await at(who).recv();
        if (message) got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) {
        auto message = co_await at(who).recv_for(limit);
        got.push_back(message ? who : -who);
    }
    void blocking_wait(int who) { static_cast<void>(at(who).blocking_recv()); }
    void serve() { channel_.tx.send(1); }
    [[nodiscard]] bool may_pass(int who) { return at(who).try_recv().has_value(); }

private:
    using receiver = sync::broadcast::receiver<int>;
    receiver& at(int who) { return all_[static_cast<std::size_t>(who - 1)]; }

    sync::broadcast::halves<int> channel_ = sync::broadcast::channel<int>(10);
    std::array<receiver, 3> all_{channel_.tx.subscribe(), channel_.tx.subscribe(),
                                 channel_.tx.subscribe()};
};

class watch_subject {
public:
    task<> wait(order& got, int who) {
        const bool changed = co_await at(who).changed();
        if (changed) got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) {
        const bool changed = co_await at(who).changed_for(limit);
        got.push_back(changed ? who : -who);
    }
    void blocking_wait(int who) { static_cast<void>(at(who).blocking_changed()); }
    void serve() {
        channel_.tx.send_modify([](int& value) { ++value; });
    }
    [[nodiscard]] bool may_pass(int who) {
        const bool changed = at(who).has_changed();
        at(who).mark_unchanged();
        return changed;
    }

private:
    using receiver = sync::watch::receiver<int>;
    receiver& at(int who) { return all_[static_cast<std::size_t>(who - 1)]; }

    sync::watch::halves<int> channel_ = sync::watch::channel(0);
    std::array<receiver, 3> all_{channel_.rx, channel_.rx, channel_.rx};
};

class event_subject {
public:
    task<> wait(order& got, int who) {
        co_await event_.wait();
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) {
        const bool set = co_await event_.wait_for(limit);
        got.push_back(set ? who : -who);
    }
    void blocking_wait(int) { event_.blocking_wait(); }
    void serve() { event_.set(); }
    [[nodiscard]] bool may_pass(int) { return event_.is_set(); }

private:
    sync::manual_reset_event event_;
};

template <class Subject>
struct three_together {
    explicit three_together(unsigned workers = 1) : w(workers) {
        for (int who = 1; who <= 3; ++who) {
            const auto where = placement::worker(static_cast<unsigned>(who));
            waiters.push_back(w.spawn(subject.wait(got, who), {.where = where}));
            w.settle();
        }
    }
    void serve() {
        subject.serve();
        w.settle();
    }
    join_handle<void>& waiter(int who) { return waiters[static_cast<std::size_t>(who - 1)]; }
    Subject subject;
    order got;
    stepped w;
    std::vector<join_handle<void>> waiters;
};

order others_than(int who) {
    order rest{1, 2, 3};
    rest.erase(rest.begin() + (who - 1));
    return rest;
}

} // namespace

#define TOADSTONE_TOGETHER broadcast_subject, watch_subject, event_subject

TEMPLATE_TEST_CASE("S328: all who wait are let through together, in the order of arrival", "",
                   TOADSTONE_TOGETHER) {
    three_together<TestType> line;
    CHECK(line.got == order{});
    line.serve();
    CHECK(line.got == order{1, 2, 3});
}

TEMPLATE_TEST_CASE("S328: the same of three workers", "", TOADSTONE_TOGETHER) {
    three_together<TestType> line(3);
    line.serve();
    CHECK(line.got.size() == 3);
    for (auto& each : line.waiters) CHECK(each.done());
}

TEMPLATE_TEST_CASE("S328: with a request pending nothing is taken", "", TOADSTONE_TOGETHER) {
    TestType subject;
    order got;
    stepped w;
    const bool first = GENERATE(true, false);
    if (first) subject.serve();
    auto task = w.spawn(subject.wait(got, 1));
    task.cancel();
    w.settle();
    CHECK(w.end_of(task).is_cancelled());
    if (!first) subject.serve();
    CHECK(got == order{});
    CHECK(subject.may_pass(1));
}

TEMPLATE_TEST_CASE(
    "S328: cancelled at the front, in the middle or at the back, a waiter leaves "
    "at once, misses nothing, and the others are served",
    "", TOADSTONE_TOGETHER) {
    const int who = GENERATE(1, 2, 3);
    three_together<TestType> line(GENERATE(1u, 2u));
    line.waiter(who).cancel();
    line.w.settle();
    CHECK(line.w.end_of(line.waiter(who)).is_cancelled());
    CHECK_FALSE(line.subject.may_pass(who));
    line.serve();
    CHECK(line.got.size() == 2);
    for (const int other : others_than(who)) CHECK(line.waiter(other).done());
    CHECK(line.subject.may_pass(who));
}

TEMPLATE_TEST_CASE(
    "S329: cancelled at the tie, a waiter has taken nothing, and the others go on", "",
    TOADSTONE_TOGETHER) {
    const int who = GENERATE(1, 2, 3);
    three_together<TestType> line;
    line.subject.serve(); // all have it, and none has run
    line.waiter(who).cancel();
    line.w.settle();
    CHECK(line.w.end_of(line.waiter(who)).is_cancelled());
    CHECK(line.got == others_than(who));
    CHECK(line.subject.may_pass(who));
}

TEMPLATE_TEST_CASE("S329: time is up while it waits: it leaves, and the others are served", "",
                   TOADSTONE_TOGETHER) {
    TestType subject;
    order got;
    stepped w;
    auto timed = w.spawn(subject.wait_for(got, 1, 10ms));
    auto other = w.spawn(subject.wait(got, 2));
    w.settle();
    w.advance(10ms - 1us);
    CHECK(got == order{});
    w.advance(1us);
    CHECK(got == order{-1});
    subject.serve();
    w.settle();
    CHECK(got == order{-1, 2});
    CHECK(subject.may_pass(1));
}

TEMPLATE_TEST_CASE("S329: time is up at the tie: it is served", "", TOADSTONE_TOGETHER) {
    TestType subject;
    order got;
    stepped w;
    auto timed = w.spawn(subject.wait_for(got, 1, 10ms));
    auto other = w.spawn(subject.wait(got, 2));
    w.settle();
    subject.serve();
    w.advance(10ms);
    CHECK(got == order{1, 2});
}

TEMPLATE_TEST_CASE("S329: a plain thread waits beside tasks", "", TOADSTONE_TOGETHER) {
    TestType subject;
    order got;
    stepped w;
    std::thread waits([&subject] { subject.blocking_wait(3); });
    auto task = w.spawn(subject.wait(got, 1));
    w.settle();
    subject.serve();
    w.settle();
    waits.join();
    CHECK(got == order{1});
}

TEMPLATE_TEST_CASE("S329: a frame that is destroyed while it waits leaves the line", "",
                   TOADSTONE_TOGETHER) {
    TestType subject;
    order got;
    {
        stepped w;
        auto one = w.spawn(subject.wait(got, 1));
        auto two = w.spawn(subject.wait(got, 2));
        w.settle();
        if (GENERATE(true, false)) subject.serve(); // and has not run
    } // tears down what waits
    subject.serve();
    CHECK(got == order{});
    CHECK(subject.may_pass(1));
    CHECK(subject.may_pass(2));
}

} // namespace toadstone::tests
