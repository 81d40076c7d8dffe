// Locks and channels on a thread that is a runtime's first worker while it waits.
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

runtime_options on_this_thread(unsigned workers) {
    runtime_options options;
    options.workers = workers;
    options.on_this_thread = true;
    return options;
}
task<> holds_for_a_while(sync::mutex<int>& m) {
    auto held = co_await m.lock();
    co_await sleep_for(2ms);
    ++*held;
}
task<> answers(sync::mpsc::receiver<int> questions, sync::mpsc::sender<int> to) {
    while (auto each = co_await questions.recv()) co_await to.send(*each + 1);
}

} // namespace

TEST_CASE("S515: a thread that is a worker while it waits is one in the blocking forms, too") {
    for (const unsigned workers : {1U, 2U}) {
        sync::mutex<int> m;
        runtime rt(on_this_thread(workers));
        for (int i = 0; i < 20; ++i) {
            rt.spawn({.where = placement::worker(0)}, holds_for_a_while, std::ref(m)).detach();
        }
        while (m.is_locked() || rt.live_tasks() > 0) {
            rt.block_on(yield_now()); // one of them has it
            auto held = m.blocking_lock();
            ++*held;
        }
        CHECK(*m.blocking_lock() >= 20);

        auto [ask, asked] = sync::mpsc::channel<int>(1);
        auto [answer, answered] = sync::mpsc::channel<int>(1);
        auto server = rt.spawn({.where = placement::worker(workers - 1)}, answers,
                               std::move(asked), std::move(answer));
        for (int i = 0; i < 100; ++i) {
            ask.blocking_send(i);
            CHECK(answered.blocking_recv() == i + 1);
        }
        {
            auto over = std::move(ask);
        }
        CHECK_FALSE(answered.blocking_recv().has_value());
        rt.block_on(std::move(server));
    }
}

TEST_CASE("S515: of two runtimes on this thread the newest runs in a blocking form") {
    sync::mutex<int> m;
    runtime older(on_this_thread(1));
    {
        runtime newer(on_this_thread(1));
        newer.spawn(holds_for_a_while, std::ref(m)).detach();
        newer.block_on(yield_now());
        CHECK(*m.blocking_lock() == 1);
    }
    older.spawn(holds_for_a_while, std::ref(m)).detach();
    older.block_on(yield_now());
    CHECK(*m.blocking_lock() == 2);
    CHECK(*m.blocking_lock() == 2);
}

TEST_CASE("S517: in a forked process a lock blocks as ever") {
    runtime rt(on_this_thread(1));
    rt.block_on(yield_now());
    const child_end end = in_child([] {
        sync::mutex<int> m;
        std::atomic<bool> held = false;
        std::atomic<bool> asked = false;
        std::thread other([&] {
            auto mine = m.blocking_lock();
            held = true;
            while (m.waiters() == 0) std::this_thread::yield();
        });
        while (!held) std::this_thread::yield();
        {
            auto mine = m.blocking_lock();
            asked = true;
        }
        other.join();
        return asked ? 17 : 1;
    });
    CHECK(end.exited);
    CHECK(end.code == 17);
}
