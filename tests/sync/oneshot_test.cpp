// oneshot: one message, from any thread, and what each half learns of the other's end.
#include <toadstone/sync/oneshot.hpp>

#include "support/channel_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::channel_closed;
namespace oneshot = sync::oneshot;

/// The message as text, or why there is none.
task<std::string> answer(const oneshot::receiver<parcel>& rx) {
    std::string text;
    try {
        const auto message = co_await rx.recv();
        text = std::to_string(message.what());
    } catch (const std::exception& error) {
        text = error.what();
    }
    co_return text;
}

task<std::string> answer_within(const oneshot::receiver<parcel>& rx,
                                std::chrono::nanoseconds limit) {
    const auto message = co_await rx.recv_for(limit);
    co_return message ? std::to_string(message->what()) : "time is up";
}

task<> wait_until_closed(oneshot::sender<parcel>& tx, order& log) {
    co_await tx.closed();
    log.push_back(1);
}

} // namespace

TEST_CASE("oneshot: what was sent is received, before and after somebody waits for it") {
    const bool waits = GENERATE(true, false);
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    std::optional<join_handle<std::string>> receiving;
    if (waits) {
        receiving.emplace(w.spawn(answer(rx)));
        w.settle();
        CHECK_FALSE(receiving->done());
    }
    CHECK(tx.send(parcel(7)));
    if (!waits) receiving.emplace(w.spawn(answer(rx)));
    CHECK(w.end_of(*receiving).value() == "7");
    CHECK(parcel::alive == 0);
}

TEST_CASE("S227: any thread completes it, and the waiting task goes on at home") {
    auto channel = oneshot::channel<int>();
    runtime here({.workers = 1});
    std::thread callback([tx = std::move(channel.tx)]() mutable {
        if (!tx.send(42)) std::abort();
    });
    auto body = [](oneshot::receiver<int> rx) -> task<int> {
        const int got = co_await rx.recv();
        co_return got;
    };
    CHECK(here.block_on(body(std::move(channel.rx))) == 42);
    callback.join();
}

TEST_CASE("oneshot: a plain thread waits for a task, a worker is not blocked") {
    auto [tx, rx] = oneshot::channel<int>();
    int got = 0;
    std::thread waits([&got, &from = rx] { got = from.blocking_recv(); });
    stepped w;
    auto body = [](oneshot::sender<int> to) -> task<bool> { co_return to.send(5); };
    CHECK(w.run(body(std::move(tx))));
    waits.join();
    CHECK(got == 5);
    auto other = oneshot::channel<int>();
    auto blocks = [](const oneshot::receiver<int>& from) -> task<> {
        static_cast<void>(from.blocking_recv());
        co_return;
    };
    CHECK_THROWS_AS(w.run(blocks(other.rx)), std::logic_error);
}

TEST_CASE("S227: a sender that is dropped tells the receiver, who waits or comes later") {
    const bool waits = GENERATE(true, false);
    auto channel = oneshot::channel<parcel>();
    std::optional tx(std::move(channel.tx));
    stepped w;
    std::optional<join_handle<std::string>> receiving;
    if (waits) {
        receiving.emplace(w.spawn(answer(channel.rx)));
        w.settle();
    }
    tx.reset();
    if (!waits) receiving.emplace(w.spawn(answer(channel.rx)));
    CHECK(w.end_of(*receiving).value() == "the sender is gone and has sent nothing");
    CHECK_THROWS_AS(channel.rx.try_recv(), channel_closed);
}

TEST_CASE("S227: a receiver that goes, or closes, tells the sender, who keeps its message") {
    const bool goes = GENERATE(true, false);
    order log;
    auto channel = oneshot::channel<parcel>();
    std::optional rx(std::move(channel.rx));
    stepped w;
    auto waiting = w.spawn(wait_until_closed(channel.tx, log));
    w.settle();
    CHECK(log == order{});
    CHECK_FALSE(channel.tx.is_closed());
    if (goes) {
        rx.reset();
    } else {
        rx->close();
    }
    w.settle();
    CHECK(log == order{1});
    CHECK(channel.tx.is_closed());
    parcel message(3);
    CHECK_FALSE(channel.tx.send(std::move(message)));
    CHECK(message.what() == 3);
    auto again = w.spawn(wait_until_closed(channel.tx, log));
    w.settle();
    CHECK(log == order{1, 1});
}

TEST_CASE("S227: a receiver that closes still gets what was sent before") {
    auto [tx, rx] = oneshot::channel<parcel>();
    CHECK(tx.send(parcel(3)));
    rx.close();
    CHECK(rx.try_recv()->what() == 3);
    CHECK_THROWS_AS(rx.try_recv(), std::logic_error);
}

TEST_CASE("S227: a receiver that closes while it waits is told that nothing comes") {
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    auto waiting = w.spawn(answer(rx));
    w.settle();
    rx.close();
    CHECK(w.end_of(waiting).value() == "the channel is closed");
}

