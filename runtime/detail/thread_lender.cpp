// Which runtimes a thread belongs to.
#include <toadstone/runtime/detail/thread_lender.hpp>

#include <toadstone/runtime/executor.hpp>

namespace toadstone::detail {
namespace {

thread_local constinit thread_lender* newest = nullptr;

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

} // namespace toadstone::detail
