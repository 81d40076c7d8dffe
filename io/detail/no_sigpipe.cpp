// The thread's signal mask.
#include <toadstone/io/detail/no_sigpipe.hpp>

#include <csignal>
#include <utility>

namespace toadstone::io::detail {

void block_sigpipe() noexcept {
    static thread_local bool done = false;
    if (std::exchange(done, true)) return;
    sigset_t which;
    sigemptyset(&which);
    sigaddset(&which, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &which, nullptr);
}

} // namespace toadstone::io::detail
