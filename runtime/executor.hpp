// The executor: what locks, timers and combinators know of the worker that runs a task.
#ifndef TOADSTONE_RUNTIME_EXECUTOR_HPP
#define TOADSTONE_RUNTIME_EXECUTOR_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/list_gate.hpp>
#include <toadstone/runtime/detail/posted.hpp>
#include <toadstone/runtime/detail/timer_wheel.hpp>
#include <toadstone/runtime/detail/unstoppable.hpp>

#include <chrono>
#include <cstdint>

namespace toadstone {

/// Where a spawned task runs. Its home never changes afterwards.
class placement {
public:
    /// The spawning worker; from a plain thread, as any().
    placement() = default;
    /// On the worker of the task that spawns.
    static placement here() noexcept { return {}; }
    /// The workers in turn.
    static placement any() noexcept { return placement(-2); }
    /// A certain worker, counted from 0, modulo their number.
    static placement worker(unsigned index) noexcept {
        return placement(static_cast<int>(index & 0xffff));
    }
    /// As here() says.
    [[nodiscard]] bool is_here() const noexcept { return which_ == -1; }
    /// As any() says.
    [[nodiscard]] bool is_any() const noexcept { return which_ == -2; }
    /// Of the worker that was named.
    [[nodiscard]] unsigned index() const noexcept { return static_cast<unsigned>(which_); }

private:
    explicit placement(int which) noexcept : which_(which) {}
    int which_ = -1;
};

} // namespace toadstone

namespace toadstone::detail {

class blocking_service;
class root_task;

/// How another thread gets a worker out of its sleep. Never freed, only used again: whoever
/// made a task ready may come to the wake-up when the task, and its worker, are gone already.
class waker {
public:
    waker() = default;
    waker(const waker&) = delete;
    waker& operator=(const waker&) = delete;

    /// The worker is about to sleep, or sleeps. Pairs with the inbox: the worker sets this and
    /// then looks at its inbox, the other fills the inbox and then looks here; both
    /// sequentially consistent, so at least one of them sees the other.
    atomic<bool> asleep{false};
    virtual void notify() noexcept = 0;

protected:
    ~waker() = default;
};

/// Watches the contexts of an executor, for simulations and tests. Home thread; resumes
/// nothing.
class run_observer {
public:
    virtual void before_run(context& ctx) noexcept = 0; ///< its verdict is still open
    virtual void resuming(context& ctx) noexcept = 0;   ///< it goes on
    virtual void suspended(context& ctx) noexcept = 0;  ///< it has suspended at a leaf

protected:
    ~run_observer() = default;
};

/// A home for contexts: a queue of those that are ready, an inbox for other threads, timers.
/// The worker of runtime/loop.* is the only implementation that production uses; tests have
/// one that they step by hand.
///
/// Threads: schedule() and post() from any thread; the rest on the home thread.
class executor {
public:
    using clock = std::chrono::steady_clock;

    executor(const executor&) = delete;
    executor& operator=(const executor&) = delete;

    /// Makes a context ready. It runs later, from the top of the worker's loop, never inside.
    void schedule(context& ready) noexcept;

    /// Has `work` run on the worker, later.
    void post(posted& work) noexcept;

    /// Makes ready without asking which thread this is. Home thread only.
    void push(context& ready) noexcept {
        ready.queue_link.next = nullptr;
        (first_ ? last_->queue_link.next : first_) = &ready;
        last_ = &ready;
    }

    void arm(timer_node& timer, clock::time_point when) noexcept { timers_.arm(timer, when); }
    void disarm(timer_node& timer) noexcept { timers_.disarm(timer); }
    /// The time by the worker's clock, which a simulation may own.
    [[nodiscard]] virtual clock::time_point now() const noexcept = 0;
    /// The time by the calendar, which a simulation may own, too.
    [[nodiscard]] virtual std::chrono::system_clock::time_point calendar_now() const noexcept {
        return std::chrono::system_clock::now();
    }

    /// The worker that a placement means, seen from this one.
    [[nodiscard]] virtual executor& place(placement where) noexcept = 0;
    /// How many workers the runtime has, this one included.
    [[nodiscard]] virtual unsigned peer_count() const noexcept = 0;
    /// Who runs functions that block; null: nobody. Home thread only.
    [[nodiscard]] virtual blocking_service* blocking() noexcept { return nullptr; }

    /// Spawned here, and ended, since the beginning. Any thread.
    [[nodiscard]] std::uint64_t roots_launched() const noexcept {
        return launched_here_.load(std::memory_order_acquire) +
               launched_elsewhere_.load(std::memory_order_acquire);
    }
    [[nodiscard]] std::uint64_t roots_ended() const noexcept {
        return ended_.load(std::memory_order_seq_cst);
    }
    /// A root is on its way here. The thread that spawns; `here`: it is the home thread.
    void count_launch(bool here) noexcept;

    [[nodiscard]] bool is_current() const noexcept { return current() == this; }
    /// The executor whose loop this thread runs, or null.
    [[nodiscard]] [[gnu::noinline]] static executor* current() noexcept;

