// watch: which version is seen by whom, changes that fail, and how the channel ends.
#include <toadstone/sync/watch.hpp>

#include <toadstone/runtime.hpp>

#include "support/copied.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
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
namespace watch = sync::watch;
using receiver = watch::receiver<leaflet>;

constexpr int at_end = 0;
constexpr int failed = -999;
constexpr int misused = -998;

/// Follows the value: notes each that it comes to see.
task<> sees(receiver& rx, order& log) {
    int end = at_end;
    try {
        const bool more = co_await rx.changed();
        if (more) end = rx.get().what();
    } catch (const poison_error&) {
        end = failed;
    }
    log.push_back(end);
}
task<> follows(receiver& rx, order& log) {
    do {
        co_await sees(rx, log);
    } while (log.back() != at_end && log.back() != failed);
}

bool is_at_least(const leaflet& value, int least) {
    return value.what() >= least;
}
task<> waits_for(receiver& rx, int least, order& log) {
    const auto enough = [least](const leaflet& value) { return is_at_least(value, least); };
    int end = failed;
    try {
        const leaflet right = co_await rx.wait_for(enough);
        end = right.what();
    } catch (const channel_closed&) {
        end = at_end;
    } catch (const poison_error&) {
    } catch (const std::logic_error&) {
        end = misused;
    }
    log.push_back(end);
}

} // namespace

TEST_CASE("S319: the newest value is seen, once, by each receiver; those between are not") {
    order log;
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    auto other = rx;
    stepped w;
    auto all = w.spawn(follows(rx, log));
    w.settle();
    CHECK(log == order{}); // the first value counts as seen
    tx.send(leaflet(2));
    w.settle();
    tx.send(leaflet(3));
    tx.send(leaflet(4)); // nothing has run in between
    w.settle();
    CHECK(log == order{2, 4});
    CHECK(other.has_changed());
    CHECK(other.get().what() == 4);
    CHECK(other.has_changed()); // a look is not yet seeing
    CHECK(other.get_and_update().what() == 4);
    CHECK_FALSE(other.has_changed());
    CHECK_FALSE(tx.subscribe().has_changed());
    CHECK(leaflet::alive == 1);
}

TEST_CASE(
    "S319: what is there may be marked as seen or unseen; a copy has seen what its original "
    "has") {
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    rx.mark_changed();
    CHECK(rx.has_changed());
    const auto copy = rx;
    rx.mark_unchanged();
    CHECK_FALSE(rx.has_changed());
    CHECK(copy.has_changed());
    CHECK(tx.receivers() == 2);
    rx = copy;
    CHECK(rx.blocking_changed());
    CHECK_FALSE(rx.has_changed());
}

TEST_CASE("S320: close() and the last sender end it behind the last value, which stays") {
    order log;
    order late;
    auto channel = watch::channel<leaflet>(leaflet(1));
    auto& rx = channel.rx;
    std::optional one(channel.tx);
    std::optional two(std::move(channel.tx));
    auto other = rx;
    stepped w;
    auto all = w.spawn(follows(rx, log));
    w.settle();
    two->send(leaflet(2));
    two.reset();
    w.settle();
    CHECK(log == order{2});
    const bool by_drop = GENERATE(true, false);
    if (by_drop) {
        one.reset();
    } else {
        one->close();
        leaflet kept(3);
        CHECK_THROWS_AS(one->send(std::move(kept)), channel_closed);
        CHECK(kept.what() == 3);
        CHECK_THROWS_AS(one->send_modify([](leaflet&) {}), channel_closed);
        CHECK_FALSE(one->fail(std::make_exception_ptr(std::runtime_error("late"))));
    }
    w.settle();
    CHECK(log == order{2, at_end});
    CHECK(rx.is_at_end());
    CHECK_FALSE(other.is_at_end()); // it has not seen the last one
    w.run(follows(other, late));
    CHECK(late == order{2, at_end});
    CHECK(rx.get().what() == 2);
}

