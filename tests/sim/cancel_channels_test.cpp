// Channels, cancelled at every await, once and twice, and short of memory at every allocation:
// no message is lost or received twice, and nobody waits for ever.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/cancelled.hpp"
#include "support/explored.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using number = std::unique_ptr<int>;

struct tally {
    int sent = 0;
    int received = 0;
    int missed = 0;
};

task<> sends(sync::mpsc::sender<number> tx, tally& of, int first) {
    for (int i = first; i < first + 2; ++i) {
        auto message = std::make_unique<int>(i);
        const scope_exit counted([&] { of.sent += message ? 0 : 1; });
        try {
            co_await tx.send(std::move(message));
        } catch (const sync::channel_closed&) {
        }
    }
}
task<> sends_by_permit(sync::mpsc::sender<number> tx, tally& of) {
    auto message = std::make_unique<int>(9);
    try {
        auto room = co_await tx.reserve();
        co_await yield_now();
        room.send(std::move(message));
        ++of.sent;
    } catch (const sync::channel_closed&) {
    }
}
task<> receives(const sync::mpsc::receiver<number>& rx, tally& of) {
    for (;;) {
        auto message = co_await rx.recv();
        if (!message) break;
        expect(*message != nullptr, "a message is not whole");
        ++of.received;
    }
}

task<> sent_on(sim::world&) {
    auto channel = sync::mpsc::channel<number>(1);
    auto& rx = channel.rx;
    tally of;
    const auto body = [&](task_scope& scope) -> task<> {
        auto tx = std::move(channel.tx);
        scope.spawn(sends(tx, of, 1), on(0, "one")).detach();
        scope.spawn(sends_by_permit(tx, of), on(1, "permit")).detach();
        scope.spawn(receives(rx, of), on(1, "takes")).detach();
        scope.spawn(receives(rx, of), on(0, "takes")).detach();
        co_await sleep_for(1ms);
        rx.close(); // a sender whose receivers were stopped
    };
    co_await all_of(body);
    rx.close(); // the body may not have come that far
    while (rx.try_recv()) ++of.received;
    expect(of.sent == of.received, "a message is lost, or was received twice");
    expect(rx.is_at_end(), "room is kept by somebody who is gone");
}

task<> answers(sync::oneshot::sender<number> tx, tally& of) {
    auto message = std::make_unique<int>(7);
    co_await yield_now();
    const bool wanted = tx.send(std::move(message));
    expect(wanted == (message == nullptr), "a message that nobody wants is its sender's");
    if (wanted) ++of.sent;
}
task<> is_answered(sync::oneshot::receiver<number>& rx, tally& of) {
    try {
        auto message = co_await rx.recv();
        expect(message != nullptr, "an answer is not whole");
        ++of.received;
    } catch (const sync::channel_closed&) {
    }
}

task<> answered(sim::world&) {
    tally of;
    auto channel = sync::oneshot::channel<number>();
    auto& rx = channel.rx;
    const auto body = [&](task_scope& scope) -> task<> {
        auto tx = std::move(channel.tx);
        scope.spawn(is_answered(rx, of), on(0, "asks")).detach();
        scope.spawn(answers(std::move(tx), of), on(1, "answers")).detach();
        co_return;
    };
    try {
        co_await all_of(body);
        if (of.received == 0 && rx.try_recv()) ++of.received;
    } catch (const sync::channel_closed&) {
    }
    expect(of.sent == of.received, "the answer is lost");
}

