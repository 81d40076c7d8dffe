// What channels cost: a message that nobody waits for, one that wakes its receiver, and a
// oneshot from its making to its end.
#include "measure.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>

namespace {

using namespace toadstone;
using bench::stopwatch;

constexpr std::size_t room = 64;

// The peer: what one writes without a channel.
double std_queue(std::uint64_t n) {
    std::mutex lock;
    std::condition_variable filled;
    std::deque<int> queue;
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        {
            const std::lock_guard hold(lock);
            queue.push_back(value);
        }
        filled.notify_one();
        std::unique_lock hold(lock);
        value = queue.front() + 1;
        queue.pop_front();
        bench::keep(value);
    }
    return clock.ns();
}

task<double> send_and_recv(std::uint64_t n) {
    auto [tx, rx] = sync::mpsc::channel<int>(room);
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        co_await tx.send(std::move(value));
        const auto got = co_await rx.recv();
        value = *got + 1;
        bench::keep(value);
    }
    co_return clock.ns();
}

task<double> send_and_recv_unbounded(std::uint64_t n) {
    auto [tx, rx] = sync::mpsc::unbounded<int>();
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        tx.send(std::move(value));
        const auto got = co_await rx.recv();
        value = *got + 1;
        bench::keep(value);
    }
    co_return clock.ns();
}

task<double> try_both(std::uint64_t n) {
    auto [tx, rx] = sync::mpsc::channel<int>(room);
    int value = 0;
    const stopwatch clock;
    for (; n; --n) {
        static_cast<void>(tx.try_send(std::move(value)));
        const auto got = rx.try_recv();
        value = *got + 1;
        bench::keep(value);
    }
    co_return clock.ns();
}

task<double> one_message(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) {
        auto [tx, rx] = sync::oneshot::channel<int>();
        int value = 1;
        static_cast<void>(tx.send(std::move(value)));
        value = co_await rx.recv();
        bench::keep(value);
    }
    co_return clock.ns();
}

task<> consume(sync::mpsc::receiver<int> rx) {
    for (;;) {
        auto got = co_await rx.recv();
        if (!got) break;
        bench::keep(*got);
    }
}

// Producer and consumer on one worker, or on two: as often as the room is full, or empty, one
// of them waits for the other.
task<double> stream(std::uint64_t n, unsigned consumer) {
    auto [tx, rx] = sync::mpsc::channel<int>(room);
    auto consuming = spawn(consume(std::move(rx)), {.where = placement::worker(consumer)});
    const bench::wall_stopwatch clock;
    for (int value = 0; n; --n) {
        co_await tx.send(std::move(value));
        ++value;
    }
    tx.close();
    co_await consuming;
    co_return clock.ns();
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(argc, argv, "Measures channels beside a std::deque."));
    if (!all.single()) {
        std::printf("bench_channels: ns per message, %u interleaved rounds, room for %zu\n",
                    all.chosen().rounds, room);
    }
    bench::stage one(1, all);
    if (!all.counted()) static_cast<void>(one.runtime());
    all.compare("a message that is there, one thread",
                {
                    {"std::deque, std::mutex, notify", std_queue},
                    {"mpsc send + recv", one.subject(send_and_recv)},
                    {"mpsc unbounded send + recv", one.subject(send_and_recv_unbounded)},
                    {"mpsc try_send + try_recv", one.subject(try_both)},
                    {"oneshot: make, send, recv", one.subject(one_message)},
                });
    all.compare("a stream on one worker",
                {
                    {"mpsc stream, one worker", one.subject(stream, 0u)},
                });
    bench::stage two(2, all);
    all.compare("a stream across workers",
                {
                    {"mpsc stream, two workers", two.subject(stream, 1u)},
                });
    return all.result();
}