TEST_CASE(
    "S321: a watch that is failed tells the cause to who waits and who sends; the value can "
    "be read") {
    order log;
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    auto other = rx;
    stepped w;
    auto all = w.spawn(follows(rx, log));
    auto some = w.spawn(waits_for(other, 9, log));
    w.settle();
    CHECK(tx.fail(std::make_exception_ptr(std::runtime_error("the source is gone"))));
    w.settle();
    CHECK(log == order{failed, failed});
    CHECK_THROWS_AS(tx.send(leaflet(2)), poison_error);
    CHECK_THROWS_AS(rx.blocking_changed(), poison_error);
    try {
        tx.send_modify([](leaflet&) {});
        FAIL("it was failed");
    } catch (const poison_error& error) {
        CHECK(std::string(error.what()).find("the source is gone") != std::string::npos);
    }
    CHECK(rx.get().what() == 1);
}

TEST_CASE(
    "S322: a change that throws has not happened: nobody sees it half, and nobody is told") {
    order log;
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    stepped w;
    auto all = w.spawn(follows(rx, log));
    w.settle();
    CHECK_THROWS_AS(tx.send_modify([](leaflet& value) {
        value.become(99);
        throw std::runtime_error("half-way");
    }),
                    std::runtime_error);
    leaflet::copies_that_throw = 1;
    CHECK_THROWS_AS(tx.send_modify([](leaflet& value) { value.become(98); }),
                    std::runtime_error);
    leaflet unmoved(97);
    leaflet::moves_that_throw = 1;
    CHECK_THROWS_AS(tx.send(std::move(unmoved)), std::runtime_error);
    CHECK(unmoved.what() == 97);
    w.settle();
    CHECK(log == order{});
    CHECK(rx.get().what() == 1);
    tx.send_modify([](leaflet& value) { value.become(value.what() + 1); }); // and goes on
    w.settle();
    CHECK(log == order{2});
}

TEST_CASE("S322: send_if_modified() publishes what is said to be modified, and nothing else") {
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    CHECK_FALSE(tx.send_if_modified([](leaflet& value) {
        value.become(5);
        return false;
    }));
    CHECK_FALSE(rx.has_changed());
    CHECK(rx.get().what() == 1);
    CHECK(tx.send_if_modified([](leaflet& value) {
        value.become(6);
        return true;
    }));
    CHECK(rx.has_changed());
    CHECK(rx.get().what() == 6);
    CHECK(leaflet::alive == 1);
}

TEST_CASE(
    "S323: a value that is being read stays whole while others are sent, and no lock is held") {
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    const int seen = rx.read([&tx = tx](const leaflet& value) {
        tx.send(leaflet(2));
        tx.send_modify([](leaflet& one) { one.become(one.what() + 1); });
        return value.what();
    });
    CHECK(seen == 1);
    CHECK(tx.get().what() == 3);
    CHECK(leaflet::alive == 1);
}

TEST_CASE("S323: a change inside a change is refused, and the outer one is what happens") {
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    bool refused = false;
    tx.send_modify([&tx = tx, &refused](leaflet& value) {
        value.become(tx.get().what() + 1); // looking is allowed
        try {
            tx.send(leaflet(9));
        } catch (const std::logic_error&) {
            refused = true;
        }
    });
    CHECK(refused);
    CHECK(rx.get().what() == 2);
    auto other = watch::channel<leaflet>(leaflet(1));
    tx.send_modify([&](leaflet&) { other.tx.send(leaflet(7)); }); // another watch is another
    CHECK(other.rx.get().what() == 7);
}

TEST_CASE(
    "S324: closed in the middle of a change: that is still published, or has not happened, "
    "and then it is the end") {
    const bool throws = GENERATE(false, true);
    order log;
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    stepped w;
    auto all = w.spawn(follows(rx, log));
    w.settle();
    const auto closes = [&, &to = tx](leaflet& value) {
        value.become(2);
        to.close();
        w.settle();
        CHECK(log == order{}); // not yet
        if (throws) throw std::runtime_error("half-way");
    };
    if (throws) {
        CHECK_THROWS_AS(tx.send_modify(closes), std::runtime_error);
    } else {
        tx.send_modify(closes);
    }
    w.settle();
    CHECK(log == (throws ? order{at_end} : order{2, at_end}));
}

