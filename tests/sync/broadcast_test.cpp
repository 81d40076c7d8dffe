// broadcast: who receives what, who has missed what, and how the channel ends.
#include <toadstone/sync/broadcast.hpp>

#include <toadstone/runtime.hpp>

#include "support/copied.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
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
namespace broadcast = sync::broadcast;
using receiver = broadcast::receiver<leaflet>;

constexpr int at_end = 0;
constexpr int nothing = -1;
constexpr int failed = -999;
constexpr int misused = -998;
constexpr int missed = -100; // and less, by how many

int number_of(const std::optional<leaflet>& message) {
    return message ? message->what() : at_end;
}

/// One message, or why there is none.
int tried(receiver& rx) {
    try {
        auto message = rx.try_recv();
        return message || rx.is_at_end() ? number_of(message) : nothing;
    } catch (const broadcast::lagged& error) {
        return missed - static_cast<int>(error.missed());
    } catch (const std::runtime_error&) {
        return failed;
    }
}
order all_of(receiver& rx) {
    order got;
    do {
        got.push_back(tried(rx));
    } while (got.back() != nothing && got.back() != at_end && got.back() != failed);
    return got;
}

task<> takes(receiver& rx, order& log) {
    int end = failed;
    try {
        auto message = co_await rx.recv();
        end = number_of(message);
    } catch (const broadcast::lagged& error) {
        end = missed - static_cast<int>(error.missed());
    } catch (const std::logic_error&) {
        end = misused;
    } catch (const std::runtime_error&) {
    }
    log.push_back(end);
}
task<> takes_all(receiver& rx, order& log) {
    do {
        co_await takes(rx, log);
    } while (log.back() != at_end && log.back() != failed);
}

} // namespace

TEST_CASE("S306: each receiver gets each message that was sent since it came, in order") {
    order early;
    order late;
    {
        auto [tx, rx] = broadcast::channel<leaflet>(8);
        std::optional sender(std::move(tx));
        std::optional<receiver> second;
        stepped w;
        auto one = w.spawn(takes_all(rx, early));
        CHECK(sender->send(leaflet(1)) == 1);
        w.settle();
        second.emplace(sender->subscribe());
        auto two = w.spawn(takes_all(*second, late));
        CHECK(sender->send(leaflet(2)) == 2);
        CHECK(sender->send(leaflet(3)) == 2);
        w.settle();
        CHECK(early == order{1, 2, 3});
        CHECK(late == order{2, 3});
        sender.reset();
        w.settle();
    }
    CHECK(early == order{1, 2, 3, at_end});
    CHECK(late == order{2, 3, at_end});
    CHECK(leaflet::alive == 0);
}

TEST_CASE("S307: a receiver that is too slow is told once how much it has missed, and goes on "
          "with the oldest that is kept") {
    auto [tx, rx] = broadcast::channel<leaflet>(3);
    for (int i = 1; i <= 3; ++i) tx.send(leaflet(i));
    CHECK(rx.size() == 3);
    CHECK(tried(rx) == 1);
    for (int i = 4; i <= 6; ++i) tx.send(leaflet(i));
    CHECK(rx.size() == 3);
    CHECK(all_of(rx) == order{missed - 2, 4, 5, 6, nothing});
    for (int i = 7; i <= 20; ++i) tx.send(leaflet(i));
    tx.close();
    CHECK_FALSE(rx.is_at_end());
    CHECK(all_of(rx) == order{missed - 11, 18, 19, 20, at_end});
}

TEST_CASE(
    "S307: awaited and blocking forms tell it the same way, whoever is not slow sees all") {
    order log;
    auto [tx, rx] = broadcast::channel<leaflet>(1);
    auto quick = tx.subscribe();
    stepped w;
    for (int i = 1; i <= 4; ++i) {
        tx.send(leaflet(i));
        CHECK(tried(quick) == i);
    }
    w.run(takes(rx, log));
    w.run(takes(rx, log));
    CHECK(log == order{missed - 3, 4});
    tx.send(leaflet(5));
    tx.send(leaflet(6));
    try {
        static_cast<void>(rx.blocking_recv());
        FAIL("it has lagged");
    } catch (const broadcast::lagged& error) {
        CHECK(error.missed() == 1);
        CHECK(std::string(error.what()) == "a receiver has lagged behind: messages missed: 1");
    }
    CHECK(number_of(rx.blocking_recv()) == 6);
}

