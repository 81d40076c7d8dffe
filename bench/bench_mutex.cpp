// What a sync::mutex costs, free and contended, beside std::mutex and the bare atomics.
#include "bare.hpp"
#include "measure.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace {

using namespace toadstone;
using bench::stopwatch;
using sync::on_cancel;
using sync::on_exception;

using plain_mutex = sync::mutex<int>;
using careless_mutex = sync::mutex<int, on_cancel::release, on_exception::release>;

// The floor: what any lock has to do.
double two_swaps(std::uint64_t n) {
    std::atomic<std::uint32_t> word{0};
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        std::uint32_t free = 0;
        word.compare_exchange_strong(free, 1, std::memory_order_acquire);
        ++value;
        bench::keep(value);
        std::uint32_t held = 1;
        word.compare_exchange_strong(held, 0, std::memory_order_release);
    }
    return clock.ns();
}

// The floor for a coroutine: an awaiter and a guard around the same two swaps.
class bare_mutex {
public:
    class guard {
    public:
        explicit guard(bare_mutex& mutex) noexcept : mutex_(mutex) {}
        guard(const guard&) = delete;
        guard& operator=(const guard&) = delete;
        ~guard() {
            std::uint32_t held = 1;
            mutex_.word_.compare_exchange_strong(held, 0, std::memory_order_release);
        }
        int& operator*() const noexcept { return mutex_.value_; }

    private:
        bare_mutex& mutex_;
    };
    class awaiter {
    public:
        explicit awaiter(bare_mutex& mutex) noexcept : mutex_(mutex) {}
        bool await_ready() const noexcept {
            std::uint32_t free = 0;
            return mutex_.word_.compare_exchange_strong(free, 1, std::memory_order_acquire);
        }
        void await_suspend(std::coroutine_handle<>) const noexcept {}
        guard await_resume() const noexcept { return guard(mutex_); }

    private:
        bare_mutex& mutex_;
    };
    awaiter lock() noexcept { return awaiter(*this); }

private:
    std::atomic<std::uint32_t> word_{0};
    int value_ = 0;
};

bench::bare<bench::from_malloc> bare_loop(bare_mutex& mutex, std::uint64_t n) {
    for (; n; --n) {
        const auto hold = co_await mutex.lock();
        bench::keep(++*hold);
    }
}

double bare_lock(std::uint64_t n) {
    bare_mutex mutex;
    const auto loop = bare_loop(mutex, n);
    const stopwatch clock;
    loop.resume();
    return clock.ns();
}

double std_lock(std::uint64_t n) {
    std::mutex mutex;
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        const std::lock_guard hold(mutex);
        bench::keep(++value);
    }
    return clock.ns();
}

double std_try_lock(std::uint64_t n) {
    std::mutex mutex;
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        const std::unique_lock hold(mutex, std::try_to_lock);
        if (hold) bench::keep(++value);
    }
    return clock.ns();
}

template <class Mutex>
task<double> lock(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto hold = co_await mutex.lock();
        bench::keep(++*hold);
    }
    co_return clock.ns();
}

// unlock() asks for no level, so what lock() takes longer is the poison check.
task<double> lock_and_say_unlock(std::uint64_t n) {
    plain_mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        auto hold = co_await mutex.lock();
        bench::keep(++*hold);
        hold.unlock();
    }
    co_return clock.ns();
}

task<double> lock_deferring(std::uint64_t n) {
    plain_mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto hold = co_await mutex.lock(on_cancel::defer);
        bench::keep(++*hold);
    }
    co_return clock.ns();
}

task<double> lock_or_poison(std::uint64_t n) {
    plain_mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        auto both = co_await mutex.lock_or_poison();
        bench::keep(++*both.guard());
    }
    co_return clock.ns();
}

task<double> with_lock(std::uint64_t n) {
    plain_mutex mutex;
    const auto work = [](int& value) { bench::keep(++value); };
    const stopwatch clock;
    for (; n; --n) co_await mutex.with_lock(work);
    co_return clock.ns();
}

task<double> try_lock(std::uint64_t n) {
    plain_mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto hold = mutex.try_lock();
        if (hold) bench::keep(++**hold);
    }
    co_return clock.ns();
}

