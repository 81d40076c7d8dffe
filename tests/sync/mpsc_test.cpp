// mpsc: what is received when, and how a channel ends.
#include <toadstone/sync/mpsc.hpp>

#include "support/channel_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::channel_closed;
namespace mpsc = sync::mpsc;

task<std::string> why_refused(const mpsc::sender<int>& tx) {
    std::string why;
    try {
        co_await tx.send(1);
    } catch (const std::exception& error) {
        why = error.what();
    }
    co_return why;
}

} // namespace

TEST_CASE("mpsc: messages are received in the order of sending, and then the end") {
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(3);
    stepped w;
    auto all = w.spawn(receives_all(rx, log));
    auto body = [](mpsc::sender<parcel> to) -> task<> {
        for (int i = 1; i <= 10; ++i) co_await to.send(parcel(i));
    };
    auto one = w.spawn(body(std::move(tx)));
    w.settle();
    CHECK(log == order{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, at_end});
    CHECK(parcel::alive == 0);
}

TEST_CASE("S220: who sends more than there is room for waits, and is served in turn") {
    order sent;
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(2);
    stepped w;
    std::vector<join_handle<void>> tasks;
    for (int i = 1; i <= 4; ++i) tasks.push_back(w.spawn(sends(tx, i, sent)));
    w.settle();
    CHECK(sent == order{1, 2});
    CHECK_FALSE(tx.try_send(parcel(9)));
    auto one = w.spawn(receives(rx, log));
    w.settle();
    CHECK(sent == order{1, 2, 3});
    CHECK_FALSE(tx.try_send(parcel(9))); // nobody overtakes the fourth
    tasks.push_back(w.spawn(receives(rx, log)));
    tasks.push_back(w.spawn(receives(rx, log)));
    tasks.push_back(w.spawn(receives(rx, log)));
    w.settle();
    CHECK(sent == order{1, 2, 3, 4});
    CHECK(log == order{1, 2, 3, 4});
}

TEST_CASE("S221: a channel closes when its last sender goes, not before") {
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(2);
    std::optional first(tx);
    std::optional second(std::move(tx));
    stepped w;
    auto all = w.spawn(receives_all(rx, log));
    CHECK(first->try_send(parcel(1)));
    first.reset();
    w.settle();
    CHECK(log == order{1});
    CHECK_FALSE(rx.is_at_end());
    CHECK(second->try_send(parcel(2)));
    second.reset();
    w.settle();
    CHECK(log == order{1, 2, at_end});
    CHECK(rx.is_at_end());
}

TEST_CASE("S221: close() by either half refuses who waits for room and who sends; what was "
          "sent is received") {
    const bool by_receiver = GENERATE(true, false);
    order sent;
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(1);
    stepped w;
    auto one = w.spawn(sends(tx, 1, sent));
    auto two = w.spawn(sends(tx, 2, sent));
    w.settle();
    if (by_receiver) {
        rx.close();
    } else {
        tx.close();
    }
    w.settle();
    CHECK(sent == order{1, -2});
    CHECK(tx.is_closed());
    CHECK_FALSE(rx.is_at_end());
    CHECK_THROWS_AS(tx.try_send(parcel(3)), channel_closed);
    auto all = w.spawn(receives_all(rx, log));
    w.settle();
    CHECK(log == order{1, at_end});
}

TEST_CASE("S222: a receiver that goes destroys what nobody will receive, and senders keep "
          "their messages") {
    order sent;
    auto [tx, rx] = mpsc::channel<parcel>(2);
    std::optional receiver(std::move(rx));
    stepped w;
    auto one = w.spawn(sends(tx, 1, sent));
    auto two = w.spawn(sends(tx, 2, sent));
    auto three = w.spawn(sends(tx, 3, sent));
    w.settle();
    CHECK(parcel::alive == 3);
    receiver.reset();
    CHECK(parcel::alive == 1);
    w.settle();
    CHECK(sent == order{1, 2, -3});
    CHECK(parcel::alive == 0);
    parcel kept(4);
    CHECK_THROWS_AS(tx.try_send(std::move(kept)), channel_closed);
    CHECK(kept.what() == 4);
}