    /// Runs what other threads have posted, now. For whoever has to be sure that a node of his
    /// is not in the inbox any more before he destroys it. Resumes no task.
    void take_inbox() noexcept {
        if (inbox_seems_filled()) [[unlikely]]
            take_what_came();
    }

    /// Spawned tasks whose home this is, for shutdown and its report. Home thread only.
    void add_root(root_task& task) noexcept;
    void remove_root(root_task& task) noexcept;
    /// The very last thing that a root does here.
    virtual void root_gone() noexcept;

    /// For the deadline of a length that begins now: never behind now(), and ahead of it by no
    /// more than the clock's own error, but cheaper.
    [[nodiscard]] virtual clock::time_point now_or_later() const noexcept { return now(); }
    /// Every root, now and later, is asked to stop. Home thread only.
    void stop_roots(cancel_reason reason, bool force) noexcept;
    /// Tells those that ask, and their tokens, that stop_roots() comes. Any thread.
    void announce_stop(cancel_reason reason, bool force) noexcept;
    /// What roots follow, and what shields do.
    [[nodiscard]] cancel_state& stop_state() const noexcept { return *stop_state_; }
    [[nodiscard]] cancel_state& force_state() const noexcept { return *force_state_; }

    void observe(run_observer* by) noexcept { observer_ = by; }
    [[nodiscard]] run_observer* observer() const noexcept { return observer_; }
    /// Leaves that a task may pass without suspending before its neighbours get their turn.
    [[nodiscard]] int turn_budget() const noexcept { return turn_budget_; }
    /// 1: every leaf goes through the ready queue.
    void set_turn_budget(int leaves) noexcept { turn_budget_ = leaves; }

    /// Calls `fn(context)` for every root that has not ended. Home thread only.
    template <class Fn>
    void for_each_root(Fn&& fn) const;
    /// The same for any other thread, and while a task runs: the identity of a root, and where
    /// it is suspended, may be read, nothing else. False: it cannot be done.
    template <class Fn>
    [[nodiscard]] bool look_at_roots(Fn&& fn);
    /// The id of the task that runs just now; 0 between two. Any thread.
    [[nodiscard]] std::uint64_t running() const noexcept {
        return running_.load(std::memory_order_relaxed);
    }

    /// What tasks wait for here and nobody can stop.
    [[nodiscard]] unstoppable_list& unstoppable() noexcept { return unstoppable_; }

    /// Carries out a request, and those that it causes, one after the other. Home thread only.
    void carry_out_request(context& ctx) noexcept;

protected:
    explicit executor(waker& waker)
        : waker_(&waker), stop_state_(new worker_cancel_state),
          force_state_(new worker_cancel_state) {}
    virtual ~executor();

    /// Binds the thread to this executor; returns what it was bound to before.
    [[gnu::noinline]] static executor* bind_thread(executor* to) noexcept;

    /// Something may have come from other threads. Orders nothing.
    [[nodiscard]] bool inbox_seems_filled() const noexcept {
        return remote_ready_.load(std::memory_order_relaxed) ||
               inbox_.load(std::memory_order_relaxed);
    }
    /// Runs the contexts that are ready now, `most` of them at most, each in the place of the
    /// slice that is active: the loop has opened one that is nobody's. Returns how many ran.
    unsigned run_ready(unsigned most) noexcept;
    [[nodiscard]] bool has_ready() const noexcept { return first_ != nullptr; }
    [[nodiscard]] bool inbox_empty() const noexcept;

    /// Says that the worker is about to sleep. False: something was posted before that was
    /// said, so nobody will wake the worker, and it stays awake. woke_up() follows either way.
    [[nodiscard]] bool may_sleep() noexcept;
    void woke_up() noexcept { waker_->asleep.store(false, std::memory_order_relaxed); }

    timer_wheel timers_;
    waker* const waker_;

    [[nodiscard]] root_task* first_root() const noexcept { return roots_; }

private:
    void take_what_came() noexcept;

    template <bool Observed>
    unsigned run_list(unsigned most) noexcept;

    run_observer* observer_ = nullptr;
    int turn_budget_ = 128;
    root_task* roots_ = nullptr; // changed by the home thread, inside the gate
    list_gate roots_gate_;
    unstoppable_list unstoppable_;
    unmodelled_atomic<std::uint64_t> running_{0};
    const cancel_ref stop_state_;
    const cancel_ref force_state_;
    bool stopping_ = false;
    bool stopping_by_force_ = false;
    cancel_reason stop_reason_ = cancel_reason::shutdown;
    atomic<std::uint64_t> launched_here_{0};      // written by the home thread
    atomic<std::uint64_t> launched_elsewhere_{0}; // written by the others
    atomic<std::uint64_t> ended_{0};              // written by the home thread
    plain<context*> requests_first_ = nullptr;
    plain<context*> requests_last_ = nullptr;
    bool carrying_out_ = false;
    plain<context*> first_ = nullptr;
    plain<context*> last_ = nullptr; // what is last while anything is ready
    // (R) a push publishes the node; (A) take_inbox sees it. Newest first; reversed on taking.
    atomic<posted*> inbox_{nullptr};
    atomic<context*> remote_ready_{nullptr}; // as inbox_, for contexts
};

} // namespace toadstone::detail

#endif
