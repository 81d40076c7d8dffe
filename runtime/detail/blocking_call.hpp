// A function that blocks, on its way from a task to a thread for such functions and back.
#ifndef TOADSTONE_RUNTIME_DETAIL_BLOCKING_CALL_HPP
#define TOADSTONE_RUNTIME_DETAIL_BLOCKING_CALL_HPP

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/posted.hpp>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string_view>

namespace toadstone::detail {

class blocking_service;

/// The leaf of spawn_blocking() without its types.
///
/// Access rules: it is in the service's queue, or on one of its threads, from submit() until
/// invoke() has returned, and then on its way home until the task goes on. The task is
/// suspended all the while, so that its frame, and this object, stay.
///   (1) links, `begun_` and `since_`: under the service's lock;
///   (2) what invoke() touches: before submit() the home worker; then the thread that runs it;
///       after the task was made ready the home worker again.
class blocking_call : public leaf, posted {
public:
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) {
        if (suspend(frame)) submit();
    }
    [[nodiscard]] bool await_ready() const noexcept { return false; }

    /// In the queue, it leaves that and never runs. Later, it is waited for.
    bool cancel(cancel_reason, bool) noexcept final;
    /// What the function gave is delivered.
    bool taken() noexcept final { return false; }

    // For a service.
    /// On any thread: calls the function.
    void run() noexcept;
    /// The last thing after run(): makes the task ready. *this may be gone then.
    void finish() noexcept;
    /// run() and finish() on the home worker. For a simulation.
    void run_at_home() noexcept;
    [[nodiscard]] std::uint64_t task_id() const noexcept { return ctx_->id(); }
    [[nodiscard]] std::string_view task_name() const noexcept { return ctx_->name(); }
    [[nodiscard]] std::source_location where() const noexcept { return where_; }
    /// Since it waits for a thread, or runs on one.
    [[nodiscard]] std::chrono::steady_clock::time_point since() const noexcept {
        return since_;
    }
    void set_since(std::chrono::steady_clock::time_point now) noexcept { since_ = now; }

protected:
    blocking_call() = default;
    ~blocking_call() override = default;

private:
    friend class blocking_queue;
    void submit();
    virtual void invoke() noexcept = 0;
    void run_posted() noexcept override;

    blocking_service* service_ = nullptr;
    std::chrono::steady_clock::time_point since_;
    blocking_call* next_ = nullptr;
    blocking_call* previous_ = nullptr;
    bool queued_ = false;
};

/// Calls that wait for a thread: first come, first served; leaving it takes no longer however
/// long it is. Guarded by its owner's lock.
class blocking_queue {
public:
    void push(blocking_call& call) noexcept;
    /// Null if there is none.
    [[nodiscard]] blocking_call* pop() noexcept;
    /// False: it is not in the queue.
    [[nodiscard]] bool remove(blocking_call& call) noexcept;
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    template <class Fn>
    void for_each(Fn&& fn) const {
        for (const blocking_call* each = first_; each; each = each->next_) fn(*each);
    }

private:
    blocking_call* first_ = nullptr;
    blocking_call* last_ = nullptr;
    std::size_t size_ = 0;
};

/// Whoever has threads for functions that block, or acts as if.
class blocking_service {
public:
    /// Has the call run, later, once. Home worker of the call.
    /// Errors: std::system_error, std::bad_alloc: no thread can be started, and there is none.
    virtual void submit(blocking_call& call) = 0;
    /// True: it was waiting, and will not run. False: it runs, or has run, and the task is made
    /// ready when it has. Home worker of the call.
    [[nodiscard]] virtual bool withdraw(blocking_call& call) noexcept = 0;

protected:
    ~blocking_service() = default;
};

} // namespace toadstone::detail

#endif
