// Subjects that run in a task.
#ifndef TOADSTONE_BENCH_ON_WORKER_HPP
#define TOADSTONE_BENCH_ON_WORKER_HPP

#include "measure.hpp"

#include <toadstone/runtime.hpp>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <utility>

namespace bench {

/// A runtime that is made when the first task needs it, and the way to make subjects for it.
///
/// For a count the process ends inside the task, and work outside of tasks sees no second
/// thread: valgrind 3.19 runs one thread at a time and does not know that io_uring_enter(2)
/// waits, so a sleeping worker would keep every other thread from running.
class stage {
public:
    stage(unsigned workers, const suite& of) noexcept
        : workers_(workers), leave_(of.counted()) {}

    [[nodiscard]] toadstone::runtime& runtime() {
        if (!runtime_) runtime_.emplace(toadstone::runtime_options{.workers = workers_});
        return *runtime_;
    }

    /// Makes a subject of a coroutine `body(n, more...)` that gives the ns it took.
    template <class Body, class... More>
    [[nodiscard]] std::function<double(std::uint64_t)> subject(Body body, More... more) {
        return [this, body, more...](std::uint64_t n) {
            return runtime().block_on(play(body(n, more...), leave_));
        };
    }

private:
    static toadstone::task<double> play(toadstone::task<double> body, bool leave) {
        const double ns = co_await std::move(body);
        if (leave) std::_Exit(0);
        co_return ns;
    }

    unsigned workers_;
    bool leave_;
    std::optional<toadstone::runtime> runtime_;
};

} // namespace bench

#endif
