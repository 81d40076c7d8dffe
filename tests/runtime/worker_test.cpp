// The worker as an executor: what is posted to it, whom it knows, when it has nothing to do.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include "support/capture.hpp"
#include "support/forking.hpp"
#include "support/pipe.hpp"
#include "support/probe.hpp"
#include "support/resources.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using clock_point = std::chrono::steady_clock::time_point;

namespace {

class errand final : public detail::posted {
public:
    explicit errand(std::function<void()> what) : what_(std::move(what)) {}

private:
    void run_posted() noexcept override { what_(); }
    std::function<void()> what_;
};

task<> waits(scope_end& end) {
    scope_probe probe(end);
    co_await sleep_for(1h);
}
task<> notes(event_log& log, std::string name) {
    log.push_back(name);
    co_await yield_now();
    log.push_back(name + "'");
}
task<int> gives(int value) {
    co_await yield_now();
    co_return value;
}

/// Runs `times` slices, and does `first` in the first.
task<> hops(int times, int& ran, std::function<void()> first = {}) {
    if (first) first();
    for (ran = 1; ran < times; ++ran) co_await yield_now();
}
task<int> reads_a_letter(int fd, char& letter) {
    const int count = co_await read_op(fd, &letter, 1);
    co_return count;
}
/// One turn as in run().
void turn(stepped& w) {
    w.worker().step(false, ~0U, true);
}

} // namespace

TEST_CASE("worker: a turn in which nothing happened says so") {
    scope_end end;
    stepped w;
    CHECK(w.step() == 0);
    auto handle = w.spawn(waits(end));
    CHECK(w.step() > 0);
    w.settle();
    CHECK(w.step() == 0);
    CHECK_FALSE(handle.done());
}

TEST_CASE("worker: ready tasks run in the order in which they became ready, one turn each") {
    event_log log;
    stepped w;
    auto a = w.spawn(notes(log, "a"));
    auto b = w.spawn(notes(log, "b"));
    w.step();
    CHECK(log == event_log{"a", "b"});
    w.step();
    CHECK(log == event_log{"a", "b", "a'", "b'"});
}

TEST_CASE(
    "worker: what is posted runs once, in order, in the next turn, with its thread bound") {
    event_log log;
    stepped w(2);
    errand first([&] {
        log.push_back("first");
        CHECK(w.worker(0).is_current());
    });
    errand second([&] {
        log.push_back("second");
        CHECK_FALSE(second.waiting());
    });
    w.worker(0).post(first);
    w.worker(0).post(second);
    CHECK(first.waiting());
    CHECK(log.empty());
    w.step(1);
    CHECK(log.empty());
    w.step(0);
    w.step(0);
    CHECK(log == event_log{"first", "second"});
    CHECK_FALSE(first.waiting());
}

TEST_CASE("worker: an errand may be posted again from inside itself") {
    int times = 0;
    std::unique_ptr<errand> again;
    stepped w;
    again = std::make_unique<errand>([&] {
        if (++times < 3) w.worker().post(*again);
    });
    w.worker().post(*again);
    for (int i = 0; i < 5; ++i) w.step();
    CHECK(times == 3);
}

TEST_CASE("worker: threads that post at once all get their turn") {
    std::atomic<int> ran{0};
    std::vector<std::unique_ptr<errand>> errands;
    stepped w;
    for (int i = 0; i < 400; ++i) {
        errands.push_back(std::make_unique<errand>([&] { ++ran; }));
    }
    std::vector<std::thread> threads;
    for (std::size_t from = 0; from < 4; ++from) {
        threads.emplace_back([&, from] {
            for (std::size_t i = from; i < errands.size(); i += 4) w.worker().post(*errands[i]);
        });
    }
    while (ran < 200) w.step();
    for (auto& each : threads) each.join();
    w.step();
    CHECK(ran == 400);
}

TEST_CASE("worker: knows its roots, counts them in and out") {
    stepped w;
    auto& worker = w.worker();
    scope_end ends[3];
    const auto count = [&] {
        std::vector<std::uint64_t> ids;
        worker.for_each_root([&](const detail::context& each) { ids.push_back(each.id()); });
        std::sort(ids.begin(), ids.end());
        return ids;
    };
    CHECK(count().empty());
    CHECK(worker.first_root() == nullptr);
    auto a = w.spawn(waits(ends[0]));
    auto b = w.spawn(waits(ends[1]));
    auto c = w.spawn(waits(ends[2]));
    CHECK(worker.roots_launched() == 3);
    w.settle();
    CHECK(count() == std::vector{a.id(), b.id(), c.id()});
    b.cancel();
    w.settle();
    CHECK(count() == std::vector{a.id(), c.id()});
    a.cancel();
    c.cancel();
    w.settle();
    CHECK(count().empty());
    CHECK(worker.roots_ended() == worker.roots_launched());
}

