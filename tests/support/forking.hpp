// A task that forks, for what a forked process must not do.
#ifndef TOADSTONE_TESTS_SUPPORT_FORKING_HPP
#define TOADSTONE_TESTS_SUPPORT_FORKING_HPP

#include <toadstone/runtime.hpp>

#include <csignal>

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace toadstone::tests {

/// The child goes on, to its next await. Returns how it ended, as waitpid(2) tells it.
inline task<int> forks_and_goes_on() {
    int status = 0;
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        co_await yield_now();
        ::_exit(0);
    }
    ::waitpid(child, &status, 0);
    co_return status;
}

} // namespace toadstone::tests

#endif