TEST_CASE("S308: a message is destroyed when all have had it, when it is replaced, or when who "
          "had not goes") {
    auto [tx, rx] = broadcast::channel<leaflet>(2);
    std::optional slow(tx.subscribe());
    tx.send(leaflet(1));
    tx.send(leaflet(2));
    CHECK(leaflet::alive == 2);
    CHECK(all_of(rx) == order{1, 2, nothing});
    CHECK(leaflet::alive == 2);
    CHECK(tried(*slow) == 1);
    CHECK(leaflet::alive == 1);
    tx.send(leaflet(3));
    tx.send(leaflet(4)); // in the place of the second
    CHECK(leaflet::alive == 2);
    CHECK(all_of(rx) == order{3, 4, nothing});
    slow.reset();
    CHECK(leaflet::alive == 0);
}

TEST_CASE("S308: a receiver that goes with many messages takes its wishes with it") {
    constexpr int many = 1000;
    auto [tx, rx] = broadcast::channel<leaflet>(many);
    std::optional other(tx.subscribe());
    for (int i = 1; i <= many + many / 2; ++i) tx.send(leaflet(i));
    CHECK(leaflet::alive == many);
    CHECK(tried(*other) == missed - many / 2);
    for (int i = 1; i <= many / 2; ++i) CHECK(tried(*other) == i + many / 2);
    other.reset();
    CHECK(leaflet::alive == many); // for the first
    auto moved = std::move(rx);
    CHECK(moved.size() == many);
    moved = tx.subscribe();
    CHECK(leaflet::alive == 0);
    CHECK(tx.receivers() == 1);
}

TEST_CASE(
    "S308: a message that one still copies and another has missed is destroyed behind the "
    "copy") {
    auto [tx, rx] = broadcast::channel<leaflet>(1);
    auto slow = tx.subscribe();
    tx.send(leaflet(1));
    leaflet::copies_that_throw = 1;
    CHECK(tried(rx) == failed);
    tx.send(leaflet(2)); // in the place of the first
    CHECK(leaflet::alive == 2);
    CHECK(tried(rx) == 1);
    CHECK(leaflet::alive == 1);
    CHECK(all_of(slow) == order{missed - 1, 2, nothing});
}

TEST_CASE(
    "S309: nobody listens: nothing is sent, and the message is untouched; a later receiver "
    "gets what comes later") {
    auto [tx, rx] = broadcast::channel<leaflet>(2);
    std::optional first(std::move(rx));
    CHECK(tx.receivers() == 1);
    tx.send(leaflet(1));
    first.reset();
    CHECK(leaflet::alive == 0);
    leaflet kept(2);
    CHECK(tx.send(std::move(kept)) == 0);
    CHECK(kept.what() == 2);
    auto late = tx.subscribe();
    CHECK(tx.send(std::move(kept)) == 1);
    CHECK(all_of(late) == order{2, nothing});
}

TEST_CASE(
    "S310: close() and the last sender end the channel after what was sent; the first end "
    "counts") {
    order log;
    auto channel = broadcast::channel<leaflet>(2);
    auto& rx = channel.rx;
    std::optional one(channel.tx);
    std::optional two(std::move(channel.tx));
    stepped w;
    const bool by_drop = GENERATE(true, false);
    one->send(leaflet(1));
    if (by_drop) {
        one.reset();
        auto all = w.spawn(takes_all(rx, log));
        w.settle();
        CHECK(log == order{1});
        CHECK_FALSE(two->is_closed());
        two.reset();
        w.settle();
    } else {
        one->close();
        CHECK(two->is_closed());
        leaflet kept(2);
        CHECK_THROWS_AS(two->send(std::move(kept)), channel_closed);
        CHECK(kept.what() == 2);
        CHECK_FALSE(two->fail(std::make_exception_ptr(std::runtime_error("late"))));
        auto late = two->subscribe();
        CHECK(late.is_at_end());
        CHECK(all_of(late) == order{at_end});
        w.run(takes_all(rx, log));
    }
    CHECK(log == order{1, at_end});
    CHECK(rx.is_at_end());
}

