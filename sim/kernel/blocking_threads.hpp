// The threads for functions that block, of a simulated runtime: there is one thread, which
// calls such a function when the world's choices say that it returns now.
#ifndef TOADSTONE_SIM_KERNEL_BLOCKING_THREADS_HPP
#define TOADSTONE_SIM_KERNEL_BLOCKING_THREADS_HPP

#include <toadstone/runtime/detail/blocking_call.hpp>
#include <toadstone/sim/kernel/state.hpp>

#include <array>

namespace toadstone::sim::detail {

/// Few, so that functions have to wait for their turn. A function begins in one step of a
/// thread, from which on it cannot be withdrawn, and returns in another. In a hostile world
/// virtual time may pass in between.
class blocking_threads final : public toadstone::detail::blocking_service {
public:
    static constexpr unsigned count = 2;

    explicit blocking_threads(world::state& world) noexcept : world_(world) {}

    void submit(toadstone::detail::blocking_call& call) override { queue_.push(call); }
    [[nodiscard]] bool withdraw(toadstone::detail::blocking_call& call) noexcept override {
        return queue_.remove(call);
    }

    /// This thread can begin a function, or return from one. Of idle ones, only the first.
    [[nodiscard]] bool can_run(unsigned thread) const noexcept;
    /// Does that. The function is called on the home worker of its task, at its next turn.
    void run(unsigned thread);
    /// When the next function returns; max() if none runs.
    [[nodiscard]] time_point next_end() const noexcept;

private:
    struct thread_state {
        toadstone::detail::blocking_call* call = nullptr; ///< null: idle
        time_point ends;
    };

    world::state& world_;
    toadstone::detail::blocking_queue queue_;
    std::array<thread_state, count> threads_;
};

} // namespace toadstone::sim::detail

#endif