TEST_CASE("S222: a sender that was given room and finds the receiver gone keeps its message") {
    order sent;
    auto [tx, rx] = mpsc::channel<parcel>(1);
    std::optional receiver(std::move(rx));
    stepped w;
    auto one = w.spawn(sends(tx, 1, sent));
    auto two = w.spawn(sends(tx, 2, sent));
    w.settle();
    CHECK(receiver->try_recv()->what() == 1); // the second has its room and has not run
    receiver.reset();
    w.settle();
    CHECK(sent == order{1, -2});
    CHECK(parcel::alive == 0);
}

TEST_CASE("S223: a channel that is failed gives what was sent before, and then the cause") {
    order sent;
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(2);
    stepped w;
    CHECK(tx.try_send(parcel(1)));
    CHECK(tx.try_send(parcel(2)));
    auto waiting = w.spawn(sends(tx, 3, sent));
    w.settle();
    CHECK(tx.fail(std::make_exception_ptr(std::runtime_error("the disk is full"))));
    w.settle();
    CHECK(sent == order{-3});
    CHECK(rx.try_recv()->what() == 1);
    auto one = w.spawn(receives(rx, log));
    auto two = w.spawn(receives(rx, log));
    w.settle();
    CHECK(log == order{2, failed});
    try {
        static_cast<void>(rx.try_recv());
        FAIL("it was failed");
    } catch (const poison_error& error) {
        CHECK(std::string(error.what()).find("the disk is full") != std::string::npos);
    }
    CHECK_THROWS_AS(tx.try_send(parcel(4)), poison_error);
    CHECK_THROWS_AS(rx.blocking_recv(), poison_error);
}

TEST_CASE("S223: who waits for a message learns the cause; the first end is the one that "
          "counts") {
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(1);
    stepped w;
    auto one = w.spawn(receives(rx, log));
    auto two = w.spawn(receives(rx, log));
    w.settle();
    CHECK(tx.fail(poison_cause()));
    w.settle();
    CHECK(log == order{at_end, at_end}); // an empty cause is a close
    CHECK_FALSE(tx.fail(std::make_exception_ptr(std::runtime_error("late"))));
    CHECK_FALSE(rx.try_recv());
}

TEST_CASE("S224: a permit keeps its room; dropped, the room goes to the next") {
    order sent;
    auto [tx, rx] = mpsc::channel<parcel>(1);
    stepped w;
    auto permit = tx.try_reserve();
    REQUIRE(permit);
    CHECK_FALSE(tx.try_reserve());
    auto one = w.spawn(sends(tx, 1, sent));
    w.settle();
    CHECK(sent == order{});
    permit.reset();
    w.settle();
    CHECK(sent == order{1});
    CHECK(rx.try_recv()->what() == 1);
}

TEST_CASE("S224: a closed channel does not end before its permits, which may still send") {
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(2);
    stepped w;
    auto all = w.spawn(receives_all(rx, log));
    auto kept = tx.try_reserve();
    auto dropped = tx.try_reserve();
    w.settle();
    rx.close();
    w.settle();
    CHECK(log == order{});
    kept->send(parcel(1));
    CHECK_THROWS_AS(kept->send(parcel(2)), std::logic_error);
    w.settle();
    CHECK(log == order{1});
    dropped.reset();
    w.settle();
    CHECK(log == order{1, at_end});
}

