// A section that waits for the kernel: the operation ends first, its result is delivered, and
// an error of its own wins over the cancellation.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"
#include "support/pipe.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>

namespace toadstone::tests {
namespace {

using sync::mutex;

/// What the kernel still had when the frame went.
class in_flight_probe {
public:
    in_flight_probe(detail::worker& of, std::size_t& to) : of_(of), to_(to) {}
    in_flight_probe(const in_flight_probe&) = delete;
    in_flight_probe& operator=(const in_flight_probe&) = delete;
    ~in_flight_probe() { to_ = of_.in_flight(); }

private:
    detail::worker& of_;
    std::size_t& to_;
};

task<> read_inside(mutex<std::string>& m, int fd, gate& afterwards, bool let_go) {
    auto held = co_await m.lock();
    char buffer[16];
    const int count = co_await read_op(fd, buffer, sizeof buffer);
    if (count < 0) throw std::system_error(-count, std::generic_category(), "read");
    held->assign(buffer, static_cast<std::size_t>(count));
    if (let_go) held.unlock();
    co_await afterwards.pass();
    held->append("!");
}

} // namespace

TEST_CASE("S14: an operation in the section ends before the frames go, and then the mutex is "
          "poisoned") {
    mutex<std::string> m;
    test_pipe pipe;
    std::size_t left = 99;
    gate until;
    stepped w;
    auto body = [](mutex<std::string>& lock, int fd, gate& at, detail::worker& on,
                   std::size_t& to) -> task<> {
        const in_flight_probe probe(on, to);
        co_await read_inside(lock, fd, at, false);
    };
    auto holder = w.spawn(body(m, pipe.reader(), until, w.worker(), left));
    w.settle();
    REQUIRE(w.worker().in_flight() == 1);
    holder.cancel();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(left == 0);
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
    pipe.write("late"); // nobody reads into a frame that is gone
    w.settle();
    CHECK(pipe.drain() == "late");
}

TEST_CASE(
    "S20: an operation that succeeds although it was to be cancelled delivers, and the next "
    "co_await poisons if it is still in the section") {
    mutex<std::string> m;
    test_pipe pipe;
    gate afterwards;
    stepped w;
    const bool let_go = GENERATE(false, true);
    pipe.write("data");
    auto holder = w.spawn(read_inside(m, pipe.reader(), afterwards, let_go));
    w.step(); // the read has completed; the task has not run
    REQUIRE(w.worker().in_flight() == 0);
    holder.cancel();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(m.get_mut(sync::ignore_poison) == "data");
    CHECK(m.is_poisoned() == !let_go);
}

TEST_CASE("S21: an operation that fails by itself while a cancellation is pending ends the "
          "section with its exception, and the cause mentions both") {
    mutex<std::string> m;
    gate afterwards;
    stepped w;
    auto holder = w.spawn(read_inside(m, -1, afterwards, false)); // no such descriptor
    w.step();
    REQUIRE(w.worker().in_flight() == 0);
    holder.cancel();
    w.settle();
    const auto end = w.end_of(holder);
    CHECK(end.has_exception());
    CHECK_FALSE(end.is_cancelled());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
    CHECK(m.cause().cancel_pending());
    CHECK(m.cause().exception() == end.exception());
    CHECK(m.cause().to_string().find("(a cancellation was pending too)") != std::string::npos);
}

TEST_CASE("S21: without a cancellation the same failure says nothing of one") {
    mutex<std::string> m;
    gate afterwards;
    stepped w;
    auto holder = w.spawn(read_inside(m, -1, afterwards, false));
    w.settle();
    CHECK(w.end_of(holder).has_exception());
    REQUIRE(m.is_poisoned());
    CHECK_FALSE(m.cause().cancel_pending());
}

TEST_CASE(
    "S22: an operation in a shielded part of the section runs to its end; the cancellation "
    "is taken after it, by the section that is still open") {
    mutex<std::string> m;
    test_pipe pipe;
    gate afterwards;
    std::string got;
    stepped w;
    auto inside = [](int fd, std::string& to) -> task<> {
        char buffer[16];
        const int count = co_await read_op(fd, buffer, sizeof buffer);
        to.assign(buffer, static_cast<std::size_t>(count));
        co_await yield_now(); // a cancellation point, but a shielded one
        to.append("!");
    };
    auto body = [](mutex<std::string>& lock, task<> part, gate& at) -> task<> {
        auto held = co_await lock.lock();
        co_await shield(std::move(part));
        held->append("whole");
        held.unlock();
        co_await at.pass();
    };
    auto holder = w.spawn(body(m, inside(pipe.reader(), got), afterwards));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(holder.done());
    pipe.write("data");
    w.settle();
    CHECK(got == "data!");
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(m.get_mut() == "whole"); // and healthy
}

TEST_CASE(
    "S22: a section that is still open when its shielded part ends is poisoned at the next "
    "co_await") {
    mutex<int> m;
    gate shielded;
    gate afterwards;
    stepped w;
    auto inside = [](gate& at) -> task<> { co_await at.pass(); };
    auto body = [](mutex<int>& lock, task<> part, gate& at) -> task<> {
        auto held = co_await lock.lock();
        co_await shield(std::move(part));
        *held = 1;
        co_await at.pass();
        *held = 2;
    };
    auto holder = w.spawn(body(m, inside(shielded), afterwards));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    shielded.open();
    w.settle();
    CHECK(m.is_poisoned());
    CHECK(m.get_mut(sync::ignore_poison) == 1);
}

} // namespace toadstone::tests
