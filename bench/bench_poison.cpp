// What poisoning costs: locks with and without it, undisturbed, contended, cut by exceptions
// and cancellations, and repaired. docs/what_poison_costs.md explains the figures; its rows are
// the subjects below.
#include "measure.hpp"
#include "on_worker.hpp"
#include "poison_sections.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace {

using namespace toadstone;
using bench::local;
using bench::nothing;
using bench::poisons;
using bench::shared;
using bench::stopwatch;
using bench::writer;
using sync::on_cancel;
using sync::on_exception;

using wrapping = sync::mutex<poison<int>, on_cancel::release, on_exception::release>;

// --- std::mutex ---

/// std::mutex with a poison bit as Rust's std::sync::Mutex has it: the guard looks whether an
/// exception is in flight, when it is made and when it dies.
class mutex_with_bit {
public:
    class guard {
    public:
        explicit guard(mutex_with_bit& of) : of_(of) {
            of_.mutex_.lock();
            if (of_.poisoned_.load(std::memory_order_relaxed)) {
                of_.mutex_.unlock();
                throw std::runtime_error("poisoned");
            }
            in_flight_ = std::uncaught_exceptions();
        }
        guard(const guard&) = delete;
        guard& operator=(const guard&) = delete;
        ~guard() {
            if (std::uncaught_exceptions() > in_flight_) {
                of_.poisoned_.store(true, std::memory_order_relaxed);
            }
            of_.mutex_.unlock();
        }
        [[nodiscard]] int& operator*() const noexcept { return of_.value_; }

    private:
        mutex_with_bit& of_;
        int in_flight_ = 0;
    };
    void clear() noexcept { poisoned_.store(false, std::memory_order_relaxed); }

private:
    std::mutex mutex_;
    std::atomic<bool> poisoned_{false};
    int value_ = 0;
};

/// The same without the bit.
class plain_mutex {
public:
    class guard {
    public:
        explicit guard(plain_mutex& of) : of_(of) { of_.mutex_.lock(); }
        guard(const guard&) = delete;
        guard& operator=(const guard&) = delete;
        ~guard() { of_.mutex_.unlock(); }
        [[nodiscard]] int& operator*() const noexcept { return of_.value_; }

    private:
        plain_mutex& of_;
    };
    void clear() noexcept {}

private:
    std::mutex mutex_;
    int value_ = 0;
};

// --- undisturbed ---

/// On the worker, so that the process has two threads: with one, glibc leaves the atomics out.
template <class Mutex>
task<double> std_section(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        const typename Mutex::guard hold(mutex);
        bench::keep(++*hold);
    }
    co_return clock.ns();
}

template <class Mutex>
task<double> strict_section(std::uint64_t n) {
    Mutex mutex;
    const auto work = [](int& value) { bench::keep(++value); };
    const stopwatch clock;
    for (; n; --n) co_await mutex.with_lock(work);
    co_return clock.ns();
}

task<double> access_alone(std::uint64_t n) {
    poison<int> data;
    const stopwatch clock;
    for (; n; --n) {
        const auto access = data.access();
        bench::keep(++*access);
    }
    co_return clock.ns();
}

task<double> access_in_section(std::uint64_t n) {
    wrapping mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto hold = co_await mutex.lock();
        const auto access = hold->access();
        bench::keep(++*access);
    }
    co_return clock.ns();
}

task<double> access_in_std_section(std::uint64_t n) {
    std::mutex mutex;
    poison<int> data;
    const stopwatch clock;
    for (; n; --n) {
        const std::lock_guard hold(mutex);
        const auto access = data.access();
        bench::keep(++*access);
    }
    co_return clock.ns();
}

// --- with an await inside, alone and in a queue ---

task<double> yields(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await yield_now();
    co_return clock.ns();
}

template <class Mutex>
task<> sections_with_yield(Mutex& mutex, std::uint64_t n) {
    for (; n; --n) {
        const auto hold = co_await mutex.lock();
        bench::keep(++*hold);
        co_await yield_now();
    }
}

template <class Mutex>
task<double> section_with_yield(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    co_await sections_with_yield(mutex, n);
    co_return clock.ns();
}

/// While one yields, the nine others queue, so that each unlock() hands over.
template <class Mutex>
task<double> ten_tasks(std::uint64_t n) {
    Mutex mutex;
    std::array<join_handle<void>, 10> tasks;
    const stopwatch clock;
    for (auto& each : tasks) each = spawn(sections_with_yield(mutex, n / tasks.size()));
    for (auto& each : tasks) co_await each;
    co_return clock.ns();
}

