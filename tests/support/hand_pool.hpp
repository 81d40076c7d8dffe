// Threads for functions that block, played by the test: it says when one begins and returns.
#ifndef TOADSTONE_TESTS_SUPPORT_HAND_POOL_HPP
#define TOADSTONE_TESTS_SUPPORT_HAND_POOL_HPP

#include <toadstone/runtime/detail/blocking_call.hpp>

#include <cstddef>
#include <deque>
#include <stdexcept>

namespace toadstone::tests {

/// Makes place for `stepped::calls`. Functions run on the test's thread, between two steps.
class hand_pool final : public detail::blocking_service {
public:
    void submit(detail::blocking_call& call) override {
        if (refuses) throw std::runtime_error("no thread");
        queue_.push(call);
    }
    [[nodiscard]] bool withdraw(detail::blocking_call& call) noexcept override {
        return queue_.remove(call);
    }
    /// The oldest that waits begins: from now on it cannot be withdrawn.
    void begin() {
        TOADSTONE_ASSERT(!queue_.empty(), "a function waits for a thread");
        begun_.push_back(queue_.pop());
    }
    /// The oldest that has begun is called, and its task made ready.
    void end() {
        TOADSTONE_ASSERT(!begun_.empty(), "a function has begun");
        detail::blocking_call& call = *begun_.front();
        begun_.pop_front();
        call.run();
        call.finish();
    }
    [[nodiscard]] std::size_t waiting() const noexcept { return queue_.size(); }

    bool refuses = false;

private:
    detail::blocking_queue queue_;
    std::deque<detail::blocking_call*> begun_;
};

} // namespace toadstone::tests

#endif
