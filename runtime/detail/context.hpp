// The context of a logical task: its cancellation state, its home worker, and where it stands.
#ifndef TOADSTONE_RUNTIME_DETAIL_CONTEXT_HPP
#define TOADSTONE_RUNTIME_DETAIL_CONTEXT_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/cancel_state.hpp>
#include <toadstone/runtime/detail/fiber_host.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/level.hpp>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <source_location>
#include <string_view>

namespace toadstone::detail {

class context;
class executor;
class leaf;
class root_group;
class run_observer;
struct promise_base;
struct thread_slice;

/// Whoever holds a running coroutine: an awaiter in the parent's frame, or a context.
/// The handle is cleared as the frame goes, so that nobody destroys it twice.
struct frame_owner {
    promise_base* child = nullptr;
    frame_owner() = default;
    frame_owner(const frame_owner&) = delete;
    frame_owner& operator=(const frame_owner&) = delete;
    ~frame_owner() {
        if (child) abandon();
    }
    void abandon() noexcept; ///< destroys the frame as an abandonment, innermost child first
};

/// What every toadstone coroutine knows about its place.
struct promise_base {
    context* ctx = nullptr;
    promise_base* parent = nullptr; ///< the frame that awaits this one; null at the bottom
    frame_owner* owner = nullptr;
    std::exception_ptr* threw = nullptr; ///< set: destroyed as a teardown

    // Legal for every promise: all are aligned like this base (checked in task.hpp).
    [[nodiscard]] std::coroutine_handle<> handle() noexcept {
        return std::coroutine_handle<promise_base>::from_promise(*this);
    }
};

/// A fresh task id, unique in the process.
[[nodiscard]] std::uint64_t next_task_id() noexcept;
/// An odd number that nobody else in the process has or will have.
[[nodiscard]] [[gnu::noinline]] std::uint64_t next_serial() noexcept;
/// Such a number of this thread, whatever runs on it.
[[nodiscard]] std::uint64_t thread_serial() noexcept;
/// The serial number of the context that runs here, or else of this thread.
[[nodiscard]] [[gnu::noinline]] std::uint64_t current_serial() noexcept;

/// A node in a queue of contexts. `state` is home worker only.
struct run_link {
    plain<context*> next = nullptr;
};

/// A strand of execution with one chain of frames and at most one pending leaf: a spawned root,
/// or the inside of a boundary (with_timeout, when_any, a scope's body, ...).
///
/// Access rules:
///   (1) everything but `request_` is touched by the home worker only;
///   (2) `request_` is set once, by anybody, and never cleared;
///   (3) a completion from another thread goes through executor::schedule, which hands the
///       context to its home worker; between suspension and that call nobody else touches it.
class context {
public:
    context(const context&) = delete;
    context& operator=(const context&) = delete;

    /// Takes over a coroutine that has not started; it runs when the context is queued.
    void adopt(promise_base& body, frame_owner& owner) noexcept;
    /// adopt(), and queues it. Home worker only.
    void start(promise_base& body, frame_owner& owner) noexcept;

    /// The innermost frame, while the context is suspended.
    [[nodiscard]] promise_base* innermost() const noexcept { return frame_; }

    /// Asks the context to stop. Home worker only; other threads post (see executor).
    /// Resumes nothing and destroys nothing: at most a leaf is withdrawn and the context
    /// queued. True for the first request.
    bool request(cancel_reason reason, bool force = false) noexcept;

    /// Sets the flag from any thread. True for the first request: the caller must see to it
    /// that the home worker runs act_on_request().
    bool flag_request(cancel_reason reason) noexcept;
    /// Carries the flagged request to whatever the context waits for. Home worker only.
    void act_on_request() noexcept;