// --- two threads ---

/// With fewer, the start of the threads would be what is measured.
constexpr std::uint64_t least = 20'000;

template <class Mutex>
task<> sections(Mutex& mutex, std::uint64_t n) {
    for (; n; --n) {
        const auto hold = co_await mutex.lock();
        bench::keep(++*hold);
    }
}

/// Eight tasks of each of two workers, in a queue in which their turns alternate.
template <class Mutex>
task<double> two_workers(std::uint64_t n) {
    Mutex mutex;
    std::array<join_handle<void>, 16> tasks;
    const std::uint64_t each_does = std::max(n, least) / tasks.size();
    auto hold = co_await mutex.lock();
    for (unsigned i = 0; i < tasks.size(); ++i) {
        tasks[i] = spawn(sections(mutex, each_does), {.where = placement::worker(i % 2)});
        while (mutex.waiters() <= i) co_await yield_now();
    }
    const bench::wall_stopwatch clock;
    hold.unlock();
    for (auto& each : tasks) co_await each;
    co_return clock.ns() * static_cast<double>(n) /
        static_cast<double>(each_does * tasks.size());
}

template <class Mutex>
double two_threads(std::uint64_t n) {
    Mutex mutex;
    const std::uint64_t half = std::max(n, least) / 2;
    const auto work = [&mutex, half] {
        for (std::uint64_t left = half; left; --left) {
            const typename Mutex::guard hold(mutex);
            bench::keep(++*hold);
        }
    };
    const bench::wall_stopwatch clock;
    std::thread one(work);
    std::thread other(work);
    one.join();
    other.join();
    return clock.ns() * static_cast<double>(n) / static_cast<double>(2 * half);
}

// --- sections that are cut ---

/// Of any lock, poisoned or not: the same work for all.
template <class Mutex>
task<> clear(Mutex& mutex) {
    auto both = co_await mutex.lock_or_poison();
    both.guard().clear_poison();
}

struct failure {};

task<> fails_without_lock() {
    throw failure();
    co_return;
}
template <class Mutex>
task<> fails_in_std_section(Mutex& mutex) {
    const typename Mutex::guard hold(mutex);
    bench::keep(++*hold);
    throw failure();
    co_return;
}
template <class Mutex>
task<> fails_in_section(Mutex& mutex) {
    const auto hold = co_await mutex.lock();
    bench::keep(++*hold);
    throw failure();
}

task<double> exception_alone(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) {
        try {
            co_await fails_without_lock();
        } catch (const failure&) {
        }
    }
    co_return clock.ns();
}
template <class Mutex>
task<double> cut_std_by_exception(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        try {
            co_await fails_in_std_section(mutex);
        } catch (const failure&) {
        }
        mutex.clear();
    }
    co_return clock.ns();
}
template <class Mutex>
task<double> cut_by_exception(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        try {
            co_await fails_in_section(mutex);
        } catch (const failure&) {
        }
        co_await clear(mutex);
    }
    co_return clock.ns();
}

task<> waits(sync::manual_reset_event& event) {
    co_await event.wait();
}
template <class Mutex>
task<> waits_in_section(Mutex& mutex, sync::manual_reset_event& event) {
    const auto hold = co_await mutex.lock();
    bench::keep(++*hold);
    co_await event.wait();
}

/// Spawned, cancelled where it waits, joined.
task<> cancel(join_handle<void> waiting) {
    co_await yield_now();
    waiting.cancel();
    const outcome<void> end = co_await waiting.outcome();
    static_cast<void>(end);
}
task<double> cancellation_alone(std::uint64_t n) {
    sync::manual_reset_event never;
    const stopwatch clock;
    for (; n; --n) co_await cancel(spawn(waits(never)));
    co_return clock.ns();
}
template <class Mutex>
task<double> cut_by_cancellation(std::uint64_t n) {
    Mutex mutex;
    sync::manual_reset_event never;
    const stopwatch clock;
    for (; n; --n) {
        co_await cancel(spawn(waits_in_section(mutex, never)));
        co_await clear(mutex);
    }
    co_return clock.ns();
}

// --- afterwards ---

template <class Mutex>
task<> damage(Mutex& mutex) {
    auto hold = co_await mutex.lock();
    hold.poison("to be repaired");
}

