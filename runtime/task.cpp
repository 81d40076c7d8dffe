// What is said of a coroutine that ended without the value that it promises.
#include <toadstone/runtime/task.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>

#include <stdexcept>
#include <string>

namespace toadstone::detail {

std::exception_ptr ended_without_value(const context& task) noexcept {
    try {
        return std::make_exception_ptr(std::logic_error(
            describe_task(task.id(), task.name()) +
            ": a coroutine that promises a value has ended without co_return"));
    } catch (...) {
        return std::current_exception(); // no memory for the sentence
    }
}

} // namespace toadstone::detail
