// What tasks of a worker wait for and nobody can stop, for the report of a shutdown.
#ifndef TOADSTONE_RUNTIME_DETAIL_UNSTOPPABLE_HPP
#define TOADSTONE_RUNTIME_DETAIL_UNSTOPPABLE_HPP

#include <toadstone/runtime/detail/list_gate.hpp>

#include <chrono>
#include <source_location>

namespace toadstone::detail {

class context;

/// A wait that no request ends. In the awaiting frame; on its worker's list for as long as it
/// may have to be named.
class unstoppable_wait {
public:
    unstoppable_wait(const unstoppable_wait&) = delete;
    unstoppable_wait& operator=(const unstoppable_wait&) = delete;

    /// What the task waits for, as in "task 3 waits for ...".
    [[nodiscard]] const char* what() const noexcept { return what_; }
    [[nodiscard]] const context& who() const noexcept { return *who_; }
    [[nodiscard]] std::source_location started_at() const noexcept { return started_at_; }
    [[nodiscard]] std::chrono::steady_clock::time_point since() const noexcept {
        return since_;
    }

protected:
    explicit unstoppable_wait(const char* what) noexcept : what_(what) {}
    ~unstoppable_wait() = default;
    void describe(const context& who, std::source_location started_at,
                  std::chrono::steady_clock::time_point since) noexcept {
        who_ = &who;
        started_at_ = started_at;
        since_ = since;
    }

private:
    friend class unstoppable_list;
    const char* const what_;
    const context* who_ = nullptr;
    std::source_location started_at_;
    std::chrono::steady_clock::time_point since_;
    // Inside the gate.
    unstoppable_wait* next_ = nullptr;
    unstoppable_wait* previous_ = nullptr;
};

/// Those of one worker. It alone changes the list, inside the gate; another thread may look.
class unstoppable_list {
public:
    /// Home thread only.
    void add(unstoppable_wait& wait) noexcept {
        gate_.begin_change();
        wait.next_ = nullptr;
        wait.previous_ = last_;
        (last_ ? last_->next_ : first_) = &wait;
        last_ = &wait;
        gate_.end_change();
    }
    /// Of one that is in it. Home thread only.
    void remove(unstoppable_wait& wait) noexcept {
        gate_.begin_change();
        (wait.previous_ ? wait.previous_->next_ : first_) = wait.next_;
        (wait.next_ ? wait.next_->previous_ : last_) = wait.previous_;
        gate_.end_change();
    }
    /// Calls `fn(wait)` for each, the oldest first, while its task waits. Any other thread.
    /// False: it cannot be done.
    template <class Fn>
    [[nodiscard]] bool look(Fn&& fn) {
        const list_gate::look looking(gate_);
        if (!looking) return false;
        for (const unstoppable_wait* each = first_; each; each = each->next_) fn(*each);
        return true;
    }

private:
    list_gate gate_;
    unstoppable_wait* first_ = nullptr;
    unstoppable_wait* last_ = nullptr;
};

} // namespace toadstone::detail

#endif
