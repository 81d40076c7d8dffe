// A stranger's test under simulation: what toadstone-sim promises is there to link.
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include <chrono>
#include <cstdio>

using namespace std::chrono_literals;

namespace {

toadstone::task<> waits_an_hour(toadstone::sim::world&) {
    co_await toadstone::sleep_for(1h);
}

} // namespace

int main() {
    const auto end = toadstone::sim::simulate(waits_an_hour);
    if (!end || end.elapsed < 1h) {
        std::printf("the simulation failed: %s\n", end.failure.c_str());
        return 1;
    }
    return 0;
}
