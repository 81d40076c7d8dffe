// The first program of docs/tutorial.md: a task that waits for another one. Prints
//
//     hello
//     and good-bye, 2
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstdio>

using namespace std::chrono_literals;

toadstone::task<int> greet() {
    std::puts("hello");
    co_await toadstone::sleep_for(10ms);
    co_return 2;
}

toadstone::task<> story() {
    const int number = co_await greet();
    std::printf("and good-bye, %d\n", number);
}

int main() {
    return toadstone::run(story());
}
