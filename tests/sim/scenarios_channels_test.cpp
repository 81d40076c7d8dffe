// Channels under exploration: senders and receivers of three workers, some of them cancelled,
// in every schedule with few departures from the tame one.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/explored.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using numbers = std::vector<int>;
using number = std::unique_ptr<int>;

task<> posts(sync::mpsc::sender<number> tx, int first, int count) {
    for (int i = first; i < first + count; ++i) {
        auto message = std::make_unique<int>(i);
        co_await tx.send(std::move(message));
    }
}
task<> takes_one(const sync::mpsc::receiver<number>& rx, numbers& got) {
    auto message = co_await rx.recv();
    if (message) got.push_back(**message);
}
task<> takes_rest(const sync::mpsc::receiver<number>& rx, numbers& got) {
    for (;;) {
        auto message = co_await rx.recv();
        if (!message) break;
        got.push_back(**message);
    }
}

/// Two send through a channel for one; a receiver is cancelled, another takes the rest.
task<> through_mpsc(sim::world& world, sightings& seen) {
    auto channel = sync::mpsc::channel<number>(1);
    auto& rx = channel.rx;
    numbers got;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(takes_one(rx, got), on(2, "victim"));
        scope.spawn(posts(channel.tx, 1, 2), on(0, "sends")).detach();
        scope.spawn(posts(std::move(channel.tx), 11, 1), on(1, "sends")).detach();
        co_await some_turns(world, 2);
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(end.has_value() == !got.empty(), "a receiver that was stopped has a message");
        seen.note(end.has_value() ? "received first" : "stopped first");
        co_await takes_rest(rx, got);
    };
    co_await with_scope(body);
    expect(rx.is_at_end(), "the end of a channel is not where its last sender has left it");
    const auto one = std::find(got.begin(), got.end(), 1);
    expect(std::find(one, got.end(), 2) != got.end(), "a sender's order is not kept");
    std::sort(got.begin(), got.end());
    expect(got == numbers{1, 2, 11}, "a message is lost, or was received twice");
}

task<> waits_for_room(sync::mpsc::sender<number> tx, bool& was_sent) {
    auto message = std::make_unique<int>(2);
    const scope_exit looks([&] { was_sent = message == nullptr; });
    try {
        co_await tx.send(std::move(message));
    } catch (const sync::channel_closed&) {
    }
}

/// A sender that waits for room is cancelled while the room comes, and while the channel is
/// closed.
task<> room_in_mpsc(sim::world& world, sightings& seen) {
    auto channel = sync::mpsc::channel<number>(1);
    auto& rx = channel.rx;
    numbers got;
    bool was_sent = false;
    bool behind = false;
    const auto body = [&](task_scope& scope) -> task<> {
        expect(channel.tx.try_send(std::make_unique<int>(1)), "a new channel has room");
        auto victim = scope.spawn(waits_for_room(channel.tx, was_sent), on(0, "victim"));
        scope.spawn(waits_for_room(std::move(channel.tx), behind), on(1, "behind")).detach();
        const bool closes = pick(world, 2) == 1;
        if (closes) {
            co_await some_turns(world, 1);
            rx.close();
        } else {
            scope.spawn(takes_rest(rx, got), on(2, "takes")).detach();
        }
        co_await some_turns(world, 2);
        victim.cancel();
        auto end = co_await victim.outcome();
        expect(!was_sent || !end.is_cancelled(), "what was sent is not its sender's any more");
        if (end.is_cancelled()) seen.note(closes ? "stopped, then closed" : "stopped");
        if (was_sent) seen.note("sent");
        if (closes) co_await takes_rest(rx, got);
    };
    co_await with_scope(body);
    const std::size_t all = std::size_t{1} + (was_sent ? 1 : 0) + (behind ? 1 : 0);
    expect(got.size() == all, "what was sent and what was received are not the same");
}

task<> replies(sync::oneshot::sender<number> tx, bool drops, bool& was_sent) {
    auto message = std::make_unique<int>(5);
    co_await yield_now();
    if (drops) co_return;
    was_sent = tx.send(std::move(message));
    expect(was_sent == (message == nullptr), "who could not send has lost the message");
}
task<> asks(sync::oneshot::receiver<number>& rx, int& got) {
    try {
        auto message = co_await rx.recv();
        got += *message;
    } catch (const sync::channel_closed&) {
        got = -1;
    }
}

/// The receiver of an answer is cancelled, closes, or takes it after all.
task<> through_oneshot(sim::world& world, sightings& seen) {
    auto channel = sync::oneshot::channel<number>();
    auto& rx = channel.rx;
    int got = 0;
    bool was_sent = false;
    const auto body = [&](task_scope& scope) -> task<> {
        auto victim = scope.spawn(asks(rx, got), on(0, "asks"));
        const bool drops = pick(world, 2) == 1;
        scope.spawn(replies(std::move(channel.tx), drops, was_sent), on(1, "replies")).detach();
        co_await some_turns(world, 3);
        victim.cancel();
        auto end = co_await victim.outcome();
        if (!end.is_cancelled()) {
            seen.note(drops ? "told of the drop" : "answered");
            co_return;
        }
        expect(got == 0, "an answer was torn out of a receiver's hands");
        if (pick(world, 2) == 1) rx.close();
        co_await asks(rx, got); // whether it was sent or not, it ends
        seen.note(drops ? "asked again, for nothing" : "asked again");
    };
    co_await with_scope(body);
    expect(got == (was_sent ? 5 : -1), "an answer is lost, or was made up");
}

