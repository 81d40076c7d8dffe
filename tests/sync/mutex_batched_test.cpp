// A batched mutex: whose turn it is among the tasks of several workers, how often one may be
// overtaken, and that nobody is lost who leaves a queue of lanes.
#include <toadstone/sync/mutex.hpp>

#include <toadstone/sync/detail/lanes.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using sync::fairness;
using sync::mutex;
using sync::detail::lanes;
using sync::detail::wants;

constexpr int batch = sync::detail::mutex_core::most_in_batch;

placement on(int worker) {
    return placement::worker(static_cast<unsigned>(worker));
}

/// A mutex that a task of worker 0 holds until the gate opens. Who queues up has a number, of
/// which the hundreds say the worker.
struct held_batched {
    explicit held_batched(unsigned workers) : w(workers), holder(w.spawn(hold(m, release))) {
        w.settle();
    }
    void queue(int who) {
        waiters.emplace(who, w.spawn(pass(m, entered, who), {.where = on(who / 100)}));
        w.settle();
    }
    void let_go() {
        release.open();
        w.settle();
    }

    mutex<int> m{0, "batched", fairness::batched};
    gate release;
    order entered;
    std::map<int, join_handle<void>> waiters;
    stepped w;
    join_handle<void> holder;
};

order numbers(int from, int to) {
    order all;
    for (int i = from; i < to; ++i) all.push_back(i);
    return all;
}

order operator+(order left, const order& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

} // namespace

TEST_CASE("S167: waiters of the releasing worker go first, in their order, then the oldest") {
    held_batched line(3);
    for (int i = 0; i < 5; ++i) {
        for (const int worker : {1, 0, 2}) line.queue(100 * worker + i);
    }
    line.let_go();
    CHECK(line.entered == numbers(0, 5) + numbers(100, 105) + numbers(200, 205));
}

TEST_CASE("S167: a batch ends after 64, and the oldest begins the next") {
    held_batched line(2);
    for (int i = 0; i < 100; ++i) {
        line.queue(100 + i);
        line.queue(i);
    }
    line.let_go();
    // The oldest, and then its batch.
    const int second = 100 + 1 + batch;
    CHECK(line.entered == numbers(0, batch) + numbers(100, second) + numbers(batch, 100) +
                              numbers(second, 200));
}

TEST_CASE("S167: a strict mutex, which is the default, keeps to the order of arrival") {
    mutex<int> m(0, "strict");
    gate release;
    order entered;
    order arrived;
    stepped w(2);
    auto holder = w.spawn(hold(m, release));
    w.settle();
    std::vector<join_handle<void>> waiters;
    for (int who = 0; who < 20; ++who) {
        waiters.push_back(w.spawn(pass(m, entered, who), {.where = on(who % 2)}));
        w.settle();
        arrived.push_back(who);
    }
    release.open();
    w.settle();
    CHECK(entered == arrived);
    STATIC_REQUIRE(sizeof(mutex<int>) == 48);
}

TEST_CASE("S167: what a plain thread releases goes to the oldest, who begins a batch") {
    held_batched line(2);
    line.let_go();
    auto held = line.m.try_lock();
    REQUIRE(held);
    for (const int who : {100, 0, 101, 1}) line.queue(who);
    std::thread([&] { held->unlock(); }).join(); // this one is a worker's
    line.w.settle();
    CHECK(line.entered == order{100, 101, 0, 1});
}

namespace {

/// A wait: of which worker, and when it came and was served.
struct served_wait {
    unsigned worker;
    int came;
    int served;
};

task<> let_go_of(mutex<int>::guard held) {
    held.unlock();
    co_return;
}

/// `elsewhere`: some of its guards are released there.
task<> come_again(mutex<int>& m, std::vector<served_wait>& waits, unsigned worker, int rounds,
                  unsigned seed, placement elsewhere) {
    std::minstd_rand dice(seed + 1);
    for (int i = 0; i < rounds; ++i) {
        const std::size_t mine = waits.size();
        waits.push_back({worker, static_cast<int>(mine), -1});
        auto held = co_await m.lock();
        waits[mine].served = (*held)++;
        if (dice() % 4 == 0) co_await yield_now();
        if (seed % 3 == 0 && dice() % 2 == 0) {
            spawn(let_go_of(std::move(held)), {.where = elsewhere}).detach();
        } else {
            held.unlock();
        }
        if (dice() % 8 == 0) co_await yield_now();
    }
}

/// The most that came later and were served before it, of one worker, for any wait.
int most_overtaken(const std::vector<served_wait>& waits, unsigned workers, bool own) {
    int most = 0;
    for (const served_wait& each : waits) {
        std::vector<int> by(workers);
        for (const served_wait& other : waits) {
            const bool overtook = other.came > each.came && other.served < each.served;
            if (overtook && (other.worker == each.worker) == own) ++by[other.worker];
        }
        most = std::max(most, *std::max_element(by.begin(), by.end()));
    }
    return most;
}

} // namespace

