// What a sync::mutex does that many want: on two workers, in both orders in which tasks of two
// workers can stand in its queue, beside std::mutex and two threads that spin for each other.
//
// A lock that is strictly first come, first served keeps the order of its queue. In blocks, all
// tasks of one worker stand before those of the other; alternating, each hand-over crosses. A
// batched one takes up to 64 of one worker before it crosses.
#include "measure.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>

namespace {

using namespace toadstone;
using std::chrono::milliseconds;

// The work under the lock: a chain of multiplications of a known length.
class spin {
public:
    explicit spin(double ns) {
        constexpr unsigned tried = 1'000'000;
        std::vector<double> each;
        for (int i = 0; i < 5; ++i) {
            const bench::stopwatch clock;
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
    double rate = 0;     ///< hand-overs, millions per second
    double spread = 0;   ///< served most over served least
    double switches = 0; ///< voluntary context switches per hand-over
};

double voluntary_switches() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_nvcsw);
}

class race {
public:
    race(milliseconds length, unsigned clients) : length_(length), served_(clients) {}

    /// Lets everybody get into step, then counts for the length of the race. Called when all
    /// clients are on their way.
    void hold() {
        std::this_thread::sleep_for(length_ / 2);
        const double before = voluntary_switches();
        phase_.store(phase::counting, std::memory_order_relaxed);
        const bench::wall_stopwatch clock;
        std::this_thread::sleep_for(length_);
        phase_.store(phase::over, std::memory_order_relaxed);
        ns_ = clock.ns();
        switches_ = voluntary_switches() - before;
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
        const auto at_least_one = [](std::uint64_t count) {
            return static_cast<double>(std::max<std::uint64_t>(1, count));
        };
        return {static_cast<double>(sum) * 1e3 / ns_,
                static_cast<double>(*most) / at_least_one(*least),
                switches_ / at_least_one(sum)};
    }

private:
    enum class phase : unsigned char { warming, counting, over };