double blocking_lock(std::uint64_t n) {
    plain_mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto hold = mutex.blocking_lock();
        bench::keep(++*hold);
    }
    return clock.ns();
}

task<double> access_poison(std::uint64_t n) {
    poison<int> data;
    const stopwatch clock;
    for (; n; --n) {
        const auto access = data.access();
        bench::keep(++*access);
    }
    co_return clock.ns();
}

// The work under a contended lock: a chain of multiplications of a known length.
class spin {
public:
    explicit spin(double ns) {
        constexpr unsigned tried = 1'000'000;
        std::vector<double> each;
        for (int i = 0; i < 5; ++i) {
            const stopwatch clock;
            turn(tried);
            each.push_back(clock.ns() / tried);
        }
        turns_ = std::max(1U, static_cast<unsigned>(ns / bench::median(each)));
    }
    void operator()() noexcept { turn(turns_); }
    [[nodiscard]] unsigned turns() const noexcept { return turns_; }

private:
    void turn(unsigned times) noexcept {
        for (; times; --times) {
            state_ = state_ * 6364136223846793005U + 1442695040888963407U;
            bench::keep(state_);
        }
    }
    std::uint64_t state_ = 1;
    unsigned turns_ = 1;
};

struct contest {
    double millions_per_second = 0;
    double spread = 0; ///< served most over served least
};

class race {
public:
    race(std::chrono::milliseconds length, unsigned clients)
        : length_(length), served_(clients, 0) {}

    /// Lets everybody get into step, then counts for the length of the race. Called when all
    /// clients are on their way.
    void hold() {
        std::this_thread::sleep_for(length_ / 2);
        phase_.store(phase::counting, std::memory_order_relaxed);
        const bench::wall_stopwatch clock;
        std::this_thread::sleep_for(length_);
        phase_.store(phase::over, std::memory_order_relaxed);
        ns_ = clock.ns();
    }
    [[nodiscard]] bool over() const noexcept {
        return phase_.load(std::memory_order_relaxed) == phase::over;
    }
    [[nodiscard]] bool counting() const noexcept {
        return phase_.load(std::memory_order_relaxed) == phase::counting;
    }
    void note(unsigned client, std::uint64_t served) noexcept { served_[client] = served; }
    [[nodiscard]] contest result() const {
        std::uint64_t sum = 0;
        for (const std::uint64_t each : served_) sum += each;
        const auto [least, most] = std::minmax_element(served_.begin(), served_.end());
        const auto at_least_one = std::max<std::uint64_t>(1, *least);
        return {static_cast<double>(sum) * 1e3 / ns_,
                static_cast<double>(*most) / static_cast<double>(at_least_one)};
    }

private:
    enum class phase : unsigned char { warming, counting, over };

    std::chrono::milliseconds length_;
    std::atomic<phase> phase_{phase::warming};
    std::vector<std::uint64_t> served_; // each client writes its own, at its end
    double ns_ = 0;
};

task<> client(sync::mutex<spin*>& mutex, race& in, unsigned index) {
    std::uint64_t served = 0;
    while (!in.over()) {
        const auto hold = co_await mutex.lock();
        (**hold)();
        served += in.counting();
    }
    in.note(index, served);
}

task<> join(std::vector<join_handle<void>>& clients) {
    for (auto& each : clients) co_await each;
}

contest contend(runtime& two, spin& work, unsigned clients, std::chrono::milliseconds length) {
    sync::mutex<spin*> mutex(&work);
    race in(length, clients);
    std::vector<join_handle<void>> handles;
    for (unsigned i = 0; i < clients; ++i) {
        handles.push_back(
            two.spawn(client(mutex, in, i), {.where = placement::worker(i % two.workers())}));
    }
    in.hold();
    two.block_on(join(handles));
    return in.result();
}

contest contend_std(spin& work, unsigned threads, std::chrono::milliseconds length) {
    std::mutex mutex;
    race in(length, threads);
    std::vector<std::thread> running;
    for (unsigned i = 0; i < threads; ++i) {
        running.emplace_back([&, i] {
            std::uint64_t served = 0;
            while (!in.over()) {
                const std::lock_guard hold(mutex);
                work();
                served += in.counting();
            }
            in.note(i, served);
        });
    }
    in.hold();
    for (auto& each : running) each.join();
    return in.result();
}

