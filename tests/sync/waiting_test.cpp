// The promises about waiting, for everything that can be waited for: the suite is written once,
// a primitive joins it by a subject in tests/support/waiting.hpp.
#include "support/waiting.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <thread>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;

/// Three wait; the number of each is its place from 1.
template <class Subject>
struct three_wait {
    explicit three_wait(unsigned workers = 1) : w(workers) {
        for (int who = 1; who <= 3; ++who) {
            const auto where = placement::worker(static_cast<unsigned>(who));
            waiters.push_back(w.spawn(subject.wait(got, who), {.where = where}));
            w.settle();
        }
    }
    void serve(int times) {
        for (int i = 0; i < times; ++i) {
            subject.serve();
            w.settle();
        }
    }
    Subject subject;
    order got;
    stepped w;
    std::vector<join_handle<void>> waiters;
};

order without(int who) {
    order rest{1, 2, 3};
    rest.erase(rest.begin() + (who - 1));
    return rest;
}

} // namespace

#define TOADSTONE_ALL_SUBJECTS mutex_subject, recv_subject, send_subject, reserve_subject

TEMPLATE_TEST_CASE("S230: whoever waits is served in the order of arrival, across workers too",
                   "", TOADSTONE_ALL_SUBJECTS) {
    three_wait<TestType> line(GENERATE(1u, 2u));
    CHECK(line.got == order{});
    line.serve(3);
    CHECK(line.got == order{1, 2, 3});
}

TEMPLATE_TEST_CASE("S230: with a request pending nothing is taken, and nobody queues", "",
                   TOADSTONE_ALL_SUBJECTS) {
    TestType subject;
    order got;
    stepped w;
    const bool free = GENERATE(true, false);
    if (free) subject.serve();
    auto task = w.spawn(subject.wait(got, 1));
    task.cancel();
    w.settle();
    CHECK(w.end_of(task).is_cancelled());
    if (!free) subject.serve();
    CHECK(got == order{});
    CHECK(subject.may_pass());
}

TEMPLATE_TEST_CASE(
    "S230: cancelled at the front, in the middle or at the back, a waiter leaves "
    "at once, and the others are served",
    "", TOADSTONE_ALL_SUBJECTS) {
    const int who = GENERATE(1, 2, 3);
    three_wait<TestType> line(GENERATE(1u, 2u));
    auto& victim = line.waiters[static_cast<std::size_t>(who - 1)];
    victim.cancel();
    line.w.settle();
    CHECK(line.w.end_of(victim).is_cancelled());
    line.serve(2);
    CHECK(line.got == without(who));
}

TEMPLATE_TEST_CASE("S231: cancelled at the tie, what a waiter was given goes to the one behind",
                   "", TOADSTONE_ALL_SUBJECTS) {
    three_wait<TestType> line;
    line.subject.serve(); // the first has it and has not run
    line.waiters[0].cancel();
    line.w.settle();
    CHECK(line.w.end_of(line.waiters[0]).is_cancelled());
    REQUIRE(!line.got.empty());
    CHECK(line.got[0] == 2);
    line.serve(1);
    CHECK(line.got == order{2, 3});
}

TEMPLATE_TEST_CASE("S231: at the tie with nobody behind, nothing is lost", "",
                   TOADSTONE_ALL_SUBJECTS) {
    TestType subject;
    order got;
    stepped w;
    auto task = w.spawn(subject.wait(got, 1));
    w.settle();
    subject.serve();
    task.cancel();
    w.settle();
    CHECK(w.end_of(task).is_cancelled());
    CHECK(got == order{});
    CHECK(subject.may_pass());
}

TEMPLATE_TEST_CASE("S232: time is up while it waits: it leaves, and the one behind is served",
                   "", TOADSTONE_ALL_SUBJECTS) {
    TestType subject;
    order got;
    stepped w;
    auto timed = w.spawn(subject.wait_for(got, 1, 10ms));
    w.settle();
    auto behind = w.spawn(subject.wait(got, 2));
    w.settle();
    w.advance(10ms - 1us);
    CHECK(got == order{});
    w.advance(1us);
    CHECK(got == order{-1});
    subject.serve();
    w.settle();
    CHECK(got == order{-1, 2});
}

TEMPLATE_TEST_CASE("S232: time is up at the tie: it is served or the one behind is, once", "",
                   TOADSTONE_ALL_SUBJECTS) {
    TestType subject;
    order got;
    stepped w;
    auto timed = w.spawn(subject.wait_for(got, 1, 10ms));
    w.settle();
    auto behind = w.spawn(subject.wait(got, 2));
    w.settle();
    subject.serve();
    w.advance(10ms);
    subject.serve();
    w.settle();
    CHECK((got == order{1, 2} || got == order{-1, 2}));
    const bool served_both = got[0] == 1;
    CHECK((served_both || subject.may_pass()));
}

TEMPLATE_TEST_CASE("S233: a plain thread waits in the same line", "", TOADSTONE_ALL_SUBJECTS) {
    TestType subject;
    order got;
    stepped w;
    std::thread waits([&subject] { subject.blocking_wait(); });
    auto task = w.spawn(subject.wait(got, 1));
    w.settle();
    subject.serve();
    w.settle();
    subject.serve();
    while (!task.done()) w.settle();
    waits.join();
    CHECK(got == order{1});
}

TEMPLATE_TEST_CASE("S233: a frame that is destroyed while it waits leaves the line", "",
                   TOADSTONE_ALL_SUBJECTS) {
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
    CHECK(subject.may_pass());
}

} // namespace toadstone::tests
