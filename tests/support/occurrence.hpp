// What happens to a task under test, and something that it waits for.
#ifndef TOADSTONE_TESTS_SUPPORT_OCCURRENCE_HPP
#define TOADSTONE_TESTS_SUPPORT_OCCURRENCE_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/runtime/detail/leaf.hpp>

#include <coroutine>
#include <stdexcept>
#include <utility>

namespace toadstone::tests {

/// Something that one task waits for; by its switches, an operation in a kernel.
class occurrence {
    class waiting : public detail::leaf {
    public:
        explicit waiting(occurrence& at) noexcept : at_(&at) {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
            if (!suspend(frame)) return;
            at_->waiter_ = this;
            if (at_->happened_) let_go();
        }
        int await_resume() const {
            if (at_->fails) throw std::runtime_error("the operation failed");
            return 7;
        }
        bool cancel(cancel_reason, bool) noexcept override {
            return !at_->in_kernel && std::exchange(at_->waiter_, nullptr) != nullptr;
        }
        bool taken() noexcept override { return !at_->delivers; }
        void let_go() noexcept {
            at_->waiter_ = nullptr;
            ctx_->home().schedule(*ctx_);
        }

    private:
        occurrence* at_;
    };

public:
    using operation = detail::operation<waiting, occurrence&>;
    [[nodiscard]] operation wait() noexcept { return operation(*this); }
    void happen() noexcept {
        happened_ = true;
        if (waiter_) waiter_->let_go();
    }

    bool in_kernel = false; ///< a cancelled wait ends by happen() only
    bool delivers = false;  ///< its result counts although a request is pending
    bool fails = false;

private:
    bool happened_ = false;
    waiting* waiter_ = nullptr;
};

/// What happens to the task under test.
enum class act : unsigned char {
    completes,    ///< what the operation waits for
    ten_pass,     ///< milliseconds: the shorter limit
    twenty_pass,  ///< the longer one
    first_token,  ///< is cancelled
    second_token, ///< is cancelled
    request,      ///< to the task
    force,        ///< the request of a forced shutdown, to the task
    turn,         ///< everything comes to rest
};
inline const char* name_of(act each) {
    static constexpr const char* names[] = {"completes", "10 ms pass", "20 ms pass", "token 1",
                                            "token 2",   "request",    "force",      "; "};
    return names[static_cast<unsigned>(each)];
}

} // namespace toadstone::tests

#endif
