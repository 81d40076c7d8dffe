// The thread's signal mask, and its way back.
#include <toadstone/runtime/detail/sigpipe.hpp>

#include <csignal>
#include <ctime>

namespace toadstone::detail {
namespace {

thread_local constinit bool wanted = false; // by a task of this thread, at some time
thread_local constinit bool taken = false;  // blocked for tasks, to be given back

sigset_t sigpipe_alone() noexcept {
    sigset_t which;
    ::sigemptyset(&which);
    ::sigaddset(&which, SIGPIPE);
    return which;
}
void take() noexcept {
    const sigset_t only = sigpipe_alone();
    sigset_t before;
    ::pthread_sigmask(SIG_BLOCK, &only, &before);
    taken = ::sigismember(&before, SIGPIPE) == 0;
}

} // namespace

void block_sigpipe() noexcept {
    if (wanted) return;
    wanted = true;
    take();
}

// A write that was begun the last time may raise it now.
sigpipe_lent::sigpipe_lent() noexcept {
    if (wanted) take();
}

sigpipe_lent::~sigpipe_lent() {
    if (!taken) return;
    taken = false;
    const sigset_t only = sigpipe_alone();
    const timespec at_once{};
    while (::sigtimedwait(&only, nullptr, &at_once) == SIGPIPE) {
    }
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
}

} // namespace toadstone::detail
