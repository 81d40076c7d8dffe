// What a sync::mutex costs that nobody else wants, beside std::mutex and the bare atomics.
#include "bare.hpp"
#include "measure.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <shared_mutex>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;
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

// What a lock word is where only one thread locks.
class plain_word {
public:
    explicit plain_word(std::uint32_t value) noexcept : value_(value) {}
    bool compare_exchange_strong(std::uint32_t& expected, std::uint32_t wanted,
                                 std::memory_order) noexcept {
        if (value_ != expected) return false;
        value_ = wanted;
        bench::keep(value_);
        return true;
    }

private:
    std::uint32_t value_;
};

// The floor for a coroutine: an awaiter and a guard around the same two swaps.
template <class Word>
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
    Word word_{0};
    int value_ = 0;
};

template <class Word>
bench::bare<bench::from_malloc> bare_loop(bare_mutex<Word>& mutex, std::uint64_t n) {
    for (; n; --n) {
        const auto hold = co_await mutex.lock();
        bench::keep(++*hold);
    }
}

template <class Word>
double bare_lock(std::uint64_t n) {
    bare_mutex<Word> mutex;
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

// A time limit around something that is there at once.
task<double> lock_in_time(std::uint64_t n) {
    plain_mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto hold = co_await with_timeout(1s, mutex.lock());
        bench::keep(++*hold);
    }
    co_return clock.ns();
}

struct line {
    int numbers[16] = {};
};

task<double> transact(std::uint64_t n) {
    sync::mutex<line> mutex;
    const stopwatch clock;
    for (; n; --n) {
        auto tx = co_await mutex.transaction();
        bench::keep(++tx->numbers[0]);
        tx.commit();
    }
    co_return clock.ns();
}

task<double> acquire(std::uint64_t n) {
    sync::semaphore permits(1);
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        const auto held = co_await permits.acquire();
        bench::keep(++value);
    }
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

task<double> read_shared(std::uint64_t n) {
    sync::shared_mutex<int> mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto held = co_await mutex.read();
        bench::keep(const_cast<int&>(*held));
    }
    co_return clock.ns();
}

double std_lock_shared(std::uint64_t n) {
    std::shared_mutex mutex;
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        const std::shared_lock held(mutex);
        bench::keep(value);
    }
    return clock.ns();
}

// Two tasks of one worker that wait for each other: each unlock() hands over, each lock()
// queues.
task<> hands_over(plain_mutex& mutex, std::uint64_t n) {
    auto held = co_await mutex.lock();
    for (; n; --n) {
        held.unlock();
        held = co_await mutex.lock();
        bench::keep(++*held);
    }
}
task<double> hand_over(std::uint64_t n) {
    plain_mutex mutex;
    auto other = spawn(hands_over(mutex, n / 2));
    co_await yield_now();
    const stopwatch clock;
    co_await hands_over(mutex, n / 2);
    co_await other;
    co_return clock.ns();
}

struct turns {
    plain_mutex mutex;
    sync::condition_variable changed;
};
task<> takes_turns(turns& with, int parity, std::uint64_t n) {
    auto held = co_await with.mutex.lock();
    for (; n; --n) {
        while (*held % 2 != parity) co_await with.changed.wait(held);
        ++*held;
        with.changed.notify_one();
    }
}
task<double> notify_and_wake(std::uint64_t n) {
    turns both;
    auto other = spawn(takes_turns(both, 1, n / 2));
    co_await yield_now();
    const stopwatch clock;
    co_await takes_turns(both, 0, n / 2);
    co_await other;
    co_return clock.ns();
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
    if (!all.counted()) static_cast<void>(one.runtime());
    all.compare(
        "lock + unlock, nobody else wants it",
        {
            {"std::mutex", std_lock},
            {"two compare-and-swap", two_swaps},
            {"bare coroutine mutex", bare_lock<std::atomic<std::uint32_t>>},
            {"sync::mutex lock", one.subject(lock<plain_mutex>)},
            {"sync::mutex lock, g.unlock(): no poison check", one.subject(lock_and_say_unlock)},
            {"sync::mutex lock, policies release", one.subject(lock<careless_mutex>)},
            {"sync::mutex lock(on_cancel::defer)", one.subject(lock_deferring)},
            {"sync::mutex lock_or_poison", one.subject(lock_or_poison)},
            {"sync::mutex with_lock", one.subject(with_lock)},
            {"sync::mutex blocking_lock, plain thread", blocking_lock},
            {"with_timeout of sync::mutex lock", one.subject(lock_in_time)},
            {"sync::mutex transaction, 64 bytes", one.subject(transact)},
            {"sync::semaphore acquire", one.subject(acquire)},
        });
    all.compare("the same on one worker only",
                {
                    {"bare coroutine mutex, no atomics", bare_lock<plain_word>},
                    {"sync::local_mutex lock", one.subject(lock<sync::local_mutex<int>>)},
                });
    all.compare("reading, nobody else wants it",
                {
                    {"std::shared_mutex, shared", std_lock_shared},
                    {"sync::shared_mutex read", one.subject(read_shared)},
                });
    all.compare("waking the other of two tasks",
                {
                    {"sync::mutex hand-over", one.subject(hand_over)},
                    {"sync::condition_variable notify + wake", one.subject(notify_and_wake)},
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
    return all.result();
}