TEST_CASE("S311: a channel that is failed gives what was sent, and then everybody the cause") {
    order log;
    auto [tx, rx] = broadcast::channel<leaflet>(4);
    auto waits = tx.subscribe();
    stepped w;
    auto waiting = w.spawn(takes_all(waits, log));
    w.settle();
    tx.send(leaflet(1));
    CHECK(tx.fail(std::make_exception_ptr(std::runtime_error("the disk is full"))));
    w.settle();
    CHECK(log == order{1, failed});
    CHECK(all_of(rx) == order{1, failed});
    CHECK_THROWS_AS(tx.send(leaflet(2)), poison_error);
    auto why = [](receiver& from) -> std::string {
        try {
            static_cast<void>(from.blocking_recv());
        } catch (const poison_error& error) {
            return error.what();
        }
        return {};
    };
    CHECK(why(rx).find("the disk is full") != std::string::npos);
}

TEST_CASE("S312: a message whose copy fails stays the next one, also when it is replaced") {
    auto [tx, rx] = broadcast::channel<leaflet>(1);
    tx.send(leaflet(1));
    leaflet::copies_that_throw = 2;
    CHECK(tried(rx) == failed);
    tx.send(leaflet(2));
    tx.send(leaflet(3));
    CHECK(rx.size() == 2);
    CHECK(tried(rx) == failed);
    CHECK(all_of(rx) == order{1, missed - 1, 3, nothing});
    CHECK(leaflet::alive == 0);
}

TEST_CASE("S312: a message that cannot be written is not sent, and no other is lost for it") {
    auto [tx, rx] = broadcast::channel<leaflet>(1);
    const leaflet original(2);
    tx.send(leaflet(1));
    leaflet::copies_that_throw = 1;
    CHECK_THROWS_AS(tx.send(original), std::runtime_error);
    leaflet::moves_that_throw = 1;
    leaflet moved(3);
    CHECK_THROWS_AS(tx.send(std::move(moved)), std::runtime_error);
    CHECK(moved.what() == 3);
    tx.close();
    CHECK(all_of(rx) == order{1, at_end});
}

namespace {

/// A message whose copying and moving lets something else happen first.
struct meddler {
    explicit meddler(void (*what)(void*) = nullptr, void* of = nullptr)
        : meddle(what), with(of) {}
    meddler(const meddler& other) : meddle(other.meddle), with(other.with) {
        if (meddle) meddle(with);
    }
    meddler& operator=(const meddler&) = delete;
    ~meddler() = default;
    void (*meddle)(void*);
    void* with;
};

} // namespace

TEST_CASE(
    "S313: closed while a message is written: it is still received, and who waits learns of "
    "the end behind it") {
    const bool throws = GENERATE(false, true);
    struct {
        bool throws;
        std::optional<broadcast::sender<meddler>> tx;
        std::vector<std::string> log;
    } all{throws, {}, {}};
    auto channel = broadcast::channel<meddler>(1);
    all.tx.emplace(std::move(channel.tx));
    stepped w;
    auto waits = [](broadcast::receiver<meddler>& rx, std::vector<std::string>& log) -> task<> {
        auto message = co_await rx.recv();
        log.push_back(message ? "message" : "end");
    };
    auto one = w.spawn(waits(channel.rx, all.log));
    w.settle();
    const meddler closes(
        [](void* of) {
            auto& it = *static_cast<decltype(all)*>(of);
            if (it.tx->is_closed()) return; // it is a receiver's copy
            it.tx->close();
            if (it.throws) throw std::runtime_error("and then fails");
        },
        &all);
    if (throws) {
        CHECK_THROWS_AS(all.tx->send(closes), std::runtime_error);
    } else {
        CHECK(all.tx->send(closes) == 1);
    }
    w.settle();
    CHECK(all.log == std::vector<std::string>{throws ? "end" : "message"});
    CHECK(channel.rx.is_at_end());
}