    milliseconds length_;
    std::atomic<phase> phase_{phase::warming};
    std::vector<std::uint64_t> served_; // each client writes its own, at its end
    double ns_ = 0;
    double switches_ = 0;
};

// --- toadstone ---

using lock = sync::mutex<spin*>;

task<> client(lock& mutex, race& in, unsigned index) {
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

task<> nothing() {
    co_return;
}

enum class order { blocks, alternating };

// Has the clients queue in that order behind a plain thread, one after the other: what a worker
// is told after it was told of a client runs when that client waits.
void contend_in(runtime& two, lock& mutex, race& in, unsigned clients, order wanted,
                std::vector<join_handle<void>>& handles) {
    const auto first = mutex.blocking_lock();
    for (unsigned i = 0; i < clients; ++i) {
        const unsigned where = wanted == order::blocks ? i / (clients / 2) : i % 2;
        handles.push_back(two.spawn(client(mutex, in, i), {.where = placement::worker(where)}));
        std::vector<join_handle<void>> behind;
        behind.push_back(two.spawn(nothing(), {.where = placement::worker(where)}));
        two.block_on(join(behind));
    }
}

contest contend(runtime& two, spin& work, unsigned clients, order wanted, sync::fairness turns,
                milliseconds length) {
    lock mutex(&work, {}, turns);
    race in(length, clients);
    std::vector<join_handle<void>> handles;
    contend_in(two, mutex, in, clients, wanted, handles);
    in.hold();
    two.block_on(join(handles));
    return in.result();
}

// --- the peers ---

contest contend_std(spin& work, milliseconds length) {
    constexpr unsigned threads = 2;
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

// Two threads that take turns and spin meanwhile: the fastest a strict hand-over can be.
contest ping_pong(spin& work, milliseconds length) {
    race in(length, 2);
    std::atomic<unsigned> whose{0};
    const auto play = [&](unsigned me) {
        std::uint64_t served = 0;
        while (!in.over()) {
            while (whose.load(std::memory_order_acquire) != me && !in.over()) {
            }
            if (in.over()) break;
            work();
            served += in.counting();
            whose.store(1 - me, std::memory_order_release);
        }
        in.note(me, served);
    };
    std::thread one(play, 0);
    std::thread other(play, 1);
    in.hold();
    one.join();
    other.join();
    return in.result();
}

// --- rounds ---

struct entrant {
    std::string name;
    std::function<contest()> run;
    std::vector<contest> rounds;
};

template <class Value>
[[nodiscard]] std::vector<double> column(const entrant& of, Value value) {
    std::vector<double> found;
    for (const contest& each : of.rounds) found.push_back(value(each));
    return found;
}

[[nodiscard]] double ratio(const entrant& of, const entrant& over) {
    std::vector<double> found;
    for (std::size_t i = 0; i < of.rounds.size(); ++i) {
        found.push_back(of.rounds[i].rate / over.rounds[i].rate);
    }
    return bench::median(found);
}

void print(const entrant& each, const entrant& std_mutex, const entrant& pinged) {
    const auto rates = column(each, [](const contest& of) { return of.rate; });
    const double middle = bench::median(rates);
    const double worst = *std::min_element(rates.begin(), rates.end());
    std::printf("  %-36s %8.2f %8.2f %8.2f %8.2f %9.4f %8.2f %8.2f\n", each.name.c_str(),
                middle, worst, worst / middle,
                bench::median(column(each, [](const contest& of) { return of.spread; })),
                bench::median(column(each, [](const contest& of) { return of.switches; })),
                ratio(each, std_mutex), ratio(each, pinged));
}

} // namespace

int main(int argc, char** argv) {
    bench::options chosen = bench::parse(
        argc, argv, "Measures a contended sync::mutex beside std::mutex and spinning threads.");
    const milliseconds length(chosen.brief ? 5 : 100);
    const unsigned rounds = chosen.brief ? 1 : std::max(20U, chosen.rounds);
    spin work(46);
    runtime two({.workers = 2});
    std::vector<entrant> all{
        {"std::mutex, 2 threads", [&] { return contend_std(work, length); }, {}},
        {"ping-pong of 2 spinning threads", [&] { return ping_pong(work, length); }, {}},
    };
    for (const unsigned each : {1U, 2U, 10U, 100U}) {
        for (const order wanted : {order::blocks, order::alternating}) {
            if (each == 1 && wanted == order::alternating) continue; // there is one order
            const char* const order_name = each == 1                 ? ""
                                           : wanted == order::blocks ? ", blocks"
                                                                     : ", alternating";
            const std::string subject = "2 x " + std::to_string(each) + order_name;
            for (const auto turns : {sync::fairness::strict, sync::fairness::batched}) {
                const char* const name =
                    turns == sync::fairness::strict ? "sync::mutex, " : "batched, ";
                all.push_back({name + subject,
                               [&two, &work, each, wanted, turns, length] {
                                   return contend(two, work, 2 * each, wanted, turns, length);
                               },
                               {}});
            }
        }
    }
    for (unsigned round = 0; round < rounds; ++round) {
        for (entrant& each : all) each.rounds.push_back(each.run());
    }
    std::printf("bench_contended: about 46 ns of work under the lock (%u multiplications), "
                "2 workers, %u interleaved rounds of %lld ms, wall clock;\n"
                "hand-overs in millions per second; most/least: of what clients were served; "
                "switches: voluntary\ncontext switches per hand-over; ratios: medians over the "
                "rounds\n\n",
                work.turns(), rounds, static_cast<long long>(length.count()));
    std::printf("  %-36s %8s %8s %8s %8s %9s %8s %8s\n", "", "median", "worst", "w/median",
                "most/lst", "switches", "/std", "/spin");
    for (const entrant& each : all) print(each, all[0], all[1]);
    std::printf("\nbatched over strict, in the same rounds; at least 2.5 is the goal, with "
                "most/lst at most 2\n");
    for (std::size_t i = 3; i < all.size(); i += 2) {
        std::printf("  %-36s %8.2f\n", all[i].name.c_str(), ratio(all[i], all[i - 1]));
    }
    return 0;
}
