// Finding the worker that a new task goes to.
#include <toadstone/runtime/spawn.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <stdexcept>

namespace toadstone::detail {

executor& executor_for(placement where) {
    executor* here = executor::current();
    if (!here) {
        throw std::logic_error("toadstone::spawn() was called outside a task: there is no "
                               "worker to run it; call runtime::spawn() instead");
    }
    return where.is_here() ? *here : here->place(where);
}

void refuse_join(const root_task* which) {
    if (!which) throw_misuse("a join_handle that is empty cannot be joined");
    throw_misuse("a task is joined by one waiter at a time",
                 describe_task(which->id(), which->name()));
}

void refuse_spent_task() {
    throw_misuse("a task is awaited or spawned once, and this one has been, or was moved from");
}

} // namespace toadstone::detail
