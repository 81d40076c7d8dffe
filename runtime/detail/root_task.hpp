// A spawned task without its type: the context, its place in the worker's list, its references.
#ifndef TOADSTONE_RUNTIME_DETAIL_ROOT_TASK_HPP
#define TOADSTONE_RUNTIME_DETAIL_ROOT_TASK_HPP

#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/result.hpp>
#include <toadstone/runtime/executor.hpp>

#include <cstddef>
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

/// Stands in the place of the waiter of a root that has ended.
class ended_root final : public root_waiter {
public:
    ended_root() = default;
    void root_ended() noexcept override {}
};
extern ended_root ended_mark;

/// What a task is spawned with.
struct root_options {
    std::string_view name{}; ///< copied
    cancel_state* token = nullptr;
};

/// What few tasks have, in a block beside the record: a name, a token.
class root_extras final : private cancel_listener {
public:
    /// Null if there is nothing to keep. Errors: std::bad_alloc.
    [[nodiscard]] static root_extras* make(root_task& task, const root_options& options);
    void free() noexcept;

    [[nodiscard]] std::string_view name() const noexcept {
        return {reinterpret_cast<const char*>(this + 1), name_size_};
    }
    /// Has the token's request passed on. False: there was one already.
    [[nodiscard]] bool listen() noexcept { return !token_ || token_->listen(*this); }
    void leave() noexcept {
        if (token_) token_->leave(*this);
    }
    [[nodiscard]] cancel_reason reason() const noexcept { return token_->reason(); }

private:
    root_extras(root_task& task, const root_options& options) noexcept;
    ~root_extras() override = default;
    void cancelled(cancel_reason reason) noexcept override;

    root_task& task_;
    cancel_ref token_;
    const std::size_t name_size_; // the name stands behind this object
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

/// References: one for the run (start to finish), one for the handle, one for every request on
/// its way, one for each join. A reference is pinned if it never leaves the home worker: the
/// run's, and a join's by a task of that worker. While there is a pinned one, the home worker
/// counts all that it takes and drops in plain numbers, and the atomic count of the other
/// threads carries `home_bias`, so that none of those looks like the last. When the last pinned
/// one goes, the two are added up and the bias is taken off; from then on every thread counts
/// atomically, and the last reference frees the task.
///
/// Posted home to be launched, and then, once at most, by a request that came from elsewhere:
/// before the launch has arrived a request need not be posted. (S) with the flag: the launch
/// says that it is there and then looks at the flag, the other sets the flag and then looks
/// whether the launch is there.
class root_task : public context, public pooled, private posted {
public:
    /// Begins the run. The task has one reference for the run, pinned, and one for the handle.
    void launch(promise_base& body, root_group* group) noexcept;

    /// Asks the task to stop, from any thread. On the home worker the request is carried out at
    /// once: a leaf is withdrawn and the task queued. Resumes and destroys nothing.
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
        return waiter_.load(std::memory_order_seq_cst) == &ended_mark;
    }
    void mark_observed() noexcept { observed_ = true; }
    /// The handle is destroyed, which its holder may not have wanted: a guard in a result that
    /// nobody has fetched is judged here, even if the task ends later.
    void drop_handle() noexcept {
        if (!observed_) note_lost_joiner();
        drop_reference();
    }

    void add_reference() noexcept;
    void drop_reference() noexcept;
    /// Instead of launch(): there will be no run.
    void drop_run() noexcept { unpin(); }
    /// For a join, by a task on `worker`; pinned if that is the home worker.
    void begin_join(const executor& worker) noexcept;
    void end_join(const executor& worker) noexcept;

    bool asked_by_group = false;     ///< its first request; guarded by the group's lock
    bool asked_by_stop = false;      ///< its first request, by the shutdown; home worker only
    root_task* group_next = nullptr; ///< guarded by the group's lock
    root_task* group_previous = nullptr;

protected:
    /// Errors: std::bad_alloc, before anything has happened.
    root_task(executor& home, const root_options& options);
    virtual ~root_task() {
        if (rare_) rare_->free();
    }
    [[nodiscard]] virtual std::exception_ptr failure() const noexcept = 0;

    frame_owner body_;

private:
    friend class executor;
    void request_from_home(cancel_reason reason) noexcept;
    root_task(executor& home, bool here, const root_options& options);

    static constexpr std::uint32_t home_bias = std::uint32_t{1} << 30;
    /// Handles outlive the runtime, so the worker must not be called for this.
    [[nodiscard]] bool at_home() const noexcept;
    /// The plain numbers count, and this is the thread that may touch them.
    [[nodiscard]] bool counts_here() const noexcept;
    void unpin() noexcept;
    void drop_shared() noexcept;
    void end_of_references() noexcept;

    void note_lost_joiner() noexcept;
    void begin() noexcept;
    context* finish() noexcept final;
    [[nodiscard]] std::string_view own_name() const noexcept final;
    /// The launch, or a request, from another thread. The latter holds a reference meanwhile.
    void run_posted() noexcept final;

    // Written by the one handle, read when the last reference goes.
    plain<bool> observed_ = false;
    // The same: the handle was destroyed by a teardown, or by an exception.
    plain<bool> joiner_lost_ = false;
    plain<cancel_reason> joiner_reason_ = cancel_reason::abandoned;
    atomic<bool> arrived_;                // the launch, on the home worker
    plain<std::uint32_t> pinned_ = 1;     // home worker only; 0 for good
    plain<std::uint32_t> counted_here_;   // home worker only; modulo 2^32
    atomic<std::uint32_t> references_;    // with home_bias while there is a pinned one
    atomic<std::uint32_t> requesters_{0}; // threads inside request_from_anywhere
    atomic<root_waiter*> waiter_{nullptr};
    root_task* next_ = nullptr;
    root_task* previous_ = nullptr;
    root_extras* rare_;
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
    explicit typed_root(executor& home, const root_options& options = {})
        : root_task(home, options) {}
    result<T> outcome;

private:
    [[nodiscard]] std::exception_ptr failure() const noexcept override {
        return outcome.error();
    }
};

} // namespace toadstone::detail

#endif