TEST_CASE("S313: the last receiver goes while a message is written: it is dropped") {
    struct {
        std::optional<broadcast::receiver<meddler>> rx;
    } all;
    auto channel = broadcast::channel<meddler>(1);
    all.rx.emplace(std::move(channel.rx));
    const meddler leaves([](void* of) { static_cast<decltype(all)*>(of)->rx.reset(); }, &all);
    CHECK(channel.tx.send(leaves) == 0);
    auto late = channel.tx.subscribe();
    CHECK(late.size() == 0);
}

TEST_CASE(
    "S314: what is replaced while it is copied stays whole, and memory is found for more") {
    const auto blocks = detail::live_frames();
    struct {
        std::optional<broadcast::sender<meddler>> tx;
        int left;
        std::uint64_t missed;
    } all{{}, 6, 0};
    {
        auto channel = broadcast::channel<meddler>(1);
        all.tx.emplace(std::move(channel.tx));
        auto other = all.tx->subscribe();
        const meddler replaces(
            [](void* of) {
                auto& it = *static_cast<decltype(all)*>(of);
                for (int i = 0; i < 2 && it.left > 0; ++i, --it.left) it.tx->send(meddler());
            },
            &all);
        // The first copy, as it is sent, sends others; so does each of the receivers'.
        CHECK(all.tx->send(replaces) == 2);
        auto drained = [&](broadcast::receiver<meddler>& rx) {
            for (;;) {
                try {
                    if (!rx.try_recv()) break;
                } catch (const broadcast::lagged& error) {
                    all.missed += error.missed();
                }
            }
        };
        drained(channel.rx);
        drained(other);
        CHECK(all.missed > 0);
        CHECK(detail::live_frames() > blocks);
        all.tx.reset();
    }
    CHECK(detail::live_frames() == blocks);
}

TEST_CASE(
    "S315: a waiter that was given a message and is cancelled leaves it to the next recv(), "
    "however many were sent since") {
    order log;
    auto [tx, rx] = broadcast::channel<leaflet>(1);
    stepped w;
    auto one = w.spawn(takes(rx, log));
    w.settle();
    tx.send(leaflet(1)); // the task has it and has not run
    const int more = GENERATE(0, 1, 3);
    for (int i = 2; i <= 1 + more; ++i) tx.send(leaflet(i));
    one.cancel();
    w.settle();
    CHECK(w.end_of(one).is_cancelled());
    CHECK(log == order{});
    order expected{1};
    if (more > 1) expected.push_back(missed - more + 1);
    if (more > 0) expected.push_back(1 + more);
    expected.push_back(nothing);
    CHECK(all_of(rx) == expected);
    CHECK(leaflet::alive == 0);
}

TEST_CASE("S316: receivers are selected from by when_any, whose losers lose nothing") {
    order log;
    auto one = broadcast::channel<leaflet>(2);
    auto two = broadcast::channel<leaflet>(2);
    stepped w;
    auto selects = [](receiver& left, receiver& right, order& to) -> task<> {
        auto first = co_await when_any(left.recv(), right.recv());
        to.push_back(number_of(first.value));
    };
    auto select = w.spawn(selects(one.rx, two.rx, log));
    w.settle();
    two.tx.send(leaflet(2));
    one.tx.send(leaflet(1)); // both are given something before the task runs
    w.settle();
    REQUIRE(log.size() == 1);
    CHECK((log[0] == 1 || log[0] == 2));
    auto& other = log[0] == 1 ? two.rx : one.rx;
    CHECK(tried(other) == 3 - log[0]);
    CHECK(tried(one.rx) == nothing);
    CHECK(tried(two.rx) == nothing);
}