TEST_CASE("worker: told to stop its roots, it stops those that come later as well") {
    scope_end now;
    scope_end later;
    stepped w;
    auto a = w.spawn(waits(now));
    w.settle();
    w.worker().stop_roots(cancel_reason::shutdown, false);
    w.settle();
    CHECK(now.reason == cancel_reason::shutdown);
    auto b = w.spawn(waits(later));
    w.settle();
    CHECK(later.reason == cancel_reason::shutdown);
    CHECK(b.done());
}

TEST_CASE("worker: says when it has to be stepped next") {
    scope_end end;
    stepped w;
    CHECK(w.worker().next_timer() == clock_point::max());
    auto handle = w.spawn(waits(end));
    w.settle();
    const auto next = w.worker().next_timer();
    CHECK(next > w.worker().now());
    CHECK(next <= w.worker().now() + 1h);
}

TEST_CASE("worker: the one thread can step several, and the binding ends with the step") {
    stepped w(3);
    auto a = w.spawn(gives(1), {.where = placement::worker(1)});
    auto b = w.spawn(gives(2), {.where = placement::worker(2)});
    w.settle();
    CHECK(w.end_of(a).value() == 1);
    CHECK(w.end_of(b).value() == 2);
    CHECK(w.worker(1).roots_ended() == 1);
    CHECK(w.worker(2).roots_ended() == 1);
    CHECK(w.worker(0).peer_count() == 3);
}

TEST_CASE("worker: wakers are used again, so that workers leave no descriptor behind") {
    const auto fds = open_descriptors();
    for (int i = 0; i < 20; ++i) {
        stepped w(2);
        CHECK(w.run(gives(i)) == i);
    }
    CHECK(open_descriptors() == fds);
}

TEST_CASE("worker: a turn of the loop runs what becomes ready in it, 64 contexts at most") {
    // Of so many tasks that are ready at its beginning, so many slices in all.
    const auto [tasks, slices] =
        GENERATE(std::pair(1, 64), std::pair(40, 64), std::pair(100, 100));
    std::vector<int> ran(static_cast<std::size_t>(tasks));
    std::vector<join_handle<>> handles;
    stepped w;
    for (int& each : ran) handles.push_back(w.spawn(hops(100, each)));
    turn(w);
    CHECK(std::accumulate(ran.begin(), ran.end(), 0) == slices);
    w.step();
    CHECK(std::accumulate(ran.begin(), ran.end(), 0) == slices + tasks);
    w.settle();
}

TEST_CASE("worker: a turn goes on for one round beside a timer, or what is not submitted") {
    int ran = 0;
    char letter = 0;
    scope_end end;
    test_pipe pipe;
    stepped w;
    join_handle<> sleeper;
    join_handle<int> reader;
    if (GENERATE(false, true)) {
        sleeper = w.spawn(waits(end));
    } else {
        reader = w.spawn(reads_a_letter(pipe.reader(), letter));
    }
    auto handle = w.spawn(hops(10, ran));
    turn(w);
    CHECK(ran == 2);
    if (sleeper.valid()) sleeper.cancel();
    if (reader.valid()) reader.cancel();
    w.settle();
}

TEST_CASE("worker: a turn stops running what becomes ready when something comes from outside") {
    int ran = 0;
    int posted = 0;
    char letters[66] = {};
    test_pipe pipe;
    stepped w;
    std::vector<join_handle<int>> readers;
    errand errand([&] { ++posted; });
    std::function<void()> first;
    SECTION("an errand") {
        first = [&] { w.worker().post(errand); };
    }
    SECTION("work that the kernel has put off") {
        readers.push_back(w.spawn(reads_a_letter(pipe.reader(), letters[0])));
        w.settle();
        first = [&] { pipe.write("x"); };
    }
    SECTION("completions, here of what a full submission queue hands over") {
        pipe.write(std::string(sizeof letters, 'x'));
        w.kernel().stalled = true;
        for (char& each : letters) {
            if (readers.size() == 60) {
                w.step();
                w.kernel().stalled = false;
            }
            readers.push_back(w.spawn(reads_a_letter(pipe.reader(), each)));
        }
    }
    auto handle = w.spawn(hops(10, ran, first));
    turn(w);
    CHECK(ran == 1);
    turn(w);
    CHECK(ran > 1);
    w.settle();
    for (auto& each : readers) CHECK(w.end_of(each).value() == 1);
}

TEST_CASE("worker: what forks in a turn does not go on in the child, in the same turn either") {
    stderr_capture caught; // the child's last words
    stepped w;
    auto handle = w.spawn(forks_and_goes_on());
    stop_log_thread();
    turn(w);
    const int status = w.end_of(handle).value();
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
    CHECK_THAT(caught.text(), Catch::Contains("only by the process that made it"));
}
