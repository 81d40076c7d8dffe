// Code outside of the library, played by tasks of a simulated world: a desk that is asked and
// answers later, and a place where coroutines of another library are parked.
#ifndef TOADSTONE_TESTS_SUPPORT_DOORS_HPP
#define TOADSTONE_TESTS_SUPPORT_DOORS_HPP

#include <toadstone/runtime.hpp>

#include <algorithm>
#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <utility>

namespace toadstone::tests {

/// Needs no memory, so that no answer is lost for want of it.
class desk {
public:
    /// The number of the question; to be withdrawn by that.
    std::size_t ask(completion<int> c) {
        for (std::size_t i = 0; i < asked_.size(); ++i) {
            if (asked_[i]) continue;
            if (closed) break; // dropped
            asked_[i] = std::move(c);
            return i;
        }
        return asked_.size();
    }
    /// True: it was there, and is gone.
    bool withdraw(std::size_t number) noexcept {
        if (number >= asked_.size() || !asked_[number]) return false;
        asked_[number] = {};
        return true;
    }
    /// Takes a question away; an empty one if there is none.
    completion<int> take() noexcept {
        for (auto& each : asked_) {
            if (each) return std::exchange(each, {});
        }
        return {};
    }
    void close() noexcept {
        closed = true;
        for (auto& each : asked_) each = {};
    }

    bool closed = false;
    int answers = 0; ///< that were the first

private:
    std::array<completion<int>, 4> asked_;
};

/// Coroutines of another library that wait to be resumed.
class car_park {
public:
    class place {
    public:
        explicit place(car_park& in) noexcept : in_(&in) {}
        [[nodiscard]] bool await_ready() const noexcept { return in_->closed; }
        void await_suspend(std::coroutine_handle<> by) const noexcept {
            ++in_->parked;
            *std::find(in_->waiting_.begin(), in_->waiting_.end(), nullptr) = by;
        }
        int await_resume() const {
            if (in_->closed) throw std::runtime_error("the car park is closed");
            return 7;
        }

    private:
        car_park* in_;
    };
    [[nodiscard]] place park() noexcept { return place(*this); }
    /// False: there is none.
    bool resume_one() {
        for (auto& each : waiting_) {
            if (!each) continue;
            std::exchange(each, nullptr).resume();
            return true;
        }
        return false;
    }
    bool destroy_one() {
        for (auto& each : waiting_) {
            if (!each) continue;
            std::exchange(each, nullptr).destroy();
            return true;
        }
        return false;
    }
    void close() {
        closed = true;
        while (resume_one()) {
        }
    }

    bool closed = false;
    int parked = 0;

private:
    std::array<std::coroutine_handle<>, 8> waiting_{};
};

} // namespace toadstone::tests

#endif // TOADSTONE_TESTS_SUPPORT_DOORS_HPP