    [[nodiscard]] bool requested() const noexcept {
        return request_.load(std::memory_order_relaxed) != 0;
    }
    [[nodiscard]] bool requested_by_anybody() const noexcept {
        return request_.load(std::memory_order_seq_cst) != 0;
    }
    [[nodiscard]] cancel_reason reason() const noexcept {
        return static_cast<cancel_reason>(request_.load(std::memory_order_relaxed) - 1);
    }
    /// A request is pending and nothing defers it: the next cancellation point ends the task.
    /// One that was made to a context around this one counts, delivered or not.
    [[nodiscard]] bool should_stop() noexcept { return may_have_to_stop() && has_to_stop(); }
    /// The states of guards that came out of a boundary need the total order (see
    /// cancel_state::deferrals). The task's own has a lock besides, which both sides take.
    [[nodiscard]] bool deferred() const noexcept {
        const cancel_state* const own = state();
        return own &&
               (own->deferrals.load(std::memory_order_seq_cst) != 0 || own->adopted_deferral());
    }
    [[nodiscard]] bool forced() const noexcept { return forced_; }
    /// Its flag may be set before its home worker carries the request inwards: said before
    /// there is anything inside. A root's may always.
    void make_flaggable() noexcept { flaggable_ = true; }
    /// Requests to the contexts around this one are none of its business (a shield).
    void shut_off() noexcept { shut_off_ = true; }
    /// This context, or one around it up to a shield, has been asked to stop, whether its home
    /// worker knows yet or not. From inside: what is around is there then, on whatever worker.
    [[nodiscard]] bool stop_requested() const noexcept;
    /// Why it would have to stop at a cancellation point here, if it would: as
    /// stop_requested(), but for what a guard of this context, or of one around it, defers.
    [[nodiscard]] std::optional<cancel_reason> why_stop() const noexcept;
    /// The first of the time limits around it, up to a shield. On its home worker.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point>
    deadline() const noexcept;
    /// What is found at that task_local, or null.
    [[nodiscard]] const void* local(const void* key) const noexcept;
    /// A context that has ended has handed its guards to this one: what they defer is this
    /// one's cancellation now.
    void adopt_deferral_of(context& ended) {
        if (ended.state()) adopt_extras_of(ended);
    }

    /// One unit of the cooperative budget. False when it is used up: the leaf has to go through
    /// the ready queue although it could go on at once.
    [[nodiscard]] bool spend() noexcept { return --budget_ > 0; }

    /// For a leaf, from await_suspend: the frame that waits, and what it waits for.
    void suspend_at(promise_base& frame, leaf* pending, std::source_location where) noexcept {
        frame_ = &frame;
        pending_ = pending;
        where_.store(where, std::memory_order_relaxed);
    }
    /// For what stands around `inside` and has suspended it. False: the task stops there.
    [[nodiscard]] bool stand_in_for(const leaf& inside, leaf& around) noexcept {
        if (pending_ != &inside) return false;
        pending_ = &around;
        return true;
    }
    /// The pending leaf is asked how it ended before the task goes on. Home worker only.
    void ask_leaf() noexcept {
        ask_leaf_ = true;
        seen_epoch_ = root_->epoch_.load(std::memory_order_relaxed) - 1;
    }
    /// The same from another thread, if the task cannot go meanwhile. A hint.
    void bump_epoch() noexcept {
        root_->epoch_.fetch_add(1, std::memory_order_release); // (R)
    }
    /// For a leaf whose await_suspend throws.
    void suspension_undone() noexcept { pending_ = nullptr; }
    /// For a leaf, from await_suspend: the awaiting frame never resumes.
    void stop_here(promise_base& frame, std::source_location where) noexcept {
        suspend_at(frame, nullptr, where);
        unwinding_ = true;
    }
    /// For a leaf whose end cannot be delivered: the task stops for `reason` when it runs next.
    void stop_for(cancel_reason reason) noexcept;

    /// The trampoline's slot, written by awaiters of child tasks and by final suspension. A
    /// child that is in a context of its own runs when this one, which waits for it, has
    /// suspended.
    void call(promise_base& child) noexcept { next_ = step(child); }
    void ended(promise_base& frame) noexcept { next_ = step(frame) | at_its_end; }

    [[nodiscard]] executor& home() const noexcept { return *home_; }
    /// Of the spawned task that it belongs to.
    [[nodiscard]] std::uint64_t id() const noexcept { return root_->serial_ / 2; }
    /// Unlike its address, never used again; 0 is nobody's.
    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
    [[nodiscard]] std::string_view name() const noexcept { return root_->own_name(); }
    /// Of the last suspension. Any thread, for reports.
    [[nodiscard]] std::source_location where() const noexcept {
        return where_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] bool suspended() const noexcept { return pending_ != nullptr; }
    [[nodiscard]] bool unwound() const noexcept { return unwound_; }
    [[nodiscard]] context* parent() const noexcept { return is_root() ? nullptr : parent_; }
    [[nodiscard]] context& root() noexcept { return *root_; }
    [[nodiscard]] bool is_root() const noexcept { return root_ == this; }

