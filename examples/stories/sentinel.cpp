// A state of the data's own in the place of poison: an operation that is being changed is
// `moving`, and whoever has the lock and finds one so knows that its change was interrupted.
//
// Shows: the policy release with a sentinel. One entry is out of use and the others are not,
// where poison would have closed the whole map; everybody who reads has to look for the
// sentinel, where poison would have told him; and it knows neither who left nor why nor where.
//
//     $ sentinel
//     operation 2: cancelled
//     poisoned: no
//     operation 1: done
//     operation 2: was interrupted, nobody knows by whom
//     operation 3: queued
//     swept: 1
//     operation 2: done
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <map>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

enum class state { queued, moving, done };
using operations = std::map<int, state>;
using store = sync::mutex<operations, sync::on_cancel::release, sync::on_exception::release>;

const char* text_of(state of) {
    switch (of) {
    case state::queued:
        return "queued";
    case state::moving: // whoever moves it has the lock, which is ours now
        return "was interrupted, nobody knows by whom";
    case state::done:
        return "done";
    }
    return "";
}

task<> advance(store& all, int id, std::chrono::milliseconds takes) {
    auto held = co_await all.lock();
    state& one = held->at(id);
    one = state::moving; // before the first change; what it was is known: queued
    co_await sleep_for(takes);
    one = state::done; // after the last one
}

/// Makes what was interrupted as it was before. Returns: how many there were.
task<int> sweep(store& all) {
    auto held = co_await all.lock();
    int swept = 0;
    for (auto& [id, one] : *held) {
        if (one != state::moving) continue;
        one = state::queued;
        ++swept;
    }
    co_return swept;
}

task<> show(store& all, int first, int last) {
    const auto held = co_await all.lock();
    for (int id = first; id <= last; ++id) {
        std::printf("operation %d: %s\n", id, text_of(held->at(id)));
    }
}

task<> story(store& all) {
    auto slow = spawn(advance(all, 2, 1h), {.name = "slow"});
    co_await sleep_for(5ms);
    slow.cancel(cancel_reason::timeout);
    const outcome<> end = co_await slow.outcome();
    std::printf("operation 2: %s\n", end.is_cancelled() ? "cancelled" : "not cancelled");
    std::printf("poisoned: %s\n", all.is_poisoned() ? "yes" : "no");

    co_await advance(all, 1, 1ms); // as if nothing had happened
    co_await show(all, 1, 3);

    const int swept = co_await sweep(all);
    std::printf("swept: %d\n", swept);
    co_await advance(all, 2, 1ms);
    co_await show(all, 2, 2);
}

} // namespace

int main() {
    store all({{1, state::queued}, {2, state::queued}, {3, state::queued}}, "operations");
    return run(story(all));
}
