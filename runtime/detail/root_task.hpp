// A spawned task without its type: the context, its place in the worker's list, its references.
#ifndef TOADSTONE_RUNTIME_DETAIL_ROOT_TASK_HPP
#define TOADSTONE_RUNTIME_DETAIL_ROOT_TASK_HPP

#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/result.hpp>
#include <toadstone/runtime/executor.hpp>

#include <cstdint>
#include <exception>
#include <string_view>

namespace toadstone::detail {

/// Whoever is to be told that a root has ended. One at a time.
class root_waiter {
public:
    root_waiter() = default;
    root_waiter(const root_waiter&) = default;
    root_waiter& operator=(const root_waiter&) = default;

protected:
    virtual ~root_waiter() = default;
    /// On the root's home worker. Nothing of the root may be touched after the call.
    virtual void root_ended() noexcept = 0;

private:
    friend class root_task;
};

/// A scope that a root belongs to. Outlives the root's run.
class root_group {
public:
    /// On the root's home worker, before its waiter is told.
    virtual void root_ended(root_task& child, std::exception_ptr failure) noexcept = 0;
    /// The context that awaits the end of the scope. Outlives all its roots.
    [[nodiscard]] context* awaited_by() const noexcept { return awaited_by_; }
    /// The serial number of the plain thread that waits instead, or 0.
    [[nodiscard]] std::uint64_t waiting_thread() const noexcept { return waiting_thread_; }

protected:
    explicit root_group(context& awaited_by) noexcept : awaited_by_(&awaited_by) {}
    /// This thread waits: for no scope, for a single task.
    root_group() noexcept : waiting_thread_(current_serial()) {}
    ~root_group() = default;

private:
    context* const awaited_by_ = nullptr;
    const std::uint64_t waiting_thread_ = 0;
};

/// Reference counts: one for the run (start to finish), one for the handle, one for every
/// request on its way.
class root_task : public context, public pooled, private posted, private cancel_listener {
public:
    /// Begins the run. The task has one reference for the run and one for the handle.
    void launch(promise_base& body, const cancellation_token& token,
                root_group* group) noexcept;

    /// Asks the task to stop, from any thread.
    void request_from_anywhere(cancel_reason reason) noexcept;

    enum class wait_result : unsigned char {
        waits,  ///< it will be told
        ended,  ///< the task has ended already
        refused ///< somebody else waits
    };
    /// Registers who is to be told.
    [[nodiscard]] wait_result wait(root_waiter& waiter) noexcept;
    /// Takes the waiter back. False if it has been told, or is being told.
    [[nodiscard]] bool stop_waiting(root_waiter& waiter) noexcept;

    /// Whoever found the task not ended yet is done with it. For who takes its state over.
    void await_requesters() const noexcept;
    [[nodiscard]] bool ended() const noexcept {
        return waiter_.load(std::memory_order_seq_cst) == ended_mark();
    }
    void mark_observed() noexcept { observed_ = true; }
    /// The handle is destroyed, which its holder may not have wanted: a guard in a result that
    /// nobody has fetched is judged here, even if the task ends later.
    void drop_handle() noexcept {
        if (!observed_) note_lost_joiner();
        drop_reference();
    }

    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_reference() noexcept;

    root_task* group_next = nullptr; ///< guarded by the group's lock
    root_task* group_previous = nullptr;
    bool asked_by_group = false; ///< its first request; guarded by the group's lock
    bool asked_by_stop = false;  ///< its first request, by the shutdown; home worker only
    root_task* group_stopped = nullptr; ///< the thread that cancels the group: the next to ask

protected:
    /// Errors: std::bad_alloc, before anything has happened.
    root_task(executor& home, std::string_view name);
    virtual ~root_task();
    [[nodiscard]] virtual std::exception_ptr failure() const noexcept = 0;

    frame_owner body_;

private:
    friend class executor;
    /// Carries a request from another thread to the home worker; holds a reference meanwhile.
    class request_post final : public posted {
    public:
        explicit request_post(root_task& task) noexcept : task_(task) {}

    private:
        void run_posted() noexcept override;
        root_task& task_;
    };

    void note_lost_joiner() noexcept;
    void begin() noexcept;
    context* finish() noexcept final;
    [[nodiscard]] const root_group* group() const noexcept final { return group_; }
    void run_posted() noexcept final; ///< the launch from another thread
    void cancelled(cancel_reason reason) noexcept final;
    static root_waiter* ended_mark() noexcept;

    root_task* next_ = nullptr;
    root_task* previous_ = nullptr;
    atomic<root_waiter*> waiter_{nullptr};
    atomic<std::uint32_t> references_{2};
    atomic<std::uint32_t> requesters_{0}; // threads inside request_from_anywhere
    request_post request_post_{*this};
    // Written by the one handle, read when the last reference goes.
    plain<bool> observed_ = false;
    // The same: the handle was destroyed by a teardown, or by an exception.
    plain<bool> joiner_lost_ = false;
    plain<cancel_reason> joiner_reason_ = cancel_reason::abandoned;
    root_group* group_ = nullptr;
    cancel_ref token_;
    char* owned_name_ = nullptr;
};

template <class Fn>
void executor::for_each_root(Fn&& fn) const {
    for (const root_task* each = roots_; each; each = each->next_) fn(*each);
}

template <class Fn>
bool executor::look_at_roots(Fn&& fn) {
    const list_gate::look looking(roots_gate_);
    if (!looking) return false;
    for_each_root(fn);
    return true;
}

/// A spawned task with its result.
template <class T>
class typed_root : public root_task {
public:
    explicit typed_root(executor& home, std::string_view name = {}) : root_task(home, name) {}
    result<T> outcome;

private:
    [[nodiscard]] std::exception_ptr failure() const noexcept override {
        return outcome.error();
    }
};

} // namespace toadstone::detail

#endif