    /// The context with this serial number, or the thread, cannot go on before this one has
    /// ended: it is this one, or waits for it at a boundary, a scope, or in block_on().
    /// Of a part of the number, under a mask, the same part is compared.
    [[nodiscard]] bool waited_for_by(std::uint64_t serial,
                                     std::uint64_t mask = ~std::uint64_t{0}) const noexcept;
    /// That context; null if there is none, or if it is a thread.
    [[nodiscard]] const context* waiting(std::uint64_t serial) const noexcept;
    /// holder_of(), and itself for an object that is elsewhere. It is suspended: the frames of
    /// one that runs are not known.
    [[nodiscard]] context& holder_or_self(const void* object) noexcept;
    /// Of this context, which is suspended, and those that wait for it as above: the one that
    /// has `object` in a frame. Null if none has.
    [[nodiscard]] const context* holder_of(const void* object) const noexcept;
    /// What else holds objects of the task, the newest removed first. Home worker only.
    void add_memory(task_memory& more) noexcept {
        more.older = memory_;
        memory_ = &more;
    }
    void remove_memory(task_memory& newest) noexcept { memory_ = newest.older; }

    /// The cancellation state that tokens and defer guards share; made on first use.
    /// Home worker, or a task inside.
    cancel_state& extras();
    [[nodiscard]] cancel_ref shared_extras();
    /// The same, told of requests to what is around it, too.
    [[nodiscard]] cancel_ref token_state();
    /// For whoever has flagged a request while the context cannot go: the state to be told, if
    /// there is one. One that is made later finds the flag.
    [[nodiscard]] cancel_ref state_to_tell() const noexcept {
        cancel_state* const own = extras_.load(std::memory_order_seq_cst);
        if (own) own->add_reference();
        return cancel_ref(own);
    }

    run_link queue_link;   ///< ready queue or inbox
    run_link request_link; ///< requests being carried out

protected:
    explicit context(executor& home) noexcept
        : home_(&home), root_(this), group_(nullptr), serial_(2 * next_task_id()),
          flaggable_(true) {}
    /// A boundary inside `parent`: same worker, id and name.
    explicit context(context& parent) noexcept;
    virtual ~context();

    /// All frames are gone; unwound() tells how. Returns what goes on now, inside which this
    /// one was, in the same run of the loop; or null, and then may have destroyed *this.
    virtual context* finish() noexcept = 0;
    /// What of a context that is no frame from the pool holds objects of the user.
    struct extent {
        const void* begin = nullptr;
        std::size_t size = 0;
        [[nodiscard]] bool holds(const void* object) const noexcept {
            const auto offset = reinterpret_cast<std::uintptr_t>(object) -
                                reinterpret_cast<std::uintptr_t>(begin);
            return begin && offset < size;
        }
    };
    [[nodiscard]] virtual extent record() const noexcept { return {}; }
    /// Of a root.
    [[nodiscard]] virtual std::string_view own_name() const noexcept { return {}; }
    /// Of a root: the scope that it belongs to.
    [[nodiscard]] root_group* group() const noexcept { return is_root() ? group_ : nullptr; }
    void join_group(root_group* group) noexcept { group_ = group; }

