// The wait for the answer of a completion.
#ifndef TOADSTONE_RUNTIME_DETAIL_COMPLETION_WAIT_HPP
#define TOADSTONE_RUNTIME_DETAIL_COMPLETION_WAIT_HPP

#include <toadstone/runtime/detail/completion_core.hpp>
#include <toadstone/runtime/detail/outside_wait.hpp>

#include <exception>
#include <source_location>

namespace toadstone::detail {

/// The leaf of with_completion() without its types.
class completion_wait : public outside_wait, answer_waiter {
protected:
    explicit completion_wait(bool stoppable) noexcept
        : outside_wait("the answer of a completion", stoppable) {}
    ~completion_wait() override {
        if (core_) core_->drop_waiter();
    }

    [[nodiscard]] answer_waiter& as_waiter() noexcept { return *this; }
    /// First thing in await_resume: throws if there is no answer.
    void check_answered() {
        check_started();
        if (core_->is_broken()) [[unlikely]]
            throw_broken(where_);
    }
    [[noreturn, gnu::cold]] static void throw_broken(std::source_location where);

    completion_core* core_ = nullptr; ///< from start() on, if there was memory for it

private:
    /// What the user's on_cancel() says.
    [[nodiscard]] virtual bool will_not_come() = 0;

    [[nodiscard]] bool nothing_comes() noexcept final { return !core_ || core_->claim(); }
    [[nodiscard]] bool withdraw(cancel_reason reason) noexcept final;
    /// Who has to stop anyway is not told that nothing comes.
    [[nodiscard]] bool hand_back() noexcept final { return core_->is_broken(); }
    void answered() noexcept final { end_wait(); }
};

/// The answer of who fails a completion with an exception that is none.
[[nodiscard]] std::exception_ptr failed_with_nothing() noexcept;

} // namespace toadstone::detail

#endif