TEST_CASE("S228: a sender that fails gives the receiver its exception, or the cause") {
    const bool cause = GENERATE(true, false);
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    auto waiting = w.spawn(answer(rx));
    w.settle();
    const auto boom = std::make_exception_ptr(std::runtime_error("boom"));
    if (cause) {
        CHECK(tx.fail(sync::detail::failure_by(boom, std::source_location::current())));
    } else {
        CHECK(tx.fail(boom));
    }
    const std::string text = w.end_of(waiting).value();
    CHECK((cause ? text.find("channel poisoned: ") == 0 : text == "boom"));
    CHECK_THROWS_AS(tx.send(parcel(1)), std::logic_error);
}

TEST_CASE("S228: a message whose move throws is lost by neither half") {
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    auto waiting = w.spawn(answer(rx));
    w.settle();
    parcel message(3);
    parcel::moves_that_throw = 1;
    CHECK_THROWS_AS(tx.send(std::move(message)), std::runtime_error);
    CHECK(message.what() == 3);
    w.settle();
    CHECK_FALSE(waiting.done());
    CHECK(tx.send(std::move(message)));
    parcel::moves_that_throw = 1;
    CHECK(w.end_of(waiting).value() == "it cannot be moved");
    CHECK(rx.try_recv()->what() == 3);
    CHECK(parcel::alive == 1);
}

TEST_CASE("S228: a failed move under a receiver that has closed meanwhile ends its wait") {
    class closes {
    public:
        explicit closes(const oneshot::receiver<closes>*& rx) noexcept : rx_(rx) {}
        closes(closes&& other) : rx_(other.rx_) {
            rx_->close();
            throw std::runtime_error("no");
        }

    private:
        const oneshot::receiver<closes>*& rx_;
    };
    auto [tx, rx] = oneshot::channel<closes>();
    const auto* from = &rx;
    closes message(from);
    CHECK_THROWS_AS(tx.send(std::move(message)), std::runtime_error);
    CHECK_THROWS_AS(rx.try_recv(), channel_closed);
}

TEST_CASE("oneshot: whichever half goes last, the message and the memory go once") {
    const auto frames = detail::live_frames();
    const bool sent = GENERATE(true, false);
    const bool sender_first = GENERATE(true, false);
    {
        auto channel = oneshot::channel<parcel>();
        std::optional tx(std::move(channel.tx));
        std::optional rx(std::move(channel.rx));
        if (sent) CHECK(tx->send(parcel(1)));
        if (sender_first) tx.reset();
        rx.reset();
    }
    CHECK(parcel::alive == 0);
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("oneshot: recv_for gives up in time; the message may still come") {
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    auto waiting = w.spawn(answer_within(rx, 10ms));
    w.settle();
    w.advance(10ms - 1us);
    CHECK_FALSE(waiting.done());
    w.advance(1us);
    CHECK(w.end_of(waiting).value() == "time is up");
    CHECK(tx.send(parcel(2)));
    CHECK(w.run(answer_within(rx, 0ns)) == "2");
}

TEST_CASE("S229: the message of a receiver that is cancelled, at the tie too, stays") {
    const bool tie = GENERATE(true, false);
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    auto waiting = w.spawn(answer(rx));
    w.settle();
    if (tie) CHECK(tx.send(parcel(1)));
    waiting.cancel();
    w.settle();
    CHECK(w.end_of(waiting).is_cancelled());
    if (!tie) CHECK(tx.send(parcel(1)));
    CHECK(w.run(answer(rx)) == "1");
}

TEST_CASE("oneshot: a second task that waits for the same answer is refused") {
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    auto one = w.spawn(answer(rx));
    auto two = w.spawn(answer(rx));
    CHECK(w.end_of(two).value().find("one task at a time") == 0);
    CHECK(tx.send(parcel(1)));
    CHECK(w.end_of(one).value() == "1");
}

TEST_CASE("oneshot: a sender's wait that is cancelled leaves, and it may send") {
    order log;
    auto [tx, rx] = oneshot::channel<parcel>();
    stepped w;
    auto waiting = w.spawn(wait_until_closed(tx, log));
    w.settle();
    waiting.cancel();
    CHECK(w.end_of(waiting).is_cancelled());
    CHECK(tx.send(parcel(1)));
    CHECK(rx.try_recv()->what() == 1);
    CHECK(log == order{});
}

TEST_CASE("oneshot: a half may be assigned, and its old channel is told") {
    auto one = oneshot::channel<parcel>();
    auto two = oneshot::channel<parcel>();
    one.tx = std::move(two.tx);
    CHECK_THROWS_AS(one.rx.try_recv(), channel_closed);
    CHECK(one.tx.send(parcel(2)));
    one.rx = std::move(two.rx);
    CHECK(one.rx.try_recv()->what() == 2);
}

} // namespace toadstone::tests
