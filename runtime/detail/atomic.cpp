// What the names in detail/atomic.hpp need of the system's threads.
#include <toadstone/runtime/detail/atomic.hpp>

#include <thread>

namespace toadstone::detail {

void yield_thread() noexcept {
    std::this_thread::yield();
}

const void* this_thread() noexcept {
    static thread_local constinit char mark = 0;
    return &mark;
}

} // namespace toadstone::detail
