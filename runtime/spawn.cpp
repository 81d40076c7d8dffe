// Finding the worker that a new task goes to.
#include <toadstone/runtime/spawn.hpp>

#include <stdexcept>

namespace toadstone::detail {

executor& executor_for(placement where) {
    executor* here = executor::current();
    if (!here) {
        throw std::logic_error("toadstone::spawn() was called outside a task: there is no "
                               "worker to run it; call runtime::spawn() instead");
    }
    return here->place(where);
}

} // namespace toadstone::detail
