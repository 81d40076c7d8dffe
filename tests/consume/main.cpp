// The least that a user writes: a task that locks a mutex, a fiber, a name. All consumers build
// it.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

toadstone::task<int> body() {
    toadstone::sync::mutex<int> m{41};
    auto g = co_await m.lock();
#ifndef TOADSTONE_NO_FIBERS
    const auto on_fiber = [&] { toadstone::fiber::await(toadstone::yield_now()); };
    co_await toadstone::run_fiber(on_fiber);
#endif
#ifndef TOADSTONE_NO_DNS
    const auto found = co_await toadstone::io::resolver::system().resolve("localhost", 80);
    if (found.empty()) co_return 0;
#endif
    co_return ++*g;
}

int main() {
    toadstone::runtime rt;
    return rt.block_on(body()) == 42 ? 0 : 1;
}
