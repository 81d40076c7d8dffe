// The thread's signal mask.
#include <toadstone/io/detail/no_sigpipe.hpp>

#include <toadstone/runtime/detail/thread_lender.hpp>

#include <csignal>
#include <utility>

namespace toadstone::io::detail {

void block_sigpipe() noexcept {
    // A thread that is lent to tasks is given back as it was.
    static thread_local unsigned done = 0;
    const unsigned now = toadstone::detail::thread_lender::times_lent() + 1;
    if (std::exchange(done, now) == now) return;
    sigset_t which;
    sigemptyset(&which);
    sigaddset(&which, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &which, nullptr);
}

} // namespace toadstone::io::detail