TEST_CASE(
    "S325: wait_for() returns the value that the predicate holds of, at once if it is there") {
    order log;
    auto [tx, rx] = watch::channel<leaflet>(leaflet(5));
    auto other = rx;
    stepped w;
    w.run(waits_for(rx, 5, log)); // seen before, and right all the same
    auto one = w.spawn(waits_for(rx, 7, log));
    auto two = w.spawn(waits_for(other, 9, log));
    w.settle();
    CHECK(log == order{5});
    tx.send(leaflet(6));
    w.settle();
    tx.send(leaflet(7));
    w.settle();
    CHECK(log == order{5, 7});
    CHECK_FALSE(rx.has_changed());
    tx.close();
    w.settle();
    CHECK(log == order{5, 7, at_end});
    CHECK_THROWS_AS(rx.blocking_wait_for([](const leaflet&) { return false; }), channel_closed);
}

TEST_CASE("S325: a predicate, or a copy, that throws reaches who waits, and has seen nothing") {
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    stepped w;
    tx.send(leaflet(2));
    const auto throws = [](const leaflet& value) -> bool {
        if (value.what() == 2) throw std::runtime_error("of two it says nothing");
        return true;
    };
    CHECK_THROWS_AS(rx.blocking_wait_for(throws), std::runtime_error);
    CHECK(rx.has_changed());
    leaflet::copies_that_throw = 1;
    CHECK_THROWS_AS(rx.get_and_update(), std::runtime_error);
    CHECK(rx.has_changed());
    tx.send(leaflet(3));
    CHECK(rx.blocking_wait_for(throws).what() == 3);
    CHECK_FALSE(rx.has_changed()); // it has been looked at
}

TEST_CASE("S325: the same of a value that was waited for, by a task and by a thread") {
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    std::atomic<bool> looked{false};
    const auto throws = [&looked](const leaflet& value) -> bool {
        if (value.what() == 2) throw std::runtime_error("of two it says nothing");
        looked = true;
        return false;
    };
    const bool on_thread = GENERATE(true, false);
    bool thrown = false;
    stepped w;
    if (on_thread) {
        std::thread waits([&, &rx = rx] {
            try {
                static_cast<void>(rx.blocking_wait_for(throws));
            } catch (const std::runtime_error&) {
                thrown = true;
            }
        });
        while (!looked) std::this_thread::yield();
        tx.send(leaflet(2));
        waits.join();
    } else {
        auto waits = w.spawn(rx.wait_for(throws));
        w.settle();
        tx.send(leaflet(2));
        w.settle();
        thrown = w.end_of(waits).has_exception();
    }
    CHECK(thrown);
    CHECK(rx.has_changed());
}

TEST_CASE("S326: who waits and is cancelled, at the tie too, has seen nothing") {
    order log;
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    stepped w;
    auto one = w.spawn(sees(rx, log));
    w.settle();
    const bool at_the_tie = GENERATE(true, false);
    if (at_the_tie) tx.send(leaflet(2)); // the task has been told and has not run
    one.cancel();
    w.settle();
    CHECK(w.end_of(one).is_cancelled());
    CHECK(rx.has_changed() == at_the_tie);
    tx.send(leaflet(3));
    w.run(sees(rx, log));
    CHECK(log == order{3});
    auto waits = w.spawn(waits_for(rx, 9, log));
    w.settle();
    waits.cancel();
    w.settle();
    CHECK(w.end_of(waits).is_cancelled());
    CHECK(leaflet::alive == 1);
}

TEST_CASE(
    "S326: watches are selected from by when_any; the loser's change is told to the next") {
    auto one = watch::channel<leaflet>(leaflet(1));
    auto two = watch::channel<leaflet>(leaflet(1));
    std::optional<std::size_t> winner;
    stepped w;
    auto selects = [](receiver& left, receiver& right,
                      std::optional<std::size_t>& to) -> task<> {
        auto first = co_await when_any(left.changed(), right.changed());
        to = first.index;
    };
    auto select = w.spawn(selects(one.rx, two.rx, winner));
    w.settle();
    one.tx.send(leaflet(2));
    two.tx.send(leaflet(2));
    w.settle();
    REQUIRE(winner.has_value());
    CHECK(one.rx.has_changed() == (*winner == 1));
    CHECK(two.rx.has_changed() == (*winner == 0));
}