task<> tells(sync::broadcast::sender<int> tx, tally& of) {
    for (int i = 1; i <= 3; ++i) {
        const auto wanted = tx.send(i);
        expect(wanted == 2, "receivers that are there are counted");
        ++of.sent;
        co_await yield_now();
    }
}
task<> hears(sync::broadcast::receiver<int>& rx, tally& of) {
    for (;;) {
        try {
            auto message = co_await rx.recv();
            if (!message) break;
            ++of.received;
        } catch (const sync::broadcast::lagged& error) {
            of.missed += static_cast<int>(error.missed());
        }
        co_await yield_now();
    }
}
/// What is still there for a receiver whose task was stopped.
void hear_the_rest(sync::broadcast::receiver<int>& rx, tally& of) {
    while (!rx.is_at_end()) {
        try {
            if (rx.try_recv()) ++of.received;
        } catch (const sync::broadcast::lagged& error) {
            of.missed += static_cast<int>(error.missed());
        } catch (const std::bad_alloc&) { // for the telling; it is told again
        }
    }
}

task<> told(sim::world&) {
    auto channel = sync::broadcast::channel<int>(1);
    auto one = std::move(channel.rx);
    auto two = channel.tx.subscribe();
    tally of_all;
    tally of_one;
    tally of_two;
    const auto body = [&](task_scope& scope) -> task<> {
        auto tx = std::move(channel.tx);
        scope.spawn(hears(one, of_one), on(0, "hears")).detach();
        scope.spawn(hears(two, of_two), on(1, "hears")).detach();
        scope.spawn(tells(std::move(tx), of_all), on(0, "tells")).detach();
        co_return;
    };
    co_await all_of(body);
    {
        const auto last = std::move(channel.tx);
    } // if the body did not take it
    hear_the_rest(one, of_one);
    hear_the_rest(two, of_two);
    expect(of_one.received + of_one.missed == of_all.sent, "the first has lost something");
    expect(of_two.received + of_two.missed == of_all.sent, "the second has lost something");
}

struct both {
    int left = 0;
    int right = 0;
};
task<> counts(sync::watch::sender<both> tx, int& changes) {
    for (int i = 0; i < 2; ++i) {
        tx.send_modify([](both& value) {
            ++value.left;
            const std::unique_ptr<int> needed = std::make_unique<int>(value.left); // or none
            ++value.right;
        });
        ++changes;
        co_await yield_now();
    }
}
task<> follows(sync::watch::receiver<both>& rx, int& last) {
    for (;;) {
        const bool more = co_await rx.changed();
        if (!more) break;
        const both seen = rx.get_and_update();
        expect(seen.left == seen.right, "a value is half-changed");
        expect(seen.left >= last, "an old value came back");
        last = seen.left;
    }
}
task<> waits_for_three(sync::watch::receiver<both>& rx) {
    const auto three = [](const both& value) { return value.left >= 3; };
    try {
        const both seen = co_await rx.wait_for(three);
        expect(seen.left >= 3, "it has waited for something else");
    } catch (const sync::channel_closed&) {
    }
}

task<> watched(sim::world&) {
    auto channel = sync::watch::channel(both{});
    auto one = std::move(channel.rx);
    auto two = one;
    int changes = 0;
    int last = 0;
    const auto body = [&](task_scope& scope) -> task<> {
        auto tx = std::move(channel.tx);
        scope.spawn(follows(one, last), on(0, "follows")).detach();
        scope.spawn(waits_for_three(two), on(1, "waits")).detach();
        scope.spawn(counts(tx, changes), on(0, "counts")).detach();
        scope.spawn(counts(tx, changes), on(1, "counts")).detach();
        co_return;
    };
    co_await all_of(body);
    const both value = one.get();
    expect(value.left == changes && value.right == changes, "a change is lost, or half there");
    expect(one.has_changed() || last == changes, "a change was seen by nobody");
}

} // namespace

TEST_CASE("S333: a channel with senders, a permit and receivers, stopped at every await") {
    cancelled_everywhere(sent_on, 8);
}
TEST_CASE("S333: a oneshot, stopped at every await") {
    cancelled_everywhere(answered, 2);
}
TEST_CASE("S333: a broadcast, stopped at every await") {
    cancelled_everywhere(told, 6);
}
TEST_CASE("S333: a watch, stopped at every await") {
    cancelled_everywhere(watched, 6);
}

} // namespace toadstone::tests
