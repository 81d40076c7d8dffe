// Every lock, permit and event of toadstone::sync, a few lines each.
//
// Shows: shared_mutex with upgradable reading, local_mutex, condition_variable, semaphore, both
// events, latch, barrier, once_cell, lock_all, lock_owned, and a section that is opened.
//
//     $ primitives
//     shared_mutex: 3 read at a time; added tea; 3 prices
//     local_mutex: 20
//     condition_variable: got 7
//     semaphore: at most 2 at a time
//     manual_reset_event: 3 passed
//     auto_reset_event: 1 passed, then 2
//     latch: 3 parts ready
//     barrier: round 1, round 2, broken by a party that was cancelled (timeout)
//     once_cell: made once, used 3 times
//     lock_all: 70 and 30
//     unlocked: refreshed, nobody waited
//     lock_owned: the guard was the last to know the data
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

// --- shared_mutex ---

using prices = std::map<std::string, int>;

task<> look(sync::shared_mutex<prices>& board, std::size_t& together) {
    auto held = co_await board.read(); // together with other readers
    co_await sleep_for(1ms);
    together = std::max(together, board.readers());
}
task<> add_once(sync::shared_mutex<prices>& board, std::string what, int price) {
    auto reading = co_await board.upgradable(); // together with readers; one at a time
    if (reading->contains(what)) co_return;
    auto held = co_await reading.upgrade(); // alone; nobody has written in between
    held->emplace(std::move(what), price);
}
task<> show_shared_mutex() {
    sync::shared_mutex<prices> board({{"coffee", 3}, {"water", 1}}, "prices");
    std::size_t together = 0;
    co_await when_all(look(board, together), look(board, together), add_once(board, "tea", 2),
                      add_once(board, "tea", 4));
    auto held = co_await board.read();
    std::printf("shared_mutex: %zu read at a time; added tea; %zu prices\n", together,
                held->size());
}

// --- local_mutex ---

task<> add_slowly(sync::local_mutex<int>& sum) {
    for (int i = 0; i < 10; ++i) {
        auto held = co_await sum.lock();
        const int before = *held;
        co_await yield_now(); // others of this worker run; none is in the section
        *held = before + 1;
    }
}
task<> show_local_mutex() {
    sync::local_mutex<int> sum(0, "sum");
    co_await when_all(add_slowly(sum), add_slowly(sum));
    auto held = co_await sum.lock();
    std::printf("local_mutex: %d\n", *held);
}

// --- condition_variable ---

struct jobs {
    sync::mutex<std::deque<int>> all;
    sync::condition_variable filled;
};

task<int> next_job(jobs& from) {
    auto held = co_await from.all.lock();
    auto some = [&] { return !held->empty(); };
    co_await from.filled.wait(held, some); // the lock is open while it waits
    const int first = held->front();
    held->pop_front();
    co_return first;
}
task<> add_job(jobs& to, int job) {
    auto held = co_await to.all.lock();
    held->push_back(job);
    to.filled.notify_one();
}
task<> show_condition_variable() {
    jobs queue;
    auto [got, added] = co_await when_all(next_job(queue), add_job(queue, 7));
    std::printf("condition_variable: got %d\n", got);
}

// --- semaphore ---

task<> work(sync::semaphore& places, int& inside, int& most) {
    auto permit = co_await places.acquire(); // comes back however this ends
    most = std::max(most, ++inside);
    co_await sleep_for(1ms);
    --inside;
}
task<> show_semaphore() {
    sync::semaphore places(2, "places");
    int inside = 0;
    int most = 0;
    auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 6; ++i) scope.spawn(work(places, inside, most)).detach();
        co_return;
    };
    co_await with_scope(body);
    std::printf("semaphore: at most %d at a time\n", most);
}

// --- events ---

template <class Event>
task<> pass(Event& event, int& passed) {
    co_await event.wait();
    ++passed;
}
task<> show_manual_reset_event() {
    sync::manual_reset_event door;
    int passed = 0;
    auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 3; ++i) scope.spawn(pass(door, passed)).detach();
        co_await yield_now();
        door.set(); // for all who wait, and all who come, until reset()
    };
    co_await with_scope(body);
    std::printf("manual_reset_event: %d passed\n", passed);
}
task<> show_auto_reset_event() {
    sync::auto_reset_event signal;
    int passed = 0;
    int after_one = 0;
    auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 2; ++i) scope.spawn(pass(signal, passed)).detach();
        co_await yield_now();
        signal.set(); // for one
        co_await sleep_for(1ms);
        after_one = passed;
        signal.set();
    };
    co_await with_scope(body);
    std::printf("auto_reset_event: %d passed, then %d\n", after_one, passed);
}

