// RLIMIT_MEMLOCK leaves no room for a ring: the error names the limit. A file of its own,
// because not every kernel counts ring memory, and then the program says so and exits 77.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/skip.hpp"

#include <catch2/catch.hpp>

#include <cstdio>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr int no_error = 50;
constexpr int cannot_set_up = 60;

task<int> seven() {
    co_return 7;
}

/// Memory may not be locked any more: the limit does not hold for root, so be nobody.
bool lock_no_memory() {
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0) return false;
    return ::geteuid() != 0 || (::setgid(65534) == 0 && ::setuid(65534) == 0);
}

int make_runtime() {
    if (!lock_no_memory()) return cannot_set_up;
    try {
        const runtime here({.workers = 1});
        return no_error;
    } catch (const ring_unavailable& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.why());
    }
}

/// As many runtimes, one after the other, as their rings have room for many times over.
int make_many() {
    const rlimit some{.rlim_cur = 8U << 20, .rlim_max = 8U << 20};
    if (::setrlimit(RLIMIT_MEMLOCK, &some) != 0) return cannot_set_up;
    // A user of its own: the limit is per user.
    if (::geteuid() == 0 && (::setgid(65532) != 0 || ::setuid(65532) != 0)) {
        return cannot_set_up;
    }
    for (int i = 0; i < 100; ++i) {
        try {
            runtime here({.workers = 2});
            if (here.block_on(seven()) != 7) return 1;
        } catch (const ring_unavailable& error) {
            std::fprintf(stderr, "runtime %d: %s\n", i + 1, error.what());
            return static_cast<int>(error.why());
        }
    }
    return no_error;
}

int run_main() {
    return lock_no_memory() ? run(seven()) : cannot_set_up;
}

} // namespace

TEST_CASE("no ring: RLIMIT_MEMLOCK is named, with its value and the remedies") {
    const auto end = in_child(make_runtime);
    if (end.code == no_error) skip("this kernel does not count ring memory");
    if (end.code == cannot_set_up) skip("this process may not lower its limits");
    CHECK(end.code == static_cast<int>(ring_unavailable::cause::memory));
    CHECK_THAT(end.err, Catch::Contains("RLIMIT_MEMLOCK is 0 bytes") &&
                            Catch::Contains("ulimit -l") && Catch::Contains("fewer workers") &&
                            Catch::Contains("Cannot allocate memory"));
}

TEST_CASE("no ring: without memory for it, run() prints one line and returns 1") {
    const auto end = in_child(run_main);
    if (end.code == 7) skip("this kernel does not count ring memory");
    if (end.code == cannot_set_up) skip("this process may not lower its limits");
    CHECK(end.code == 1);
    CHECK(count_of(end.err, "\n") == 1);
    CHECK_THAT(end.err, Catch::Contains("RLIMIT_MEMLOCK"));
}

TEST_CASE("no ring: memory that the kernel gives back late is waited for") {
    const auto end = in_child(make_many);
    if (end.code == cannot_set_up) skip("this process may not lower its limits");
    CHECK(end.code == no_error);
    CHECK(end.err.empty());
}