task<double> refused(std::uint64_t n) {
    poisons<shared> mutex;
    co_await damage(mutex);
    const stopwatch clock;
    for (; n; --n) {
        try {
            const auto hold = co_await mutex.lock();
            bench::keep(++*hold);
        } catch (const poison_error&) {
        }
    }
    co_return clock.ns();
}
task<double> refused_by_bit(std::uint64_t n) {
    mutex_with_bit mutex;
    try {
        co_await fails_in_std_section(mutex);
    } catch (const failure&) {
    }
    const stopwatch clock;
    for (; n; --n) {
        try {
            const mutex_with_bit::guard hold(mutex);
            bench::keep(++*hold);
        } catch (const std::runtime_error&) {
        }
    }
    co_return clock.ns();
}
task<double> looked_at(std::uint64_t n) {
    poisons<shared> mutex;
    co_await damage(mutex);
    const stopwatch clock;
    for (; n; --n) {
        auto both = co_await mutex.lock_or_poison();
        bench::keep(++*both.guard());
    }
    co_return clock.ns();
}

template <class Mutex>
task<double> declared_and_cleared(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        co_await damage(mutex);
        co_await clear(mutex);
    }
    co_return clock.ns();
}
template <class Mutex>
task<double> declared_and_recovered(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        co_await damage(mutex);
        auto repair = co_await mutex.recover();
        bench::keep(++*repair);
        const auto hold = repair.complete();
    }
    co_return clock.ns();
}
template <class Mutex>
task<double> declared_and_rebuilt(std::uint64_t n) {
    Mutex mutex;
    const auto rebuild = [](int& value, const poison_cause&) { bench::keep(++value); };
    const stopwatch clock;
    for (; n; --n) {
        co_await damage(mutex);
        const auto hold = co_await mutex.lock_or_recover(rebuild);
    }
    co_return clock.ns();
}

// --- bytes ---

template <class Mutex>
void print_bytes(const char* name) {
    std::printf("  %-52s %10zu %10zu\n", name, sizeof(Mutex), sizeof(typename Mutex::guard));
}