void print(const char* name, const std::vector<contest>& rounds,
           const std::vector<contest>& peer) {
    std::vector<double> rates;
    std::vector<double> spreads;
    std::vector<double> ratios;
    for (std::size_t i = 0; i < rounds.size(); ++i) {
        rates.push_back(rounds[i].millions_per_second);
        spreads.push_back(rounds[i].spread);
        ratios.push_back(rounds[i].millions_per_second / peer[i].millions_per_second);
    }
    std::printf("  %-42s %10.2f %10.2f %10.2f %8.2f\n", name, bench::median(rates),
                *std::max_element(rates.begin(), rates.end()), bench::median(spreads),
                bench::median(ratios));
}

void contended(const bench::options& chosen) {
    const auto length = std::chrono::milliseconds(chosen.brief ? 10 : 200);
    const unsigned rounds = chosen.brief ? 1 : std::min(chosen.rounds, 7U);
    spin work(46);
    runtime two({.workers = 2});
    std::vector<contest> threads;
    std::vector<contest> few;
    std::vector<contest> hundreds;
    std::vector<contest> thousands;
    for (unsigned i = 0; i < rounds; ++i) {
        threads.push_back(contend_std(work, 2, length));
        few.push_back(contend(two, work, 2, length));
        hundreds.push_back(contend(two, work, 200, length));
        thousands.push_back(contend(two, work, 2000, length));
    }
    std::printf(
        "\ncontended: about 46 ns of work under the lock (%u multiplications), 2 workers, "
        "%lld ms a round, wall clock\n  %-42s %10s %10s %10s %8s\n",
        work.turns(), static_cast<long long>(length.count()), "", "median M/s", "max M/s",
        "most/least", "ratio");
    print("std::mutex, 2 threads", threads, threads);
    print("sync::mutex, 2 x 1 task", few, threads);
    print("sync::mutex, 2 x 100 tasks", hundreds, threads);
    print("sync::mutex, 2 x 1000 tasks", thousands, threads);
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(argc, argv, "Measures sync::mutex beside std::mutex."));
    if (!all.single()) {
        std::printf(
            "bench_mutex: ns per operation, processor time of the one thread that works, "
            "%u interleaved rounds\n"
            "sizes in bytes: mutex<int> %zu, guard<int> %zu, std::mutex %zu\n",
            all.chosen().rounds, sizeof(plain_mutex), sizeof(sync::guard<int>),
            sizeof(std::mutex));
    }
    bench::stage one(1, all);
    // So that the process has a second thread, or glibc would leave the atomics out.
    if (!all.single()) static_cast<void>(one.runtime());
    all.compare(
        "lock + unlock, nobody else wants it",
        {
            {"std::mutex", std_lock},
            {"two compare-and-swap", two_swaps},
            {"bare coroutine mutex", bare_lock},
            {"sync::mutex lock", one.subject(lock<plain_mutex>)},
            {"sync::local_mutex lock", one.subject(lock<sync::local_mutex<int>>)},
            {"sync::mutex lock, g.unlock(): no poison check", one.subject(lock_and_say_unlock)},
            {"sync::mutex lock, policies release", one.subject(lock<careless_mutex>)},
            {"sync::mutex lock(on_cancel::defer)", one.subject(lock_deferring)},
            {"sync::mutex lock_or_poison", one.subject(lock_or_poison)},
            {"sync::mutex with_lock", one.subject(with_lock)},
            {"sync::mutex blocking_lock, plain thread", blocking_lock},
        });
    all.compare("try_lock + unlock, nobody else wants it",
                {
                    {"std::mutex try_lock", std_try_lock},
                    {"sync::mutex try_lock", one.subject(try_lock)},
                });
    all.compare("the detection alone: poison<int>::access() and its end",
                {
                    {"poison access", one.subject(access_poison)},
                });
    if (!all.single()) contended(all.chosen());
    return all.result();
}
