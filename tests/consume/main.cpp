// The least that a user writes: a task that locks a mutex. Both consumers build this file.
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

toadstone::task<int> body() {
    toadstone::sync::mutex<int> m{41};
    auto g = co_await m.lock();
    co_return ++*g;
}

int main() {
    toadstone::runtime rt;
    return rt.block_on(body()) == 42 ? 0 : 1;
}