struct hearing {
    numbers got;
    int missed = 0;
    [[nodiscard]] bool is_whole(int sent) const {
        return std::is_sorted(got.begin(), got.end()) &&
               static_cast<int>(got.size()) + missed == sent;
    }
};
task<> tells_three(sync::broadcast::sender<int> tx) {
    for (int i = 1; i <= 3; ++i) {
        expect(tx.send(i) == 2, "both receivers are there");
        co_await yield_now();
    }
}
task<> hears_all(sync::broadcast::receiver<int>& rx, hearing& to) {
    for (;;) {
        try {
            auto message = co_await rx.recv();
            if (!message) break;
            to.got.push_back(*message);
        } catch (const sync::broadcast::lagged& error) {
            to.missed += static_cast<int>(error.missed());
        }
    }
}

/// One hears all; another is cancelled somewhere, and goes on.
task<> through_broadcast(sim::world& world, sightings& seen) {
    auto channel = sync::broadcast::channel<int>(1);
    auto one = std::move(channel.rx);
    auto two = channel.tx.subscribe();
    hearing first;
    hearing second;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(hears_all(one, first), on(1, "hears")).detach();
        auto victim = scope.spawn(hears_all(two, second), on(2, "victim"));
        scope.spawn(tells_three(std::move(channel.tx)), on(0, "tells")).detach();
        co_await some_turns(world, 8);
        victim.cancel();
        auto end = co_await victim.outcome();
        if (end.is_cancelled() && !second.got.empty()) seen.note("stopped in the middle");
        if (end.is_cancelled() && second.got.empty()) seen.note("stopped before");
        if (!end.is_cancelled()) seen.note("heard all");
        co_await hears_all(two, second);
    };
    co_await with_scope(body);
    expect(first.is_whole(3), "the one that was left alone has lost something");
    expect(second.is_whole(3), "the one that was stopped has lost something");
    if (first.missed > 0) seen.note("missed");
    if (first.missed == 0) seen.note("missed nothing");
    expect(one.is_at_end() && two.is_at_end(), "it does not end behind the last message");
}

struct both {
    int left = 0;
    int right = 0;
};
task<> counts_two(sync::watch::sender<both> tx) {
    for (int i = 0; i < 2; ++i) {
        tx.send_modify([](both& value) {
            ++value.left;
            ++value.right;
        });
        co_await yield_now();
    }
}
task<> follows_all(sync::watch::receiver<both>& rx, numbers& got) {
    for (;;) {
        const bool more = co_await rx.changed();
        if (!more) break;
        const both now = rx.get_and_update();
        expect(now.left == now.right, "a value is half-changed");
        got.push_back(now.left);
    }
}
task<> waits_for_last(sync::watch::receiver<both> rx, bool& there) {
    const auto last = [](const both& value) { return value.left == 3; };
    try {
        const both now = co_await rx.wait_for(last);
        there = now.right == 3;
    } catch (const sync::channel_closed&) {
    }
}

/// Two change a value; one who follows is cancelled and goes on, one waits for the last value.
task<> through_watch(sim::world& world, sightings& seen) {
    auto channel = sync::watch::channel(both{});
    auto rx = std::move(channel.rx);
    numbers got;
    bool there = false;
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(waits_for_last(rx, there), on(1, "waits")).detach();
        auto victim = scope.spawn(follows_all(rx, got), on(2, "victim"));
        scope.spawn(counts_two(channel.tx), on(0, "counts")).detach();
        co_await some_turns(world, 2);
        channel.tx.send(both{1, 1});
        {
            const auto last = std::move(channel.tx);
        }
        victim.cancel();
        auto end = co_await victim.outcome();
        if (end.is_cancelled()) seen.note(got.empty() ? "stopped before" : "stopped between");
        co_await follows_all(rx, got);
    };
    co_await with_scope(body);
    expect(rx.is_at_end(), "it does not end behind the last value");
    expect(!got.empty() && got.back() == rx.get().left, "the last value was not seen");
    expect(there == (rx.get().left == 3), "who waits for a value has not seen the last one");
    seen.note(there ? "it came" : "it did not come");
}

} // namespace

TEST_CASE("S334: mpsc: messages come once, in each sender's order, whoever is stopped") {
    explored(schedules(every), through_mpsc, {"received first", "stopped first"});
}
TEST_CASE("S334: mpsc: a sender is stopped as it gets room, or as the channel closes") {
    explored(schedules(every), room_in_mpsc, {"stopped", "stopped, then closed", "sent"});
}
TEST_CASE("S334: oneshot: an answer is received, or still there, or never sent") {
    explored(schedules(every), through_oneshot,
             {"answered", "told of the drop", "asked again", "asked again, for nothing"});
}
TEST_CASE("S335: broadcast: what is received and what is missed is what was sent") {
    explored(
        schedules(4), through_broadcast,
        {"stopped in the middle", "stopped before", "heard all", "missed", "missed nothing"});
}
TEST_CASE(
    "S335: watch: the last value is seen, none is half-changed, the end comes behind it") {
    explored(schedules(6), through_watch,
             {"stopped before", "stopped between", "it came", "it did not come"});
}

} // namespace toadstone::tests
