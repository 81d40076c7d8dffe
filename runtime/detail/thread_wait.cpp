// Refusing to block a worker.
#include <toadstone/runtime/detail/thread_wait.hpp>

#include <toadstone/runtime/executor.hpp>

#include <stdexcept>
#include <string>

namespace toadstone::detail {

void refuse_to_block_worker(const char* what, const char* instead) {
    if (!executor::current()) return;
    throw std::logic_error(std::string(what) +
                           " would block a worker and every task on it: co_await " + instead +
                           " instead");
}

} // namespace toadstone::detail