TEST_CASE("S168: nobody is overtaken by more than 64 of each other worker, nor by its own") {
    for (const unsigned workers : {2U, 3U}) {
        int most = 0;
        for (unsigned seed = 0; seed < 4; ++seed) {
            mutex<int> m(0, "batched", fairness::batched);
            std::vector<served_wait> waits;
            std::vector<join_handle<void>> tasks;
            stepped w(workers);
            std::minstd_rand dice(seed + 1);
            for (unsigned i = 0; i < 120 * workers; ++i) {
                // One worker has most of the tasks, the next fewer.
                const auto worker = static_cast<unsigned>(dice() % (1 + dice() % workers));
                tasks.push_back(w.spawn(
                    come_again(m, waits, worker, 4, seed * 1000 + i,
                               placement::worker(static_cast<unsigned>(dice() % workers))),
                    {.where = placement::worker(worker)}));
                if (seed % 2 == 0) w.step(static_cast<unsigned>(dice() % workers));
            }
            w.settle();
            for (const auto& each : tasks) REQUIRE(each.done());
            INFO(workers << " workers, seed " << seed);
            CHECK(most_overtaken(waits, workers, true) == 0);
            CHECK(most_overtaken(waits, workers, false) <= batch);
            most = std::max(most, most_overtaken(waits, workers, false));
        }
        CHECK(most > batch / 2); // it does happen
    }
}

namespace {

task<> pass_and_release_on_0(mutex<int>& m, order& entered, int who) {
    auto held = co_await m.lock();
    entered.push_back(who);
    spawn(let_go_of(std::move(held)), {.where = on(0)}).detach();
}

} // namespace

TEST_CASE("S187: a worker that releases what was given to another's tasks has no batch of it") {
    held_batched line(3);
    for (const int who : {100, 101, 102, 103}) {
        line.waiters.emplace(who, line.w.spawn(pass_and_release_on_0(line.m, line.entered, who),
                                               {.where = on(1)}));
        line.w.settle();
    }
    line.queue(200);
    for (int who = 0; who < 2 * batch; ++who) line.queue(who % 100);
    line.let_go();
    REQUIRE(line.entered.size() == 2 * batch + 5);
    line.entered.resize(batch + 5);
    CHECK(line.entered == numbers(0, batch) + order{100, 101, 102, 103, 200});
}

TEST_CASE("S169: a cancelled waiter leaves its lane from the front, the middle and the back") {
    held_batched line(3);
    for (const int who : {100, 0, 101, 200, 1, 102, 2, 3}) line.queue(who);
    for (const int who : {100, 1, 102, 3, 200}) {
        line.waiters.at(who).cancel();
        line.w.settle();
        CHECK(line.waiters.at(who).done());
    }
    line.queue(201);
    line.let_go();
    CHECK(line.entered == order{0, 2, 101, 201});
    CHECK(is_free(line.w, line.m));
}

TEST_CASE("S169: when all waiters have left, the lock is released as if they had never come") {
    held_batched line(2);
    for (const int who : {100, 0, 101}) line.queue(who);
    for (const int who : {101, 100, 0}) line.waiters.at(who).cancel();
    line.w.settle();
    line.let_go();
    CHECK(line.entered.empty());
    CHECK(line.m.try_lock()); // the fast path: no waiter is remembered
}

TEST_CASE("S169: a waiter that is granted the lock and cancelled gives it on, in its batch") {
    held_batched line(2);
    for (const int who : {100, 0, 1, 2}) line.queue(who);
    line.release.open();
    line.w.step(0); // the first of the batch is ready and has not run
    REQUIRE(line.entered.empty());
    line.waiters.at(0).cancel();
    line.w.settle();
    CHECK(line.w.end_of(line.waiters.at(0)).is_cancelled());
    CHECK(line.entered == order{1, 2, 100});
    CHECK_FALSE(line.m.is_poisoned());
}

namespace {

class test_waiter final : public sync::detail::lock_waiter {
public:
    test_waiter(int number, const detail::executor* worker)
        : lock_waiter(wants::healthy), who(number), home(worker) {}
    int who;
    const detail::executor* home;

private:
    void wake() noexcept override {}
};

} // namespace

