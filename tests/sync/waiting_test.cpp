// The promises about waiting, for everything that can be waited for: the suite is written once,
// a primitive joins it by a line in tests/support/waiting.hpp.
#include "support/waiting.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
constexpr int broken = waited_for::broken;

/// So many wait; the number of each is its place from 1.
struct in_line {
    in_line(const waiting_kind& kind, int waiters, unsigned workers = 1)
        : subject(kind.make(static_cast<unsigned>(waiters))), w(workers) {
        subject->begin(w);
        for (int who = 1; who <= waiters; ++who) {
            const auto where = placement::worker(static_cast<unsigned>(who));
            tasks.push_back(w.spawn(subject->wait(got, who), {.where = where}));
            w.settle();
        }
    }
    void serve(int times = 1) {
        for (int i = 0; i < times; ++i) {
            subject->serve();
            w.settle();
        }
    }
    std::unique_ptr<waited_for> subject;
    order got;
    stepped w;
    std::vector<join_handle<void>> tasks;
};

/// With a request pending, whether it could have been served at once or not.
void check_request_pending(const waiting_kind& kind, bool free) {
    CAPTURE(kind.name, free);
    in_line none(kind, 0);
    if (free) none.serve();
    auto task = none.w.spawn(none.subject->wait(none.got, 1));
    task.cancel();
    none.w.settle();
    const bool passes = free && kind.for_good;
    CHECK(none.w.end_of(task).is_cancelled() == !passes);
    if (!free) none.serve();
    CHECK(none.got == (passes ? order{1} : order{}));
    CHECK(none.subject->may_pass());
}

void check_who_leaves(const waiting_kind& kind, int who, unsigned workers) {
    CAPTURE(kind.name, who, workers);
    in_line three(kind, 3, workers);
    auto& victim = three.tasks[static_cast<std::size_t>(who - 1)];
    victim.cancel();
    three.w.settle();
    CHECK(three.w.end_of(victim).is_cancelled());
    order others;
    for (int each = 1; each <= 3; ++each) {
        if (each != who) others.push_back(kind.breaks ? broken + each : each);
    }
    if (!kind.breaks) CHECK(three.got == order{});
    three.serve(2);
    // Those who are told of a breach together run as their workers do.
    std::sort(three.got.begin(), three.got.end());
    CHECK(three.got == others);
}

/// Served, and torn down before it has run, or just torn down.
void check_torn_down(const waiting_kind& kind, bool served) {
    CAPTURE(kind.name, served);
    const auto subject = kind.make(2);
    order got;
    {
        stepped w;
        subject->begin(w);
        auto one = w.spawn(subject->wait(got, 1));
        auto two = w.spawn(subject->wait(got, 2));
        w.settle();
        if (served) subject->serve();
    } // tears down what waits
    subject->serve();
    // A party that is torn down breaks its barrier, and the next may be told of it.
    const bool delivered = kind.breaks;
    if (!delivered) {
        CHECK(got == order{});
        CHECK(subject->may_pass());
    }
}

} // namespace

TEST_CASE("S230: whoever waits is served in the order of arrival, across workers too") {
    for (const waiting_kind& kind : waiting_kinds) {
        for (unsigned workers = 1; workers <= (kind.one_worker ? 1u : 2u); ++workers) {
            CAPTURE(kind.name, workers);
            in_line three(kind, 3, workers);
            CHECK(three.got == order{});
            three.serve();
            if (kind.for_all) CHECK(three.got.size() == 3);
            three.serve(2);
            // Those who pass together run as their workers do.
            if (kind.for_all && workers > 1) std::sort(three.got.begin(), three.got.end());
            CHECK(three.got == order{1, 2, 3});
        }
    }
}

TEST_CASE("S230: with a request pending nothing is taken, and nobody queues") {
    for (const waiting_kind& kind : waiting_kinds) {
        check_request_pending(kind, false);
        check_request_pending(kind, true);
    }
}

