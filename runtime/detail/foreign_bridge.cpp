// The bridge itself, and what a task is told whose foreign awaitable has no result.
#include <toadstone/runtime/detail/foreign_bridge.hpp>

#include <toadstone/runtime/completion.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>

namespace toadstone::detail {
namespace {

/// Behind its await_suspend() the frame may be gone, with this object.
template <suspends How>
class step_awaiter {
public:
    explicit step_awaiter(foreign_step& step) noexcept : step_(step) {}
    [[nodiscard]] bool await_ready() { return step_.ready(); }
    auto await_suspend(bridge_frame by) {
        if constexpr (How == suspends::always) {
            step_.suspend(by);
        } else if constexpr (How == suspends::maybe) {
            return static_cast<bool>(step_.suspend(by));
        } else {
            return step_.suspend(by);
        }
    }
    void await_resume() { step_.resume(); }

private:
    foreign_step& step_;
};

template <suspends How>
bridge await_step(foreign_step& step) {
    co_await step_awaiter<How>(step);
}

bridge_frame make_bridge(foreign_step& step) {
    switch (step.how()) {
    case suspends::always:
        return await_step<suspends::always>(step).frame;
    case suspends::maybe:
        return await_step<suspends::maybe>(step).frame;
    default:
        return await_step<suspends::going>(step).frame;
    }
}

} // namespace

void bridge_promise::unhandled_exception() noexcept {
    error = std::current_exception();
    explain_causes(error);
}

// It may have ended, or be running on another thread, when this returns.
void foreign_wait::cross(std::unique_ptr<foreign_step> step) {
    bridge_ = make_bridge(*step);
    bridge_.promise().step = std::move(step);
    bridge_.promise().owner = this;
    bridge_frame(bridge_).resume();
}

void foreign_wait::throw_no_result() {
    if (destroyed_) {
        throw broken_completion("another library has destroyed the coroutine that awaited for "
                                "the task: nothing will resume the co_await at " +
                                describe_place(where_));
    }
    std::rethrow_exception(std::exchange(bridge_.promise().error, nullptr));
}

} // namespace toadstone::detail
