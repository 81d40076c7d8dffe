// The context of a logical task: its cancellation state, its home worker, and where it stands.
#ifndef TOADSTONE_RUNTIME_DETAIL_CONTEXT_HPP
#define TOADSTONE_RUNTIME_DETAIL_CONTEXT_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/cancel_state.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/level.hpp>

#include <coroutine>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string_view>
#include <vector>

namespace toadstone::detail {

class context;
class executor;
class leaf;
struct promise_base;

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
    const std::exception_ptr* threw = nullptr; ///< set: destroyed as a teardown

    // Legal for every promise: all are aligned like this base (checked in task.hpp).
    [[nodiscard]] std::coroutine_handle<> handle() noexcept {
        return std::coroutine_handle<promise_base>::from_promise(*this);
    }
};

/// A number that nobody else in the process has or will have.
[[nodiscard]] [[gnu::noinline]] std::uint64_t next_serial() noexcept;

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

    /// Runs the context until it suspends or ends. From the top of the worker's loop only.
    void run() noexcept;

    /// Takes over a coroutine that has not started; it runs when the context is queued.
    void adopt(promise_base& body, frame_owner& owner) noexcept;
    /// adopt(), and queues it. Home worker only.
    void start(promise_base& body, frame_owner& owner) noexcept;

    /// The innermost frame, while the context is suspended.
    [[nodiscard]] promise_base* innermost() const noexcept { return frame_; }

    /// Asks the context to stop. Home worker only; other threads post (see executor).
    /// Resumes nothing and destroys nothing: at most a leaf is withdrawn and the context
    /// queued.
    void request(cancel_reason reason, bool force = false) noexcept;

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
    [[nodiscard]] bool should_stop() noexcept {
        return (requested() || requested_outside()) && (forced_ || !deferred());
    }
    /// The states of guards that came out of a boundary need the total order (see
    /// cancel_state::deferrals). The task's own has a lock besides, which both sides take.
    [[nodiscard]] bool deferred() const noexcept {
        return extras_ && (extras_->deferrals.load(std::memory_order_seq_cst) != 0 ||
                           (adopted_ && adopted_deferred()));
    }
    [[nodiscard]] bool forced() const noexcept { return forced_; }
    /// Its flag may be set before its home worker carries the request inwards: said before
    /// there is anything inside. A root's may always.
    void make_flaggable() noexcept { flaggable_ = true; }
    /// Requests to the contexts around this one are none of its business (a shield).
    void shut_off() noexcept { source_ = nullptr; }
    /// A context that has ended has handed its guards to this one: what they defer is this
    /// one's cancellation now.
    void adopt_deferral_of(context& ended);

    /// One unit of the cooperative budget. False when it is used up: the leaf has to go through
    /// the ready queue although it could go on at once.
    [[nodiscard]] bool spend() noexcept { return --budget_ > 0; }

    /// For a leaf, from await_suspend: the frame that waits, and what it waits for.
    void suspend_at(promise_base& frame, leaf* pending, std::source_location where) noexcept {
        frame_ = &frame;
        pending_ = pending;
        where_ = where;
    }
    /// For a leaf, from await_suspend: the awaiting frame never resumes.
    void stop_here(promise_base& frame, std::source_location where) noexcept {
        suspend_at(frame, nullptr, where);
        unwinding_ = true;
    }
    /// For a leaf whose end cannot be delivered: the task stops for `reason`. Queues it.
    void stop_and_schedule(cancel_reason reason) noexcept;

    /// Trampoline slots, written by awaiters of child tasks and by final suspension.
    void call(promise_base& child) noexcept { next_ = &child; }
    void ended(promise_base& frame) noexcept { finished_ = &frame; }

    [[nodiscard]] executor& home() const noexcept { return *home_; }
    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
    /// Unlike its address, never used again; 0 is nobody's.
    [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
    [[nodiscard]] std::string_view name() const noexcept {
        return name_ ? std::string_view(name_) : std::string_view();
    }
    [[nodiscard]] std::source_location where() const noexcept { return where_; }
    [[nodiscard]] bool suspended() const noexcept { return pending_ != nullptr; }
    [[nodiscard]] bool unwound() const noexcept { return unwound_; }
    [[nodiscard]] context* parent() const noexcept { return parent_; }
    [[nodiscard]] context& root() noexcept { return parent_ ? parent_->root() : *this; }

    /// The cancellation state that tokens and defer guards share; made on first use.
    cancel_state& extras();
    [[nodiscard]] cancel_ref shared_extras();

    run_link queue_link;   ///< ready queue or inbox
    run_link request_link; ///< requests being carried out

protected:
    explicit context(executor& home) noexcept : home_(&home), flaggable_(true) {}
    /// A boundary inside `parent`: same worker, id and name.
    explicit context(context& parent) noexcept;
    virtual ~context();

    /// All frames are gone; unwound() tells how. May destroy *this.
    virtual void finish() noexcept = 0;

    void set_identity(std::uint64_t id, const char* name) noexcept {
        id_ = id;
        name_ = name;
    }
    /// For the end of a root: tells its token of a request that no cancellation point has
    /// taken, and nobody's guard finds the context any more.
    void tell_token() noexcept;

private:
    friend class executor;
    [[nodiscard]] bool adopted_deferred() const noexcept;
    [[nodiscard]] bool requested_outside() noexcept {
        for (context* each = source_; each; each = each->source_) {
            if (each->requested()) return carry_inwards(*each);
        }
        return false;
    }
    [[nodiscard]] bool carry_inwards(context& flagged) noexcept;
    void disown() noexcept;
    void deliver_request() noexcept;
    void resume_chain() noexcept;
    void tear_down() noexcept;

    executor* home_;
    promise_base* next_ = nullptr;
    promise_base* finished_ = nullptr;
    promise_base* frame_ = nullptr;
    leaf* pending_ = nullptr;
    context* parent_ = nullptr;
    context* source_ = nullptr; // the nearest one around that is flaggable
    cancel_ref extras_;
    std::unique_ptr<std::vector<cancel_ref>> adopted_; // rarely there
    std::source_location where_;
    std::uint64_t id_ = 0;
    std::uint64_t serial_ = next_serial();
    const char* name_ = nullptr;
    int budget_ = 0;
    atomic<std::uint8_t> request_{0}; // 0, or reason + 1
    bool unwinding_ = false;
    bool unwound_ = false;
    bool forced_ = false;
    bool request_queued_ = false;
    bool flaggable_ = false;
};

/// Destroys frames from `innermost` outwards until (not including) `stop`, each in a teardown
/// slice, clearing each owner's handle first.
void destroy_frames(promise_base* innermost, promise_base* stop,
                    const teardown_record& record) noexcept;

/// A fresh task id, unique in the process.
[[nodiscard]] std::uint64_t next_task_id() noexcept;

} // namespace toadstone::detail

#endif
