// When a simulated blocking function begins and returns.
#include <toadstone/sim/kernel/blocking_threads.hpp>

#include <toadstone/runtime/detail/time_limit.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

namespace toadstone::sim::detail {
namespace {

using namespace std::chrono_literals;

// At once first: the tame answer.
constexpr std::chrono::nanoseconds lengths[] = {0ns, 1ms, 1s};

} // namespace

bool blocking_threads::can_run(unsigned thread) const noexcept {
    const thread_state& own = threads_[thread];
    if (own.call) return own.ends <= world_.now();
    if (queue_.empty()) return false;
    return std::all_of(threads_.begin(), threads_.begin() + thread,
                       [](const thread_state& each) { return each.call != nullptr; });
}

void blocking_threads::run(unsigned thread) {
    thread_state& own = threads_[thread];
    if (own.call) {
        std::exchange(own.call, nullptr)->run_at_home();
        return;
    }
    own.call = queue_.pop();
    const unsigned length = world_.choose(std::size(lengths), choice::timing);
    own.ends = toadstone::detail::deadline_after(world_.now(), lengths[length]);
}

time_point blocking_threads::next_end() const noexcept {
    time_point next = time_point::max();
    for (const thread_state& each : threads_) {
        if (each.call) next = std::min(next, each.ends);
    }
    return next;
}

} // namespace toadstone::sim::detail
