// A broadcast: whoever follows the prices gets each of them, and the feed waits for nobody. Who
// comes too late for some is told how many, and goes on with the oldest that are kept.
//
//     $ price_feed
//     quick: 100
//     quick: 101
//     quick: 102
//     quick: 103
//     quick: 104
//     quick: 105
//     quick: the end
//     slow: missed 2
//     slow: 102
//     slow: 103
//     slow: 104
//     slow: 105
//     slow: the end
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <cinttypes>
#include <cstdio>
#include <utility>

namespace {

using namespace toadstone;
namespace broadcast = sync::broadcast;

// When it returns, its sender goes, and with it the channel's last.
task<> publish(broadcast::sender<int> to) {
    for (int price = 100; price < 106; ++price) {
        to.send(price);
        co_await yield_now();
    }
}

task<> follow(const char* name, broadcast::receiver<int> prices) {
    for (;;) {
        try {
            const auto price = co_await prices.recv();
            if (!price) break;
            std::printf("%s: %d\n", name, *price);
        } catch (const broadcast::lagged& behind) {
            std::printf("%s: missed %" PRIu64 "\n", name, behind.missed());
        }
    }
    std::printf("%s: the end\n", name);
}

task<> follow_late(broadcast::receiver<int> prices, sync::manual_reset_event& begin) {
    co_await begin.wait();
    co_await follow("slow", std::move(prices));
}

task<> everything() {
    sync::manual_reset_event begin;
    auto feed = broadcast::channel<int>(4); // so many are kept for who is slow
    auto slow = spawn(follow_late(feed.tx.subscribe(), begin));
    auto quick = spawn(follow("quick", std::move(feed.rx)));
    co_await publish(std::move(feed.tx));
    co_await quick;
    begin.set();
    co_await slow;
}

} // namespace

int main() {
    run(everything());
}