TEST_CASE("S224: a permit outlives its sender, and is told that the receiver is gone") {
    auto channel = mpsc::channel<parcel>(2);
    std::optional tx(std::move(channel.tx));
    std::optional rx(std::move(channel.rx));
    auto one = tx->try_reserve();
    auto two = tx->try_reserve();
    tx.reset();
    CHECK_FALSE(rx->is_at_end());
    one->send(parcel(1));
    CHECK(rx->try_recv()->what() == 1);
    rx.reset();
    parcel kept(2);
    CHECK_THROWS_AS(two->send(std::move(kept)), channel_closed);
    CHECK(kept.what() == 2);
}

TEST_CASE("S224: reserve() waits for room, and a sender behind it waits for its permit") {
    order sent;
    gate until;
    auto [tx, rx] = mpsc::channel<parcel>(1);
    stepped w;
    CHECK(tx.try_send(parcel(1)));
    auto body = [](const mpsc::sender<parcel>& to, gate& opens) -> task<> {
        auto room = co_await to.reserve();
        co_await opens.pass();
        room.send(parcel(2));
    };
    auto reserving = w.spawn(body(tx, until));
    auto behind = w.spawn(sends(tx, 3, sent));
    w.settle();
    CHECK_FALSE(until.waited_for());
    CHECK(rx.try_recv()->what() == 1);
    w.settle();
    CHECK(until.waited_for());
    CHECK(sent == order{});
    until.open();
    w.settle();
    CHECK(rx.try_recv()->what() == 2);
    w.settle();
    CHECK(rx.try_recv()->what() == 3);
}

TEST_CASE("S225: a message whose move throws is lost by neither half") {
    auto [tx, rx] = mpsc::channel<parcel>(1);
    parcel message(1);
    parcel::moves_that_throw = 1;
    CHECK_THROWS_AS(tx.try_send(std::move(message)), std::runtime_error);
    CHECK(message.what() == 1);
    CHECK(tx.try_send(std::move(message))); // its room was free again
    parcel::moves_that_throw = 1;
    CHECK_THROWS_AS(rx.try_recv(), std::runtime_error);
    CHECK_FALSE(tx.try_send(parcel(2))); // it is still there
    CHECK(rx.try_recv()->what() == 1);
    CHECK(tx.try_send(parcel(2)));
}

TEST_CASE("S225: the same in tasks that have waited, and of an unbounded channel") {
    order sent;
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(1);
    stepped w;
    auto one = w.spawn(receives(rx, log));
    auto two = w.spawn(receives(rx, log));
    w.settle();
    parcel first(1);
    CHECK(tx.try_send(std::move(first)));
    parcel::moves_that_throw = 1;
    w.settle();
    CHECK(log == order{failed, 1}); // what the first could not take goes to the second
    auto wide = mpsc::unbounded<parcel>();
    parcel message(3);
    parcel::moves_that_throw = 1;
    CHECK_THROWS_AS(wide.tx.send(std::move(message)), std::runtime_error);
    CHECK(message.what() == 3);
    wide.tx.close();
    CHECK(wide.rx.is_at_end());
}

