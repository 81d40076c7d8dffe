// Completions in a runtime: answers from plain threads, shutdowns that name what they wait for.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

runtime_options few(unsigned workers, std::chrono::milliseconds grace) {
    runtime_options options;
    options.workers = workers;
    options.max_operations = 64;
    options.grace = grace;
    options.report_every = 1ms;
    return options;
}

/// Completions on their way from tasks to threads that answer them.
class mailbox {
public:
    void put(completion<int> c) {
        const std::lock_guard hold(lock_);
        waiting_.push_back(std::move(c));
    }
    /// Any one that is there; an empty one otherwise.
    completion<int> take() {
        const std::lock_guard hold(lock_);
        if (waiting_.empty()) return {};
        completion<int> last = std::move(waiting_.back());
        waiting_.pop_back();
        return last;
    }

private:
    std::mutex lock_;
    std::vector<completion<int>> waiting_;
};

struct tally {
    std::atomic<int> begun{0};
    std::atomic<int> gone{0};
    std::atomic<int> delivered{0};
    std::atomic<int> broken{0};
};

/// Every second can be withdrawn: its answer may come all the same, and is refused then.
task<> asks_thrice(mailbox& box, tally& t, bool stoppable) {
    ++t.begun;
    const scope_exit ends([&t] { ++t.gone; });
    for (int i = 0; i < 3; ++i) {
        const auto start = [&box](completion<int> c) { box.put(std::move(c)); };
        const auto stop = [stoppable] { return stoppable; };
        try {
            t.delivered += co_await with_completion<int>(start, stop);
        } catch (const broken_completion&) {
            ++t.broken;
        }
    }
}

/// Where a task leaves its completion, and says so.
struct counter {
    completion<int> left;
    std::atomic<bool> there{false};
    scope_end end;
    unsigned line = 0;

    void leave(completion<int> c) {
        left = std::move(c);
        there = true;
        there.notify_all();
    }
    void wait() const { there.wait(false); }
};

task<> waits(counter& at) {
    const scope_probe probe(at.end);
    const auto start = [&at](completion<int> c) { at.leave(std::move(c)); };
    at.line = __LINE__ + 1;
    co_await with_completion<int>(start);
    co_await checkpoint();
}
task<> can_stop(counter& at, bool says) {
    const scope_probe probe(at.end);
    const auto start = [&at](completion<int> c) { at.leave(std::move(c)); };
    const auto stop = [says] { return says; };
    co_await with_completion<int>(start, stop);
}

/// Until the workers have carried the request out.
template <class Fn>
shutdown_report report_when(runtime& of, Fn enough) {
    shutdown_report report;
    do {
        report = of.shutdown(1ms);
    } while (!enough(report));
    return report;
}

} // namespace

TEST_CASE(
    "S408: a shutdown names the answers that it waits for: the task, where it was started, "
    "for how long; not those that are withdrawn") {
    counter at[3];
    runtime here(few(1, 5s));
    auto polite = here.spawn(can_stop(at[0], true), {.name = "polite"});
    auto stuck = here.spawn(waits(at[1]), {.name = "stuck"});
    auto refused = here.spawn(can_stop(at[2], false), {.name = "refused"});
    for (const counter& each : at) each.wait();
    const auto report = report_when(here, [](const shutdown_report& each) {
        return each.unstoppable.size() == 2 && each.leftover.size() == 2;
    });
    const unstoppable_call& call = report.unstoppable[0];
    CHECK(call.what == "the answer of a completion");
    CHECK(call.task == stuck.id());
    CHECK(call.task_name == "stuck");
    CHECK(call.where == "completion_thread_test.cpp:" + std::to_string(at[1].line));
    CHECK(report.unstoppable[1].task == refused.id());
    CHECK_THAT(report.to_string(),
               Catch::Contains("'stuck' waits for the answer of a completion, started at "
                               "completion_thread_test.cpp:"));
    CHECK(polite.done());
    CHECK(at[1].end.times == 0);
    std::thread([&] {
        at[1].left.complete(1);
        at[2].left.complete(1);
    }).join();
    CHECK(here.shutdown(1min).clean());
    CHECK(at[1].end.reason == cancel_reason::shutdown);
    CHECK(at[2].end.times == 1);
    CHECK(here.shutdown(1ms).unstoppable.empty());
}

