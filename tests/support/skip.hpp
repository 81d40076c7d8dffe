// How a test program says that it cannot run on this machine: a sentence, and exit code 77.
#ifndef TOADSTONE_TESTS_SUPPORT_SKIP_HPP
#define TOADSTONE_TESTS_SUPPORT_SKIP_HPP

#include <cstdio>
#include <cstdlib>

namespace toadstone::tests {

/// Ends the whole program, so a test that may skip lives in a file of its own. Leaves without
/// running destructors: what the test has set up so far is not worth reporting as leaked.
[[noreturn]] inline void skip(const char* why) {
    std::printf("skipped: %s\n", why);
    std::fflush(stdout);
    std::_Exit(77);
}

} // namespace toadstone::tests

#endif // TOADSTONE_TESTS_SUPPORT_SKIP_HPP
