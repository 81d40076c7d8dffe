// Somebody who waits in a wait_queue, as a model sees him.
#ifndef TOADSTONE_TESTS_MODEL_WOKEN_HPP
#define TOADSTONE_TESTS_MODEL_WOKEN_HPP

#include "explore.hpp"

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

#include <cstdint>
#include <memory>
#include <utility>

namespace toadstone::model {

using ending = toadstone::detail::waiter::state;

/// Waits for its wake-up as a thread does, or as a task does through its worker's inbox: what
/// the waking thread did before is seen afterwards.
template <class Waiter>
class woken final : public Waiter {
public:
    template <class... Args>
    explicit woken(Args&&... args) noexcept : Waiter(std::forward<Args>(args)...) {}
    ~woken() { check(wakes_ == expected_, "a waiter is woken once"); }

    /// Waits until the queue is done with it.
    ending wait() noexcept {
        ++expected_;
        while (!told_.exchange(false, std::memory_order_acquire)) place_.sleep();
        return this->how();
    }
    /// What it ends with at a lock.
    template <class Core>
    ending lock(Core& core, std::uint64_t owner) noexcept {
        return core.acquire_or_queue(*this, owner) ? this->how() : wait();
    }

private:
    void wake() noexcept override {
        ++wakes_;
        told_.store(true, std::memory_order_release);
        place_.notify();
    }

    toadstone::detail::atomic<bool> told_{false};
    sleeping_place place_;
    int wakes_ = 0;
    int expected_ = 0;
};

inline toadstone::detail::cause_ref some_cause() {
    static const auto the = std::make_shared<const toadstone::detail::cause_state>();
    return the;
}

} // namespace toadstone::model

#endif
