// Which runtimes a thread belongs to.
#include <toadstone/runtime/detail/thread_lender.hpp>

#include <toadstone/runtime/executor.hpp>

#include <csignal>
#include <ctime>

namespace toadstone::detail {
namespace {

thread_local constinit thread_lender* newest = nullptr;
thread_local constinit unsigned times = 0;
constinit unmodelled_atomic<std::uint64_t> last_thread{0};

sigset_t sigpipe_alone() noexcept {
    sigset_t which;
    ::sigemptyset(&which);
    ::sigaddset(&which, SIGPIPE);
    return which;
}
bool blocks_sigpipe() noexcept {
    sigset_t now;
    ::sigemptyset(&now);
    ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return ::sigismember(&now, SIGPIPE) == 1;
}

} // namespace

thread_lender* thread_lender::here() noexcept {
    if (!newest || executor::current()) return nullptr;
    thread_lender* found = newest;
    while (found && found->is_of_parent()) found = found->older_;
    return found;
}

void thread_lender::enter_here() noexcept {
    older_ = newest;
    newest = this;
}

void thread_lender::leave_here() noexcept {
    thread_lender** link = &newest;
    while (*link && *link != this) link = &(*link)->older_;
    if (*link) *link = older_;
}

thread_lender::lending::lending() noexcept : took_sigpipe_(!blocks_sigpipe()) {
    ++times;
}

thread_lender::lending::~lending() {
    ++times;
    if (!took_sigpipe_ || !blocks_sigpipe()) return;
    const sigset_t only = sigpipe_alone();
    const timespec at_once{};
    while (::sigtimedwait(&only, nullptr, &at_once) == SIGPIPE) {
    }
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
}

unsigned thread_lender::times_lent() noexcept {
    return times;
}

std::uint64_t thread_lender::this_thread() noexcept {
    static thread_local constinit std::uint64_t number = 0;
    if (number == 0) number = last_thread.fetch_add(1, std::memory_order_relaxed) + 1;
    return number;
}

} // namespace toadstone::detail