    /// For the end of a root: tells its token of a request that no cancellation point has
    /// taken, and nobody's guard finds the context any more.
    void tell_token() noexcept {
        if (extras_.load(std::memory_order_relaxed)) tell_extras(); // which acquires them
    }

private:
    friend class executor;
    friend void destroy_frame(promise_base& frame) noexcept;
    /// What the trampoline is to do: go into a frame, or destroy one that is at its end.
    static constexpr std::uintptr_t at_its_end = 1;
    [[nodiscard]] static std::uintptr_t step(promise_base& frame) noexcept {
        return reinterpret_cast<std::uintptr_t>(&frame);
    }
    /// False: no request that this context has not seen was made to the root or anything in it,
    /// and none that it has seen concerns it. Orders nothing: has_to_stop() does.
    [[nodiscard]] bool may_have_to_stop() const noexcept {
        return root_->epoch_.load(std::memory_order_relaxed) != seen_epoch_;
    }
    [[nodiscard]] [[gnu::noinline]] bool has_to_stop() noexcept;
    [[nodiscard]] bool requested_outside() noexcept;
    [[nodiscard]] bool carry_inwards(context& flagged) noexcept;
    [[nodiscard]] bool memory_holds(const void* object) const noexcept;
    void adopt_extras_of(context& ended);
    void tell_extras() noexcept;
    void let_go_of_extras() noexcept;
    [[nodiscard]] cancel_state* state() const noexcept {
        return extras_.load(std::memory_order_acquire);
    }
    /// What encloses this one, and waits for it: of a scope's child the context that awaits
    /// the scope. Null at the top. Constant while anything runs inside.
    [[nodiscard]] context* around() const noexcept;
    void deliver_request() noexcept;
    /// Runs the context until it suspends or ends. From the top of the worker's loop only.
    /// Returns what is to run next: a child that this one waits for, or what has waited for
    /// this one. Null: whatever is ready, and *this may be gone.
    template <bool Observed>
    [[nodiscard]] context* run(thread_slice& slice, run_observer* observer) noexcept;
    template <bool Observed>
    [[nodiscard]] context* resume_chain(run_observer* observer) noexcept;
    void end_frame(promise_base& ended) noexcept;
    [[gnu::cold]] void end_failed_frame(promise_base& ended) noexcept;
    [[nodiscard]] bool stops_at(leaf& ended) noexcept;
    [[nodiscard]] context* tear_down() noexcept;
    void destroy(promise_base& frame) noexcept;
    [[gnu::cold]] void destroy_rest(promise_base& frame);
    [[noreturn]] [[gnu::cold]] static void die_of_unknown_suspension() noexcept;

    executor* home_;
    context* const root_; // of the spawned task that this belongs to
    union {
        context* const parent_; // of a boundary's inside
        root_group* group_;     // of a root: the scope that it belongs to, or null
    };
    std::uintptr_t next_ = 0; // a step, or 0
    promise_base* frame_ = nullptr;
    leaf* pending_ = nullptr;
    task_memory* memory_ = nullptr;
    // Holds a reference. Set once, by the home worker or a task inside. (S) with request_: one
    // side sets the flag and then looks here, the other sets this and then looks at the flag,
    // so that one of them tells the state.
    atomic<cancel_state*> extras_{nullptr};
    unmodelled_atomic<std::source_location> where_{};
    const std::uint64_t serial_; // of a root: twice its id; else odd
    // Of a root: counts the requests made to it, and to what is in it. (R) after the flag, so
    // that who finds an epoch that it has seen need not look at flags.
    atomic<std::uint32_t> epoch_{0};
    std::uint32_t seen_epoch_ = 0; // nothing that was flagged up to it concerns this context
    int budget_ = 0;
    atomic<std::uint8_t> request_{0}; // 0, or reason + 1
    bool shut_off_ = false;           // read on the workers of what is inside, too
    bool unwinding_ : 1 = false;
    bool unwound_ : 1 = false;
    bool forced_ : 1 = false;
    bool request_queued_ : 1 = false;
    bool flaggable_ : 1 = false;
    bool ask_leaf_ : 1 = false;
};

/// While one lives, a context that has suspended waits for what this thread does.
class thread_waited_for {
public:
    explicit thread_waited_for(const context& by) noexcept;
    ~thread_waited_for();
    thread_waited_for(const thread_waited_for&) = delete;
    thread_waited_for& operator=(const thread_waited_for&) = delete;
    /// That context; null if there is none.
    [[nodiscard]] [[gnu::noinline]] static const context* by() noexcept;

private:
    const context* outer_;
};

/// Says on stderr that `what` of a task failed with an exception that nobody can be given.
void report_lost_failure(const context& task, const char* what,
                         const std::exception_ptr& error) noexcept;

/// As what the result of somebody else is destroyed because `who` failed, with `error`, or was
/// torn down: nobody is given it.
[[nodiscard]] teardown_record end_without_result(const context& who,
                                                 const std::exception_ptr& error) noexcept;

/// Destroys frames from `innermost` outwards until (not including) `stop`, each in a teardown
/// slice, clearing each owner's handle first.
void destroy_frames(promise_base* innermost, promise_base* stop,
                    const teardown_record& record) noexcept;

/// Destroys one frame, whatever its destructors throw: that is reported once, with the task's
/// name, and everything else of the frame is destroyed all the same.
void destroy_frame(promise_base& frame) noexcept;

} // namespace toadstone::detail

#endif
