// What fibers cost: a switch and back beside the bare one of Boost.Context, a fiber from its
// beginning to its end, and what it awaits beside the same in a coroutine.
#include "measure.hpp"
#include "on_worker.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

using namespace toadstone;
using bench::stopwatch;
namespace bare = boost::context::detail;

void jumps_back(bare::transfer_t from) {
    for (;;) from = bare::jump_fcontext(from.fctx, nullptr);
}

double bare_switch(std::uint64_t n) {
    std::vector<std::byte> stack(64 * 1024);
    bare::fcontext_t other =
        bare::make_fcontext(stack.data() + stack.size(), stack.size(), jumps_back);
    const stopwatch clock;
    for (; n; --n) other = bare::jump_fcontext(other, nullptr).fctx;
    return clock.ns();
}

[[gnu::noinline]] task<> nothing() {
    co_return;
}

task<double> await_child(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await nothing();
    co_return clock.ns();
}
task<double> fiber_await_child(std::uint64_t n) {
    auto body = [n]() mutable {
        const stopwatch clock;
        for (; n; --n) fiber::await(nothing());
        return clock.ns();
    };
    co_return co_await run_fiber(body);
}

task<double> await_yield(std::uint64_t n) {
    const stopwatch clock;
    for (; n; --n) co_await yield_now();
    co_return clock.ns();
}
task<double> fiber_await_yield(std::uint64_t n) {
    auto body = [n]() mutable {
        const stopwatch clock;
        for (; n; --n) fiber::await(yield_now());
        return clock.ns();
    };
    co_return co_await run_fiber(body);
}

task<double> fiber_lock(std::uint64_t n) {
    sync::mutex<int> mutex;
    auto body = [&] {
        const stopwatch clock;
        for (; n; --n) {
            auto held = fiber::await(mutex.lock());
            ++*held;
        }
        return clock.ns();
    };
    co_return co_await run_fiber(body);
}

task<double> run_and_return(std::uint64_t n) {
    auto body = [] { return 1; };
    int sum = 0;
    const stopwatch clock;
    for (; n; --n) sum += co_await run_fiber(body);
    const double ns = clock.ns();
    bench::keep(sum);
    co_return ns;
}

} // namespace

int main(int argc, char** argv) {
    bench::suite all(bench::parse(argc, argv, "Measures fibers beside Boost.Context."));
    if (!all.single()) {
        std::printf("bench_fiber: ns per operation, %u interleaved rounds\n",
                    all.chosen().rounds);
    }
    bench::stage one(1, all);
    if (!all.counted()) static_cast<void>(one.runtime());
    all.compare("a switch to a fiber and back",
                {
                    {"bare fcontext, pair", bare_switch},
                    {"co_await child", one.subject(await_child)},
                    {"fiber::await child", one.subject(fiber_await_child)},
                    {"co_await yield_now", one.subject(await_yield)},
                    {"fiber::await yield_now", one.subject(fiber_await_yield)},
                    {"fiber::await a free lock", one.subject(fiber_lock)},
                    {"run_fiber and return", one.subject(run_and_return)},
                });
    return all.result();
}