// --- latch and barrier ---

task<> show_latch() {
    sync::latch ready(3);
    int parts = 0;
    auto prepare = [&]() -> task<> {
        co_await yield_now();
        ++parts;
        ready.count_down();
    };
    auto body = [&](task_scope& scope) -> task<> {
        for (int i = 0; i < 3; ++i) scope.spawn(prepare()).detach();
        co_await ready.wait();
        std::printf("latch: %d parts ready\n", parts);
    };
    co_await with_scope(body);
}

task<> takes_part(sync::barrier& all, int rounds) {
    for (int i = 0; i < rounds; ++i) static_cast<void>(co_await all.arrive_and_wait());
}
task<> tells(sync::barrier& all) {
    std::printf("barrier:");
    for (int round = 1;; ++round) {
        try {
            static_cast<void>(co_await all.arrive_and_wait());
            std::printf(" round %d,", round);
        } catch (const sync::barrier_broken& broken) {
            const std::string why(to_string(broken.reason()));
            std::printf(" broken by a party that was cancelled (%s)\n", why.c_str());
            co_return;
        }
    }
}
task<> show_barrier() {
    sync::barrier all(3);
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(tells(all)).detach();
        auto leaves = scope.spawn(takes_part(all, 3));
        co_await takes_part(all, 2);
        co_await sleep_for(1ms); // two of them wait for the third round
        leaves.cancel(cancel_reason::timeout);
    };
    co_await with_scope(body); // nobody waits at it any more
}

// --- once_cell ---

task<> show_once_cell() {
    sync::once_cell<std::string> settings("settings");
    int made = 0;
    int used = 0;
    auto use = [&]() -> task<> {
        auto load = [&]() -> task<std::string> {
            ++made;
            co_await sleep_for(1ms); // a file is read; the others wait
            co_return "server.toml";
        };
        const std::string& found = co_await settings.get_or_init(load);
        used += found == "server.toml" ? 1 : 0;
    };
    co_await when_all(use(), use(), use());
    std::printf("once_cell: made %s, used %d times\n", made == 1 ? "once" : "more than once",
                used);
}

// --- several locks; a lock that is opened; one that is shared ---

using account = sync::mutex<int>;

task<> transfer(account& from, account& to, int amount) {
    auto held = co_await sync::lock_all(from, to); // in the order of their addresses
    auto& [giver, taker] = held;
    *giver -= amount;
    co_await yield_now();
    *taker += amount;
}
task<> show_lock_all() {
    account alice(100, "alice");
    account bob(0, "bob");
    co_await when_all(transfer(alice, bob, 50), transfer(bob, alice, 20));
    auto held = co_await sync::lock_all(alice, bob);
    std::printf("lock_all: %d and %d\n", *held.get<0>(), *held.get<1>());
}

task<> refresh(sync::mutex<std::string>& page, int& waited) {
    auto held = co_await page.lock();
    auto ask_origin = [&]() -> task<std::string> {
        if (!page.try_lock()) ++waited; // it is open: others have the data meanwhile
        co_await sleep_for(1ms);
        co_return "new";
    };
    auto answer = co_await held.unlocked(ask_origin);
    *held = std::move(answer); // the lock is held again; look at the data anew
}
task<> show_unlocked() {
    sync::mutex<std::string> page("old", "page");
    int waited = 0;
    co_await refresh(page, waited);
    auto held = co_await page.lock();
    std::printf("unlocked: %s, %s waited\n", *held == "new" ? "refreshed" : "stale",
                waited == 0 ? "nobody" : "somebody");
}

task<> show_lock_owned() {
    auto shared = std::make_shared<sync::mutex<std::string>>("the last to know the data");
    auto held = co_await sync::lock_owned(std::move(shared)); // keeps the mutex alive
    std::printf("lock_owned: the guard was %s\n", held->c_str());
}

task<> show_all() {
    co_await show_shared_mutex();
    co_await show_local_mutex();
    co_await show_condition_variable();
    co_await show_semaphore();
    co_await show_manual_reset_event();
    co_await show_auto_reset_event();
    co_await show_latch();
    co_await show_barrier();
    co_await show_once_cell();
    co_await show_lock_all();
    co_await show_unlocked();
    co_await show_lock_owned();
}

} // namespace

int main() {
    return toadstone::run(show_all());
}
