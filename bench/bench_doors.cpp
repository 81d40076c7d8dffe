// What the ways to other code cost: an answer that is there, one from another thread, and a
// function on a thread for functions that block; beside two threads and a condition variable.
#include "measure.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace {

using namespace toadstone;
using bench::stopwatch;
using bench::wall_stopwatch;

/// A thread that does what it is told, as a C library with callbacks has one.
class other_thread {
public:
    other_thread() : thread_([this] { work(); }) {}
    other_thread(const other_thread&) = delete;
    other_thread& operator=(const other_thread&) = delete;
    ~other_thread() {
        tell(completion<int>());
        thread_.join();
    }
    /// An empty one ends the thread.
    void tell(completion<int> answer) {
        {
            const std::lock_guard hold(lock_);
            asked_.push_back(std::move(answer));
        }
        changed_.notify_one();
    }

private:
    void work() {
        for (;;) {
            std::unique_lock hold(lock_);
            changed_.wait(hold, [this] { return !asked_.empty(); });
            completion<int> answer = std::move(asked_.front());
            asked_.pop_front();
            hold.unlock();
            if (!answer) break;
            answer.complete(1);
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<completion<int>> asked_;
    std::thread thread_; // last: it uses the others
};

// The peer: question and answer between two threads.
double two_threads(std::uint64_t n) {
    std::mutex lock;
    std::condition_variable changed;
    std::uint64_t asked = 0;
    std::uint64_t answered = 0;
    std::thread other([&] {
        std::unique_lock hold(lock);
        for (std::uint64_t i = 1; i <= n; ++i) {
            changed.wait(hold, [&] { return asked == i; });
            answered = i;
            changed.notify_one();
        }
    });
    const wall_stopwatch clock;
    {
        std::unique_lock hold(lock);
        for (std::uint64_t i = 1; i <= n; ++i) {
            asked = i;
            changed.notify_one();
            changed.wait(hold, [&] { return answered == i; });
        }
    }
    const double ns = clock.ns();
    other.join();
    return ns;
}

task<double> answered_at_once(std::uint64_t n) {
    const auto start = [](completion<int> answer) { answer.complete(1); };
    int sum = 0;
    const stopwatch clock;
    for (; n; --n) sum += co_await with_completion<int>(start);
    const double ns = clock.ns();
    bench::keep(sum);
    co_return ns;
}
task<double> answered_elsewhere(std::uint64_t n) {
    other_thread other;
    const auto start = [&](completion<int> answer) { other.tell(std::move(answer)); };
    int sum = 0;
    const wall_stopwatch clock;
    for (; n; --n) sum += co_await with_completion<int>(start);
    const double ns = clock.ns();
    bench::keep(sum);
    co_return ns;
}
task<double> blocking_call(std::uint64_t n) {
    const auto call = [] { return 1; };
    int sum = 0;
    const wall_stopwatch clock;
    for (; n; --n) sum += co_await spawn_blocking(call);
    const double ns = clock.ns();
    bench::keep(sum);
    co_return ns;
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(argc, argv, "Measures the ways to code that is no task."));
    if (!all.single()) {
        std::printf("bench_doors: ns per operation, %u interleaved rounds; across threads wall "
                    "clock\n",
                    all.chosen().rounds);
    }
    bench::stage one(1, all);
    if (!all.counted()) static_cast<void>(one.runtime());
    all.compare("an answer that is there",
                {
                    {"with_completion, answered", one.subject(answered_at_once)},
                });
    all.compare("an answer of another thread",
                {
                    {"two threads, std::condition_variable", two_threads},
                    {"with_completion, from a thread", one.subject(answered_elsewhere)},
                    {"spawn_blocking, round trip", one.subject(blocking_call)},
                });
    return all.result();
}