TEST_CASE("S169: lanes give the first of a worker, the oldest, and nobody twice, whoever comes "
          "and leaves") {
    stepped w(4);
    std::minstd_rand dice(7);
    toadstone::detail::wait_queue entry;
    lanes queue(entry);
    std::vector<std::unique_ptr<test_waiter>> in_line; // as they came
    const auto first = [&](const detail::executor* home) -> const test_waiter* {
        for (const auto& each : in_line) {
            if (each->home == home) return each.get();
        }
        return nullptr;
    };
    for (int i = 0; i < 20000; ++i) {
        const unsigned which = static_cast<unsigned>(dice() % 5);
        const detail::executor* home = which == 4 ? nullptr : &w.worker(which);
        const unsigned crowd = i / 4000 % 2 == 0 ? 12 : 3;
        if (in_line.empty() || dice() % 16 < crowd / 2 + (in_line.size() < crowd ? 6 : 0)) {
            in_line.push_back(std::make_unique<test_waiter>(i, home));
            queue.add(*in_line.back(), home);
        } else {
            const auto gone = in_line.begin() + static_cast<int>(dice() % in_line.size());
            queue.remove(**gone);
            in_line.erase(gone);
        }
        REQUIRE(queue.empty() == in_line.empty());
        if (in_line.empty()) continue;
        REQUIRE(queue.oldest() == in_line.front().get());
        if (home) REQUIRE(queue.first_of(*home) == first(home));
        std::vector<int> seen;
        queue.for_each([&](sync::detail::lock_waiter& each) {
            seen.push_back(static_cast<test_waiter&>(each).who);
        });
        std::sort(seen.begin(), seen.end());
        std::vector<int> expected;
        for (const auto& each : in_line) expected.push_back(each->who);
        REQUIRE(seen == expected);
    }
    queue.for_each([&](sync::detail::lock_waiter& each) { queue.remove(each); });
    CHECK(queue.empty());
}

namespace {

task<> wait_and_tell(mutex<int>& m, order& failed, int who) {
    try {
        auto held = co_await m.lock();
    } catch (const poison_error&) {
        failed.push_back(who);
    }
}

task<> look_at_it(mutex<int>& m, order& entered, int who) {
    auto looked = co_await m.lock_or_poison();
    entered.push_back(looked ? -who : who);
}

task<> repair(mutex<int>& m, order& entered, int who) {
    auto right = co_await m.recover();
    entered.push_back(who);
    auto held = right.complete();
}

task<> wait_for_repair(mutex<int>& m, order& entered, int who) {
    auto held = co_await m.lock(sync::wait_recovery);
    entered.push_back(who);
}

} // namespace

TEST_CASE("S170: when a batched mutex is poisoned all plain waiters fail, and the oldest who "
          "wants it all the same has it") {
    held_batched line(2);
    order failed;
    std::vector<join_handle<void>> tasks;
    const auto add = [&](int worker, task<> body) {
        tasks.push_back(line.w.spawn(std::move(body), {.where = on(worker)}));
        line.w.settle();
    };
    add(1, wait_for_repair(line.m, line.entered, 100));
    add(0, wait_and_tell(line.m, failed, 0));
    add(1, look_at_it(line.m, line.entered, 101));
    add(0, look_at_it(line.m, line.entered, 1));
    add(1, wait_and_tell(line.m, failed, 102));
    add(1, repair(line.m, line.entered, 103));
    add(0, wait_for_repair(line.m, line.entered, 2));
    line.holder.cancel();
    line.w.settle();
    std::sort(failed.begin(), failed.end());
    CHECK(failed == order{0, 102});
    // The lookers and the repairer in their order; then, healthy, by workers.
    CHECK(line.entered == order{101, 1, 103, 100, 2});
    CHECK_FALSE(line.m.is_poisoned());
    CHECK(is_free(line.w, line.m));
}

TEST_CASE("S170: a batched mutex that its holder declares poisoned fails those who wait, of "
          "all workers") {
    mutex<int> m(0, "batched", fairness::batched);
    gate until;
    gate afterwards;
    order failed;
    stepped w(3);
    auto body = [](mutex<int>& lock, gate& first, gate& second) -> task<> {
        auto held = co_await lock.lock();
        co_await first.pass();
        held.poison("half done");
        co_await second.pass();
    };
    auto holder = w.spawn(body(m, until, afterwards));
    w.settle();
    std::vector<join_handle<void>> waiters;
    for (int who = 0; who < 9; ++who) {
        waiters.push_back(w.spawn(wait_and_tell(m, failed, who), {.where = on(who % 3)}));
        w.settle();
    }
    until.open();
    w.settle();
    CHECK(failed.size() == 9);
    CHECK_FALSE(holder.done());
    afterwards.open();
    w.settle();
    CHECK(w.run(why_not(m)).find("mutex 'batched' poisoned: ") == 0);
}

} // namespace toadstone::tests
