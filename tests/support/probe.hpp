// What a test sees of a coroutine's life: events in their order, how a scope ended, and a gate
// at which a task waits until the test opens it.
#ifndef TOADSTONE_TESTS_SUPPORT_PROBE_HPP
#define TOADSTONE_TESTS_SUPPORT_PROBE_HPP

#include <toadstone/runtime.hpp>

#include <coroutine>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {

using event_log = std::vector<std::string>;

/// Logs its end: its name, with a '!' when it dies at a level above 0. Moving it moves the
/// duty; whatever is destroyed twice is in the log twice.
class traced {
public:
    traced(event_log& log, std::string name) : log_(&log), name_(std::move(name)) {}
    traced(traced&& other) noexcept
        : log_(std::exchange(other.log_, nullptr)), name_(std::move(other.name_)) {}
    traced& operator=(traced&&) = delete;
    ~traced() {
        if (log_) log_->push_back(detail::level() > 0 ? name_ + "!" : name_);
    }

private:
    event_log* log_;
    std::string name_;
};

/// How the scope of a scope_probe ended.
struct scope_end {
    int times = 0;
    bool torn_down = false;              ///< by a teardown or an exception
    std::optional<cancel_reason> reason; ///< of the teardown
    std::source_location where;          ///< the co_await at which it was stopped
};

class scope_probe {
public:
    explicit scope_probe(scope_end& to) noexcept : to_(to) {}
    scope_probe(const scope_probe&) = delete;
    scope_probe& operator=(const scope_probe&) = delete;
    ~scope_probe() {
        ++to_.times;
        to_.torn_down = detail::level() > 0;
        if (const auto* record = detail::current_slice().record) {
            to_.reason = record->reason;
            to_.where = record->where;
        }
    }

private:
    scope_end& to_;
};

/// One task waits here until the test opens it: `co_await gate.pass()`.
class gate {
    class waiter : public detail::leaf {
    public:
        explicit waiter(gate& at) noexcept : at_(&at) {}
        [[nodiscard]] bool await_ready() noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
            if (!suspend(frame)) return;
            at_->context_ = ctx_;
            if (at_->open_) at_->let_go();
        }
        void await_resume() const noexcept { ++at_->passed; }
        bool cancel(cancel_reason, bool) noexcept override {
            if (at_->holds_on_cancel) return false;
            return std::exchange(at_->context_, nullptr) != nullptr;
        }
        bool taken() noexcept override {
            ++at_->asked_to_hand_back;
            return !at_->delivers;
        }

    private:
        gate* at_;
    };

public:
    using operation = detail::operation<waiter, gate&>;
    [[nodiscard]] operation pass() noexcept { return operation(*this); }
    /// From the test, between two steps.
    void open() noexcept {
        open_ = true;
        if (context_) let_go();
    }
    [[nodiscard]] bool waited_for() const noexcept { return context_ != nullptr; }

    bool delivers = true;         ///< a result that came although a request is pending
    bool holds_on_cancel = false; ///< as an operation in the kernel: only open() ends the wait
    int passed = 0;
    int asked_to_hand_back = 0;

private:
    void let_go() noexcept {
        detail::context* const ready = std::exchange(context_, nullptr);
        ready->home().push(*ready);
    }
    detail::context* context_ = nullptr;
    bool open_ = false;
};

} // namespace toadstone::tests

#endif // TOADSTONE_TESTS_SUPPORT_PROBE_HPP
