// What the ways to other code cost: an answer that is there, one from another thread, and a
// function on a thread for functions that block, beside two threads and a condition variable;
// and a name of the hosts file.
#include "measure.hpp"
#include "on_worker.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

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

#ifndef TOADSTONE_NO_DNS
/// A hosts file of 100 names.
class some_hosts {
public:
    some_hosts() {
        const int fd = ::mkstemp(path_);
        std::FILE* const file = fd < 0 ? nullptr : ::fdopen(fd, "w");
        if (!file) {
            std::perror("bench_doors: mkstemp");
            std::exit(1);
        }
        for (int i = 0; i < 100; ++i) std::fprintf(file, "192.0.2.%d host%d.example\n", i, i);
        std::fclose(file);
    }
    some_hosts(const some_hosts&) = delete;
    some_hosts& operator=(const some_hosts&) = delete;
    ~some_hosts() { ::unlink(path_); }
    [[nodiscard]] std::string path() const { return path_; }

private:
    char path_[32] = "/tmp/toadstone-bench-XXXXXX";
};

task<double> from_the_hosts_file(std::uint64_t n) {
    const some_hosts file;
    io::resolver_options options;
    options.hosts = file.path();
    const io::resolver names(std::move(options));
    std::size_t sum = 0;
    const stopwatch clock;
    for (; n; --n) {
        const auto found = co_await names.resolve("host50.example", 80);
        sum += found.size();
    }
    const double ns = clock.ns();
    bench::keep(sum);
    co_return ns;
}
#endif

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
#ifndef TOADSTONE_NO_DNS
    all.compare("a name",
                {
                    {"resolver, from the hosts file", one.subject(from_the_hosts_file)},
                });
#endif
    return all.result();
}
