// run(): a whole main().
#include <toadstone/runtime/loop.hpp>

#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/uring/quota.hpp>

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone {
namespace {

// Whole, as this is the last that the program says; in one line.
void say_why(std::string_view what) noexcept {
    try {
        log_line("toadstone: " + std::string(what));
    } catch (...) {
        log_line(what);
    }
}

template <class T>
int run_main(task<T> body, runtime_options options) {
    if (detail::executor::current()) {
        throw std::logic_error("run() was called inside a task, whose worker it would block, "
                               "with every task on it; co_await the task, or spawn() it");
    }
    open_standard_descriptors();
    const unsigned workers = options.workers ? options.workers : detail::processors();
    if (workers == 1) options.on_this_thread = true;
    try {
        runtime here(options);
        if constexpr (std::is_void_v<T>) {
            here.block_on(std::move(body));
            return 0;
        } else {
            return here.block_on(std::move(body));
        }
    } catch (const std::exception& error) {
        say_why(what_of(error));
    } catch (...) {
        log_line("toadstone: the main task failed with an unknown exception");
    }
    return 1;
}

} // namespace

int run(task<int> body, runtime_options options) {
    return run_main(std::move(body), options);
}

int run(task<void> body, runtime_options options) {
    return run_main(std::move(body), options);
}

} // namespace toadstone