TEST_CASE("S317: recv_for gives up in time, and recv_until; at the tie the message wins") {
    order log;
    auto [tx, rx] = broadcast::channel<leaflet>(1);
    stepped w;
    auto body = [](receiver& from, bool point, std::chrono::steady_clock::time_point when,
                   order& to) -> task<> {
        if (point) {
            auto got = co_await from.recv_until(when);
            to.push_back(number_of(got));
        } else {
            auto got = co_await from.recv_for(10ms);
            to.push_back(number_of(got));
        }
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
    tx.send(leaflet(1));
    w.advance(1h); // given, and then the timer fires before it runs
    CHECK(log == order{at_end, 1});
    auto limited = [](receiver& from, order& to) -> task<> {
        try {
            auto got = co_await with_timeout(5ms, from.recv());
            to.push_back(number_of(got));
        } catch (const timeout_error&) {
            to.push_back(nothing);
        }
    };
    auto three = w.spawn(limited(rx, log));
    w.settle();
    w.advance(5ms);
    CHECK(log == order{at_end, 1, nothing});
    CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
}

TEST_CASE(
    "S318: a second task that waits through a receiver is refused; resubscribe() gives it "
    "one of its own") {
    order log;
    order other;
    auto [tx, rx] = broadcast::channel<leaflet>(2);
    auto own = rx.resubscribe();
    stepped w;
    auto one = w.spawn(takes(rx, log));
    auto two = w.spawn(takes(rx, other));
    auto three = w.spawn(takes(own, other));
    w.settle();
    CHECK(other == order{misused});
    tx.send(leaflet(1));
    w.settle();
    CHECK(log == order{1});
    CHECK(other == order{misused, 1});
    auto again = w.spawn(takes(rx, log)); // the place is free again
    w.settle();
    again.cancel();
    w.settle();
    tx.send(leaflet(2));
    w.run(takes(rx, log));
    CHECK(log == order{1, 2});
}

TEST_CASE("broadcast: a half that was moved from says so, and room for nothing is refused") {
    auto [tx, rx] = broadcast::channel<leaflet>(1);
    auto other = std::move(tx);
    auto moved = std::move(rx);
    CHECK_THROWS_AS(tx.send(leaflet(1)), std::logic_error);
    CHECK_THROWS_AS(rx.try_recv(), std::logic_error);
    CHECK_THROWS_AS(broadcast::channel<int>(0), std::invalid_argument);
    CHECK_THROWS_AS(broadcast::channel<int>(~std::size_t{0} / 4), std::length_error);
    CHECK(other.capacity() == 1);
    other = broadcast::channel<leaflet>(3).tx; // lets go of the channel
    CHECK(other.capacity() == 3);
    CHECK(moved.is_at_end());
}

TEST_CASE("broadcast: a plain thread receives, and a worker is not blocked") {
    auto [tx, rx] = broadcast::channel<leaflet>(4);
    order got;
    std::thread plain([&, from = std::move(rx)]() mutable {
        while (auto message = from.blocking_recv()) got.push_back(message->what());
    });
    {
        runtime here({.workers = 1});
        auto sends = [](broadcast::sender<leaflet> to) -> task<bool> {
            auto own = to.subscribe();
            for (int i = 1; i <= 4; ++i) to.send(leaflet(i));
            bool refused = false;
            for (int i = 1; i <= 4; ++i)
                static_cast<void>(own.blocking_recv()); // no need to wait
            try {
                static_cast<void>(own.blocking_recv());
            } catch (const std::logic_error&) {
                refused = true;
            }
            to.close();
            co_return refused;
        };
        CHECK(here.block_on(sends(std::move(tx))));
    }
    plain.join();
    CHECK(got == order{1, 2, 3, 4});
    CHECK(leaflet::alive == 0);
}

} // namespace toadstone::tests
