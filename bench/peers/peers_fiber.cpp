// The same on Boost.Fiber: peers_fiber SUBJECT COUNT prints the ns per operation.
#include "../measure.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include <boost/fiber/all.hpp>

namespace {

namespace fibers = boost::fibers;

// Stacks from a pool, or the system calls for them would be measured.
class stacks {
public:
    template <class Body>
    [[nodiscard]] fibers::fiber start(Body body) {
        return fibers::fiber(std::allocator_arg, pool_, body);
    }

private:
    fibers::pooled_fixedsize_stack pool_{16 * 1024};
};

// Warm after the first run.
stacks pool;

void lock(std::uint64_t n) {
    fibers::mutex mutex;
    int value = 0;
    for (; n; --n) {
        mutex.lock();
        ++value;
        bench::keep(value);
        mutex.unlock();
    }
}

void spawn(std::uint64_t n) {
    for (; n; --n) pool.start([] {}).join();
}

void spawn_batches(std::uint64_t n) {
    std::vector<fibers::fiber> batch(1000);
    for (; n >= batch.size(); n -= batch.size()) {
        for (auto& each : batch) each = pool.start([] {});
        for (auto& each : batch) each.join();
    }
}

void yield(std::uint64_t n) {
    for (; n; --n) boost::this_fiber::yield();
}

void yield_among_100(std::uint64_t n) {
    std::vector<fibers::fiber> all;
    for (int i = 0; i < 100; ++i) all.emplace_back([n] { yield(n / 100); });
    for (auto& each : all) each.join();
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "peers_fiber SUBJECT COUNT\n");
        return 2;
    }
    const std::string_view name = argv[1];
    const std::uint64_t count = std::strtoull(argv[2], nullptr, 10);
    void (*const run)(std::uint64_t) = name == "lock"            ? lock
                                       : name == "spawn"         ? spawn
                                       : name == "spawn-batches" ? spawn_batches
                                       : name == "yield"         ? yield
                                       : name == "yield-100"     ? yield_among_100
                                                                 : nullptr;
    if (!run) {
        std::fprintf(stderr, "there is no subject %s\n", argv[1]);
        return 2;
    }
    run(count / 10 + 1000);
    const bench::stopwatch clock;
    run(count);
    std::printf("%.3f\n", clock.ns() / static_cast<double>(count));
}