TEST_CASE(
    "S230: cancelled at the front, in the middle or at the back, a waiter leaves at once, "
    "and the others are served, or told that it has left") {
    for (const waiting_kind& kind : waiting_kinds) {
        for (int who = 1; who <= 3; ++who) {
            check_who_leaves(kind, who, 1);
            if (!kind.one_worker) check_who_leaves(kind, who, 2);
        }
    }
}

TEST_CASE(
    "S231: cancelled at the tie, what a waiter was given goes to the one behind; a complete "
    "round is delivered") {
    for (const waiting_kind& kind : waiting_kinds) {
        CAPTURE(kind.name);
        in_line three(kind, 3);
        three.subject->serve(); // the first has it and has not run
        three.tasks[0].cancel();
        three.w.settle();
        CHECK(three.w.end_of(three.tasks[0]).is_cancelled() == !kind.breaks);
        REQUIRE(!three.got.empty());
        if (kind.breaks) {
            CHECK(three.got == order{1, 2, 3});
            continue;
        }
        CHECK(three.got[0] == 2);
        three.serve();
        CHECK(three.got == order{2, 3});
    }
}

TEST_CASE("S231: at the tie with nobody behind, nothing is lost") {
    for (const waiting_kind& kind : waiting_kinds) {
        CAPTURE(kind.name);
        in_line one(kind, 1);
        one.subject->serve();
        one.tasks[0].cancel();
        one.w.settle();
        CHECK(one.w.end_of(one.tasks[0]).is_cancelled() == !kind.breaks);
        CHECK(one.got == (kind.breaks ? order{1} : order{}));
        CHECK(one.subject->may_pass());
    }
}

TEST_CASE("S232: time is up while it waits: it leaves, and the one behind is served, or told") {
    for (const waiting_kind& kind : waiting_kinds) {
        CAPTURE(kind.name);
        const auto subject = kind.make(2);
        order got;
        stepped w;
        subject->begin(w);
        auto timed = w.spawn(subject->wait_for(got, 1, 10ms));
        w.settle();
        auto behind = w.spawn(subject->wait(got, 2));
        w.settle();
        w.advance(10ms - 1us);
        CHECK(got == order{});
        w.advance(1us);
        if (!kind.breaks) CHECK(got == order{-1});
        subject->serve();
        w.settle();
        std::sort(got.begin(), got.end()); // -1 first; who is told first of a breach is open
        CHECK(got == (kind.breaks ? order{broken + 1, broken + 2} : order{-1, 2}));
    }
}

TEST_CASE("S232: time is up at the tie: it is served or the one behind is, once") {
    for (const waiting_kind& kind : waiting_kinds) {
        CAPTURE(kind.name);
        const auto subject = kind.make(2);
        order got;
        stepped w;
        subject->begin(w);
        auto timed = w.spawn(subject->wait_for(got, 1, 10ms));
        w.settle();
        auto behind = w.spawn(subject->wait(got, 2));
        w.settle();
        subject->serve();
        w.advance(10ms);
        subject->serve();
        w.settle();
        CHECK((got == order{1, 2} || got == order{-1, 2}));
        const bool served_both = !got.empty() && got[0] == 1;
        CHECK((served_both || subject->may_pass()));
    }
}

TEST_CASE("S233: a plain thread waits in the same line") {
    for (const waiting_kind& kind : waiting_kinds) {
        if (!kind.plain_threads) continue;
        CAPTURE(kind.name);
        const auto subject = kind.make(2);
        order got;
        stepped w;
        subject->begin(w);
        std::atomic<bool> passed{false};
        std::thread waits([&] {
            subject->blocking_wait();
            passed = true;
        });
        auto task = w.spawn(subject->wait(got, 1));
        w.settle();
        subject->serve();
        w.settle();
        subject->serve();
        while (!task.done() || !passed) {
            if (kind.forgets) subject->serve();
            w.settle();
        }
        waits.join();
        CHECK(got == order{1});
    }
}

TEST_CASE("S233: a frame that is destroyed while it waits leaves the line") {
    for (const waiting_kind& kind : waiting_kinds) {
        check_torn_down(kind, false);
        check_torn_down(kind, true);
    }
}

} // namespace toadstone::tests