void print_all_bytes() {
    std::printf("\nbytes, with an int\n  %-52s %10s %10s\n", "", "lock", "guard");
    print_bytes<plain_mutex>("std::mutex");
    print_bytes<mutex_with_bit>("std::mutex, a bit by hand");
    print_bytes<poisons<shared>>("mutex, poisons");
    print_bytes<nothing<shared>>("mutex, poisons nothing");
    print_bytes<poisons<local>>("local_mutex, poisons");
    print_bytes<nothing<local>>("local_mutex, poisons nothing");
    print_bytes<poisons<writer>>("shared_mutex, poisons");
    print_bytes<nothing<writer>>("shared_mutex, poisons nothing");
    std::printf("  %-52s %10zu %10zu\n", "poison<int>", sizeof(poison<int>),
                sizeof(poison_access<int>));
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(argc, argv, "Measures what poisoning costs.",
                                  "  --bytes         the sizes alone\n"));
    if (!all.single()) print_all_bytes();
    if (!all.chosen().others.empty()) return 0;
    const bench::sections mutex = bench::sections_of_mutex();
    const bench::sections local_mutex = bench::sections_of_local_mutex();
    const bench::sections shared_mutex = bench::sections_of_shared_mutex();
    bench::stage one(1, all);
    bench::stage two(2, all);
    all.compare(
        "a section, nobody else wants the lock",
        {
            {"std::mutex", one.subject(std_section<plain_mutex>)},
            {"std::mutex, a bit by hand", one.subject(std_section<mutex_with_bit>)},
            {"mutex, poisons", one.subject(mutex.poisons)},
            {"mutex, poisons on exceptions", one.subject(mutex.on_exceptions)},
            {"mutex, poisons on cancellation", one.subject(mutex.on_cancellation)},
            {"mutex, poisons nothing", one.subject(mutex.nothing)},
            {"mutex, unlock()", one.subject(mutex.unlocked)},
            {"mutex, with_lock()", one.subject(strict_section<poisons<shared>>)},
            {"local_mutex, poisons", one.subject(local_mutex.poisons)},
            {"local_mutex, poisons on exceptions", one.subject(local_mutex.on_exceptions)},
            {"local_mutex, poisons on cancellation", one.subject(local_mutex.on_cancellation)},
            {"local_mutex, poisons nothing", one.subject(local_mutex.nothing)},
            {"local_mutex, unlock()", one.subject(local_mutex.unlocked)},
            {"shared_mutex, poisons", one.subject(shared_mutex.poisons)},
            {"shared_mutex, poisons on exceptions", one.subject(shared_mutex.on_exceptions)},
            {"shared_mutex, poisons on cancellation",
             one.subject(shared_mutex.on_cancellation)},
            {"shared_mutex, poisons nothing", one.subject(shared_mutex.nothing)},
            {"shared_mutex, unlock()", one.subject(shared_mutex.unlocked)},
            {"poison<int>, no lock", one.subject(access_alone)},
            {"poison<int> in a mutex that poisons nothing", one.subject(access_in_section)},
            {"poison<int> in a std::mutex", one.subject(access_in_std_section)},
        });
    all.compare(
        "a section with a yield inside, nobody else wants the lock",
        {
            {"yield, no lock", one.subject(yields)},
            {"yield, mutex, poisons", one.subject(section_with_yield<poisons<shared>>)},
            {"yield, mutex, poisons nothing", one.subject(section_with_yield<nothing<shared>>)},
            {"yield, local_mutex, poisons", one.subject(section_with_yield<poisons<local>>)},
            {"yield, local_mutex, poisons nothing",
             one.subject(section_with_yield<nothing<local>>)},
            {"yield, shared_mutex, poisons", one.subject(section_with_yield<poisons<writer>>)},
            {"yield, shared_mutex, poisons nothing",
             one.subject(section_with_yield<nothing<writer>>)},
        });
    all.compare(
        "the same, ten tasks of one worker",
        {
            {"ten, mutex, poisons", one.subject(ten_tasks<poisons<shared>>)},
            {"ten, mutex, poisons nothing", one.subject(ten_tasks<nothing<shared>>)},
            {"ten, local_mutex, poisons", one.subject(ten_tasks<poisons<local>>)},
            {"ten, local_mutex, poisons nothing", one.subject(ten_tasks<nothing<local>>)},
            {"ten, shared_mutex, poisons", one.subject(ten_tasks<poisons<writer>>)},
            {"ten, shared_mutex, poisons nothing", one.subject(ten_tasks<nothing<writer>>)},
        });
    all.compare("a section, two threads or workers want the lock; wall clock",
                {
                    {"two, std::mutex", two_threads<plain_mutex>},
                    {"two, std::mutex, a bit by hand", two_threads<mutex_with_bit>},
                    {"two, mutex, poisons", two.subject(two_workers<poisons<shared>>)},
                    {"two, mutex, poisons nothing", two.subject(two_workers<nothing<shared>>)},
                });
    all.compare(
        "a section cut by an exception that leaves its task, and cleared",
        {
            {"exception, no lock", one.subject(exception_alone)},
            {"exception, std::mutex", one.subject(cut_std_by_exception<plain_mutex>)},
            {"exception, std::mutex, a bit by hand",
             one.subject(cut_std_by_exception<mutex_with_bit>)},
            {"exception, mutex, poisons", one.subject(cut_by_exception<poisons<shared>>)},
            {"exception, mutex, poisons nothing",
             one.subject(cut_by_exception<nothing<shared>>)},
            {"exception, local_mutex, poisons", one.subject(cut_by_exception<poisons<local>>)},
            {"exception, local_mutex, poisons nothing",
             one.subject(cut_by_exception<nothing<local>>)},
        });
    all.compare(
        "a section cut by the cancellation of its task, and cleared",
        {
            {"cancellation, no lock", one.subject(cancellation_alone)},
            {"cancellation, mutex, poisons", one.subject(cut_by_cancellation<poisons<shared>>)},
            {"cancellation, mutex, poisons nothing",
             one.subject(cut_by_cancellation<nothing<shared>>)},
            {"cancellation, local_mutex, poisons",
             one.subject(cut_by_cancellation<poisons<local>>)},
            {"cancellation, local_mutex, poisons nothing",
             one.subject(cut_by_cancellation<nothing<local>>)},
        });
    all.compare(
        "poisoned data",
        {
            {"lock() is refused", one.subject(refused)},
            {"std::mutex, a bit by hand, is refused", one.subject(refused_by_bit)},
            {"lock_or_poison()", one.subject(looked_at)},
            {"poison(), clear_poison()", one.subject(declared_and_cleared<poisons<shared>>)},
            {"poison(), recover(), complete()",
             one.subject(declared_and_recovered<poisons<shared>>)},
            {"poison(), lock_or_recover()", one.subject(declared_and_rebuilt<poisons<shared>>)},
        });
    return all.result();
}