TEST_CASE("S226: an unbounded channel takes everything, from destructors too, and gives its "
          "memory back") {
    const auto frames = detail::live_frames();
    {
        order log;
        auto [tx, rx] = mpsc::unbounded<parcel>();
        for (int i = 1; i <= 1000; ++i) tx.send(parcel(i));
        for (int i = 1; i <= 500; ++i) REQUIRE(rx.try_recv()->what() == i);
        CHECK(detail::live_frames() - frames == 500);
        auto other = tx;
        tx.close();
        CHECK_THROWS_AS(other.send(parcel(0)), channel_closed);
        CHECK(rx.try_recv()->what() == 501);
    }
    CHECK(parcel::alive == 0);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("mpsc: an unbounded channel wakes who waits, and ends when its last sender goes") {
    order log;
    auto channel = mpsc::unbounded<parcel>();
    std::optional tx(std::move(channel.tx));
    stepped w;
    auto all = w.spawn(receives_all(channel.rx, log));
    w.settle();
    tx->send(parcel(1));
    w.settle();
    CHECK(log == order{1});
    tx.reset();
    w.settle();
    CHECK(log == order{1, at_end});
}

TEST_CASE("mpsc: recv_for gives up in time, and recv_until; at the tie the message wins") {
    order log;
    auto [tx, rx] = mpsc::channel<parcel>(1);
    stepped w;
    auto body = [](const mpsc::receiver<parcel>& from, bool point,
                   std::chrono::steady_clock::time_point when, order& to) -> task<> {
        std::optional<parcel> message;
        if (point) {
            auto got = co_await from.recv_until(when);
            if (got) message.emplace(std::move(*got));
        } else {
            auto got = co_await from.recv_for(10ms);
            if (got) message.emplace(std::move(*got));
        }
        to.push_back(message ? message->what() : at_end);
    };
    const bool point = GENERATE(true, false);
    const auto limit = w.kernel().now() + 10ms;
    auto one = w.spawn(body(rx, point, limit, log));
    w.settle();
    w.advance(10ms - 1us);
    CHECK(log == order{});
    w.advance(1us);
    CHECK(log == order{at_end});
    CHECK_FALSE(rx.is_at_end());
    auto two = w.spawn(body(rx, point, limit + 10ms, log));
    w.settle();
    CHECK(tx.try_send(parcel(1)));
    w.advance(1h); // given, and then the timer fires before it runs
    CHECK(log == order{at_end, 1});
    CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
}

TEST_CASE("mpsc: messages that can be copied are") {
    auto [tx, rx] = mpsc::channel<std::string>(2);
    const std::string text = "a text that is too long for the object itself";
    stepped w;
    auto body = [](const mpsc::sender<std::string>& to, const std::string& what) -> task<> {
        co_await to.send(what);
    };
    w.run(body(tx, text));
    CHECK(tx.try_send(text));
    CHECK(rx.try_recv() == text);
    CHECK(rx.try_recv() == text);
    CHECK(text.size() > 40);
}

TEST_CASE("mpsc: a half that was moved from says so, and room for nothing is refused") {
    auto [tx, rx] = mpsc::channel<int>(1);
    auto other = std::move(tx);
    CHECK_THROWS_AS(tx.try_send(1), std::logic_error);
    CHECK_THROWS_AS(mpsc::channel<int>(0), std::invalid_argument);
    CHECK_THROWS_AS(mpsc::channel<int>(~std::size_t{0} / 4), std::length_error);
    stepped w;
    CHECK(w.run(why_refused(other)) == "");
    rx.close();
    CHECK(w.run(why_refused(other)) == "the channel is closed");
}

TEST_CASE("mpsc: a half may be assigned, and lets go of its channel") {
    auto one = mpsc::channel<parcel>(1);
    auto two = mpsc::channel<parcel>(1);
    CHECK(one.tx.try_send(parcel(1)));
    one.tx = two.tx;
    CHECK(one.rx.try_recv()->what() == 1);
    CHECK(one.rx.is_at_end());
    CHECK(two.tx.try_send(parcel(2)));
    one.rx = std::move(two.rx);
    CHECK(one.rx.try_recv()->what() == 2);
}

TEST_CASE("mpsc: blocking a worker is refused, what needs no wait is not") {
    auto [tx, rx] = mpsc::channel<int>(1);
    stepped w;
    auto body = [](const mpsc::sender<int>& to, const mpsc::receiver<int>& from) -> task<bool> {
        to.blocking_send(1);
        bool refused = false;
        try {
            to.blocking_send(2);
        } catch (const std::logic_error&) {
            refused = true;
        }
        if (from.blocking_recv() != 1) co_return false;
        try {
            static_cast<void>(from.blocking_recv());
            refused = false;
        } catch (const std::logic_error&) {
        }
        co_return refused;
    };
    CHECK(w.run(body(tx, rx)));
}

} // namespace toadstone::tests