TEST_CASE("S408: an answer that has come is not named any more, while its task goes on") {
    counter at;
    std::atomic<bool> open{false};
    const auto stays = [](counter& in, std::atomic<bool>& until) -> task<> {
        const auto start = [&in](completion<int> c) { in.leave(std::move(c)); };
        co_await with_completion<int>(start);
        while (!until) co_await sleep_for(1ms);
    };
    const auto shielded = [&stays](counter& in, std::atomic<bool>& until) -> task<> {
        co_await shield(stays(in, until));
    };
    runtime here(few(1, 5s));
    auto handle = here.spawn(shielded(at, open));
    at.wait();
    static_cast<void>(report_when(
        here, [](const shutdown_report& each) { return !each.unstoppable.empty(); }));
    at.left.complete(1);
    static_cast<void>(report_when(here, [](const shutdown_report& each) {
        return each.unstoppable.empty() && each.leftover.size() == 1;
    }));
    open = true;
    CHECK(here.shutdown(1min).clean());
}

TEST_CASE("S408: a runtime that ends by force waits for an answer, through a shield too, and "
          "names it again and again") {
    counter at;
    const stderr_capture err;
    std::optional<runtime> here(std::in_place, few(1, 1ms));
    const auto shielded = [](counter& in) -> task<> { co_await shield(waits(in)); };
    here->spawn(shielded(at), {.name = "stuck"}).detach();
    at.wait();
    std::atomic<bool> down{false};
    std::thread closing([&] {
        here.reset();
        down = true;
    });
    while (count_of(err.text(), "'stuck' waits for the answer of a completion") < 3) {
        std::this_thread::yield();
    }
    CHECK_FALSE(down);
    CHECK(at.end.times == 0);
    CHECK(at.left.complete(1));
    closing.join();
    CHECK(at.end.times == 1);
}

TEST_CASE(
    "S401: a completion outlives the task, the runtime and its worker, and refuses then") {
    counter at;
    {
        runtime here(few(1, 5s));
        here.spawn(can_stop(at, true)).detach();
        at.wait();
    }
    CHECK_FALSE(at.left.wanted());
    CHECK_FALSE(at.left.complete(1));
}

TEST_CASE("S409: answers from threads to tasks of two workers, cancelled from outside, some "
          "dropped, a shutdown in the middle: each wait ends once") {
    for (unsigned round = 0; round < 20; ++round) {
        mailbox box;
        tally t;
        std::atomic<int> answers{0};
        std::atomic<int> drops{0};
        std::atomic<bool> stop{false};
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < 2; ++i) {
            threads.emplace_back([&, i] {
                std::minstd_rand dice(round * 2 + i + 1);
                while (!stop) {
                    completion<int> c = box.take();
                    if (!c) {
                        std::this_thread::yield();
                        continue;
                    }
                    const bool drop = dice() % 8 == 0;
                    completion<int> copy = c; // two that race, on one thread
                    if (drop) {
                        ++drops;
                    } else if (copy.complete(1)) {
                        ++answers;
                    }
                }
            });
        }
        {
            runtime here(few(2, 5s));
            std::vector<join_handle<void>> all;
            for (unsigned i = 0; i < 60; ++i) {
                all.push_back(here.spawn(asks_thrice(box, t, i % 2 == 0),
                                         {.where = placement::worker(i)}));
                if (i % 3 == 2) all[i - 1].cancel();
            }
            if (round % 2 == 0) CHECK(here.shutdown(1min).clean());
            for (auto& each : all) each.cancel();
        }
        stop = true;
        for (auto& each : threads) each.join();
        CHECK(t.begun == t.gone);
        CHECK(t.delivered == answers);
        CHECK(t.broken <= drops);
    }
}

TEST_CASE(
    "S409: two threads answer the same completion: one of them is told that it was first") {
    runtime here(few(1, 5s));
    int firsts = 0;
    for (int round = 0; round < 300; ++round) {
        std::atomic<int> first{0};
        std::atomic<int> ready{0};
        std::thread racers[2];
        const auto body = [&]() -> task<int> {
            const auto start = [&](completion<int> c) {
                for (int i = 0; i < 2; ++i) {
                    racers[i] = std::thread([&first, &ready, i, c]() mutable {
                        ++ready;
                        while (ready < 2) {
                        }
                        if (c.complete(i)) ++first;
                    });
                }
            };
            const int got = co_await with_completion<int>(start);
            co_return got;
        };
        const int got = here.block_on(body());
        for (auto& each : racers) each.join();
        CHECK((got == 0 || got == 1));
        firsts += first;
    }
    CHECK(firsts == 300);
}
