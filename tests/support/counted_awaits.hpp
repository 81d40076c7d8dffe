// A task on the real ring that is asked to stop when it has suspended for the n-th time: for
// what a simulation cannot hold, as a C library with sockets of its own.
#ifndef TOADSTONE_TESTS_SUPPORT_COUNTED_AWAITS_HPP
#define TOADSTONE_TESTS_SUPPORT_COUNTED_AWAITS_HPP

#include <toadstone/runtime.hpp>

#include "support/stepped.hpp"

#include <chrono>
#include <thread>
#include <utility>

namespace toadstone::tests {

class counted_awaits final : detail::run_observer {
public:
    explicit counted_awaits(stepped& world) : world_(world) { world_.worker().observe(this); }
    counted_awaits(const counted_awaits&) = delete;
    counted_awaits& operator=(const counted_awaits&) = delete;
    ~counted_awaits() { world_.worker().observe(nullptr); }

    /// Runs it; with `n` > 0 it is asked to stop at its n-th suspension, while the other side
    /// goes on. Gives its end. `waits` is called whenever nothing is ready.
    template <class T, class Waits>
    outcome<T> run(task<T> body, unsigned n, Waits waits) {
        count_ = 0;
        auto handle = world_.spawn(std::move(body));
        bool asked = false;
        while (!handle.done()) {
            if (world_.worker().step(false, 1) == 0) waits();
            if (!asked && n > 0 && count_ >= n) {
                asked = true;
                handle.cancel();
            }
        }
        return world_.end_of(handle);
    }
    template <class T>
    outcome<T> run(task<T> body, unsigned n = 0) {
        return run(std::move(body), n, [] { std::this_thread::yield(); });
    }
    /// In the last run.
    [[nodiscard]] unsigned suspensions() const noexcept { return count_; }

private:
    void before_run(detail::context&) noexcept override {}
    void resuming(detail::context&) noexcept override {}
    void suspended(detail::context&) noexcept override { ++count_; }

    stepped& world_;
    unsigned count_ = 0;
};

} // namespace toadstone::tests

#endif