TEST_CASE("S327: changed_for gives up in time, and changed_until; at the tie the change wins") {
    std::vector<bool> log;
    auto [tx, rx] = watch::channel<leaflet>(leaflet(1));
    stepped w;
    auto body = [](receiver& at, bool point, std::chrono::steady_clock::time_point when,
                   std::vector<bool>& to) -> task<> {
        if (point) {
            const bool more = co_await at.changed_until(when);
            to.push_back(more);
        } else {
            const bool more = co_await at.changed_for(10ms);
            to.push_back(more);
        }
    };
    const bool point = GENERATE(true, false);
    const auto limit = w.kernel().now() + 10ms;
    auto one = w.spawn(body(rx, point, limit, log));
    w.settle();
    w.advance(10ms - 1us);
    CHECK(log.empty());
    w.advance(1us);
    CHECK(log == std::vector<bool>{false});
    CHECK_FALSE(rx.is_at_end());
    auto two = w.spawn(body(rx, point, limit + 10ms, log));
    w.settle();
    tx.send(leaflet(2));
    w.advance(1h);
    CHECK(log == std::vector<bool>{false, true});
    CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
    order limited;
    auto with_limit = [](receiver& at, order& to) -> task<> {
        const auto large = [](const leaflet& value) { return is_at_least(value, 9); };
        try {
            const leaflet right = co_await with_timeout(5ms, at.wait_for(large));
            to.push_back(right.what());
        } catch (const timeout_error&) {
            to.push_back(failed);
        }
    };
    auto three = w.spawn(with_limit(rx, limited));
    w.settle();
    w.advance(5ms);
    CHECK(limited == order{failed});
}

TEST_CASE("watch: values that can only be moved are sent and read") {
    auto [tx, rx] = watch::channel<std::unique_ptr<int>>(std::make_unique<int>(1));
    tx.send(std::make_unique<int>(2));
    CHECK(rx.has_changed());
    CHECK(rx.read([](const std::unique_ptr<int>& value) { return *value; }) == 2);
}

TEST_CASE("watch: a half that was moved from says so, and may be assigned") {
    auto one = watch::channel<leaflet>(leaflet(1));
    auto two = watch::channel<leaflet>(leaflet(2));
    auto tx = std::move(one.tx);
    auto rx = std::move(one.rx);
    CHECK_THROWS_AS(one.tx.send(leaflet(1)), std::logic_error);
    CHECK_THROWS_AS(one.rx.get(), std::logic_error);
    tx = two.tx;
    CHECK(rx.is_at_end()); // its last sender is gone
    rx = std::move(two.rx);
    CHECK(rx.get().what() == 2);
    CHECK(leaflet::alive == 1);
    CHECK(tx.receivers() == 1);
}

TEST_CASE("watch: a plain thread follows, and a worker is not blocked") {
    auto [tx, rx] = watch::channel<leaflet>(leaflet(0));
    int last = 0;
    int right = 0;
    std::thread plain([&, at = rx]() mutable {
        right =
            at.blocking_wait_for([](const leaflet& value) { return value.what() >= 3; }).what();
        while (at.blocking_changed()) last = at.get().what();
    });
    {
        runtime here({.workers = 1});
        auto sends = [](watch::sender<leaflet> to) -> task<bool> {
            auto own = to.subscribe();
            bool refused = false;
            try {
                static_cast<void>(own.blocking_changed());
            } catch (const std::logic_error&) {
                refused = true;
            }
            for (int i = 1; i <= 5; ++i) {
                to.send_modify([i](leaflet& value) { value.become(i); });
                co_await yield_now();
            }
            co_return refused&& own.blocking_changed();
        };
        CHECK(here.block_on(sends(std::move(tx))));
    }
    plain.join();
    CHECK(right >= 3);
    CHECK((last == 5 || right == 5));
    CHECK(leaflet::alive == 1);
}

} // namespace toadstone::tests
