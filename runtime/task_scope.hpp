// task_scope: tasks that never outlive the block that started them.
#ifndef TOADSTONE_RUNTIME_TASK_SCOPE_HPP
#define TOADSTONE_RUNTIME_TASK_SCOPE_HPP

#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/spawn.hpp>

#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace toadstone {
namespace detail {

/// The failures in a scope whose children do not answer for each other. Under its lock.
struct failure_list {
    std::vector<std::exception_ptr> all;
};
struct no_failure_list {};

} // namespace detail

/// A nursery: with_scope() ends only when every task spawned into it has.
///
/// Threads: spawn() and cancel() from any task of the scope, on any worker.
/// Lifetime: the reference that with_scope() hands to its body is good until with_scope() ends.
class task_scope : detail::root_group {
public:
    task_scope(const task_scope&) = delete;
    task_scope& operator=(const task_scope&) = delete;

    /// Starts a child. It runs later, never inside this call; on this worker unless the options
    /// say otherwise. If the scope is being cancelled, the child is too. The handle may be
    /// dropped: the scope waits for the child all the same.
    /// Errors: std::logic_error once body and children have ended.
    template <detail::library_awaitable A>
    join_handle<detail::spawned_t<A>> spawn(A&& body, spawn_options options = {}) {
        return start(options, std::forward<A>(body));
    }
    /// Starts a child that calls `fn(args...)`; see toadstone::spawn().
    template <detail::callable_for_spawn Fn, class... Args>
    join_handle<detail::spawned_t<Fn, Args...>> spawn(Fn&& fn, Args&&... args) {
        return start({}, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }
    /// The same with options: a name, a worker, a token.
    template <class Fn, class... Args>
    join_handle<detail::spawned_t<Fn, Args...>> spawn(spawn_options options, Fn&& fn,
                                                      Args&&... args) {
        return start(options, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// Asks the body and all children to stop, from any thread. The caller of with_scope() goes
    /// on when they have ended and, of a call on another thread, when it has returned: a scope
    /// that is there when the call begins stays that long. So a callback of a token, which runs
    /// inside the call, cannot wait for the end of with_scope().
    void cancel(cancel_reason reason = cancel_reason::requested) noexcept;

    /// Children that have not ended.
    [[nodiscard]] std::size_t size() const noexcept;

protected:
    /// `kept`: a failure is kept there, and cancels nobody.
    task_scope(detail::context& owner, detail::failure_list* kept) noexcept
        : root_group(owner), home_(owner.home()), kept_(kept) {}
    ~task_scope() = default;

    /// Everything has ended. On the worker of whichever part was last, or on the thread of a
    /// cancel() that returned after it.
    virtual void all_ended() noexcept = 0;
    virtual void stop_body(cancel_reason reason) noexcept = 0;

    /// cancel(), because the task that awaits the scope was asked to stop.
    void cancel_for_caller(cancel_reason reason) noexcept { stop(reason, true); }
    /// A child was torn down by what the caller was asked. When all has ended.
    [[nodiscard]] bool child_torn_for_caller() const noexcept { return torn_for_caller_; }
    /// A child was torn down by the shutdown of the runtime, of which the caller may not have
    /// heard yet. When all has ended.
    [[nodiscard]] bool child_torn_by_stop() const noexcept { return torn_by_stop_; }

    /// The body has ended, like a child. Home worker only.
    void body_ended(detail::context& body, std::exception_ptr failure) noexcept;
    [[nodiscard]] const std::exception_ptr& first_failure() const noexcept {
        return first_failure_;
    }
    /// When all has ended: what was kept becomes the one failure of the scope.
    void gather_failures() noexcept {
        if (kept_) gather_kept();
    }
    detail::executor& home_;

private:
    template <class... A>
    join_handle<detail::spawned_t<A...>> start(const spawn_options& options, A&&... body) {
        const auto made = detail::prepare_root(detail::executor_for(options.where),
                                               {options.name, options.token.state()},
                                               std::forward<A>(body)...);
        join_handle<detail::spawned_t<A...>> handle(made.root);
        if (!add(made.root)) refuse(made.root, made.body);
        made.root.launch(made.body, this);
        after_launch(made.root);
        return handle;
    }
    /// False: the scope has ended.
    [[nodiscard]] bool add(detail::root_task& child) noexcept;
    /// Throws std::logic_error, after destroying what will never run.
    [[noreturn, gnu::cold]] static void refuse(detail::root_task& child,
                                               detail::promise_base& body);
    void after_launch(detail::root_task& child) noexcept;
    void root_ended(detail::root_task& child, std::exception_ptr failure) noexcept override;
    void note_failure(detail::context& who, const std::exception_ptr& failure) noexcept;
    [[gnu::cold]] void keep_failure(detail::context& who,
                                    const std::exception_ptr& failure) noexcept;
    [[gnu::cold]] void gather_kept() noexcept;
    void stop(cancel_reason reason, bool for_caller) noexcept;
    using some = std::array<detail::root_task*, 32>;
    [[nodiscard]] bool next_to_ask(some& children) noexcept;
    void done_asking() noexcept;
    /// Body and children have ended. With the lock.
    [[nodiscard]] bool over() const noexcept { return count_ == 0 && !body_running_; }

    detail::failure_list* const kept_;
    mutable std::mutex lock_;
    detail::root_task* first_ = nullptr;  // guarded by lock_
    detail::root_task* last_ = nullptr;   // guarded by lock_; the oldest
    detail::root_task* to_ask_ = nullptr; // guarded by lock_; stop() asks it, and the younger
    std::size_t count_ = 0;               // guarded by lock_
    bool body_running_ = true;            // guarded by lock_
    bool asking_ = false; // guarded by lock_; another thread than home_'s is in stop()
    std::optional<cancel_reason> cancelled_; // guarded by lock_
    bool for_caller_ = false;                // guarded by lock_; who cancelled first
    bool torn_for_caller_ = false;           // written under lock_; read when all has ended
    bool torn_by_stop_ = false;              // as above
    std::exception_ptr first_failure_;       // written under lock_; read when all has ended
};

namespace detail {

template <class Fn>
using scope_task_t = std::invoke_result_t<Fn&, task_scope&>;

template <class Fn, class T, bool Supervises>
class scope_awaiter final : public boundary, task_scope {
public:
    scope_awaiter(context& ctx, std::source_location where, Fn&& fn)
        : boundary(ctx, where), task_scope(ctx, place_of(kept_here_)), fn_(std::move(fn)),
          body_(ctx, *this) {
        body_.make_flaggable();
    }
    ~scope_awaiter() {
        while (stop_post_.waiting()) home_.take_inbox();
    }

    bool cancel(cancel_reason reason, bool force) noexcept override {
        if (body_.request(reason, force)) body_asked_ = true;
        cancel_for_caller(reason);
        return false;
    }
    /// What the caller's request has torn down, body or child, was not done: the caller may not
    /// go on as if it were. A body that was cancelled by itself has no value to go on with.
    bool taken() noexcept override {
        if (first_failure()) return false;
        const bool torn = body_.unwound() && (body_asked_ || !std::is_void_v<T>);
        return torn || child_torn_for_caller();
    }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) {
        // First: a child on another worker may look at what waits for it before the body has
        // returned its task, if that is a function.
        suspend_always(frame);
        task<T> body = make_body();
        if (ctx_->should_stop()) cancel(ctx_->reason(), ctx_->forced());
        body_.begin(std::move(body));
    }
    T await_resume() {
        check_stopped();
        if (first_failure()) std::rethrow_exception(first_failure());
        if (body_.unwound()) {
            if constexpr (std::is_void_v<T>) return;
            throw task_cancelled(body_.reason());
        }
        ctx_->adopt_deferral_of(body_);
        return body_.outcome.take();
    }

private:
    /// A function that throws may have spawned before: that ends as any scope whose body fails.
    task<T> make_body() {
        try {
            return fn_(static_cast<task_scope&>(*this));
        } catch (...) {
            try {
                return rethrows<T>(std::current_exception());
            } catch (...) {
                ctx_->suspension_undone();
                throw;
            }
        }
    }
    context* child_ended(context& body) noexcept override {
        body_ended(body, body.unwound() ? nullptr : body_.outcome.error());
        return nullptr;
    }
    void all_ended() noexcept override {
        if (home_.is_current()) {
            finish_scope();
        } else {
            home_.post(end_post_);
        }
    }
    void stop_body(cancel_reason reason) noexcept override {
        if (home_.is_current()) {
            body_.request(reason);
        } else if (body_.flag_request(reason)) {
            const cancel_ref state = body_.state_to_tell();
            home_.post(stop_post_);
            if (state) state->request(reason);
        }
    }
    static failure_list* place_of(failure_list& kept) noexcept { return &kept; }
    static failure_list* place_of(no_failure_list&) noexcept { return nullptr; }
    void finish_scope() noexcept {
        gather_failures();
        if (first_failure()) body_.outcome.drop(end_without_result(body_, first_failure()));
        const bool stops = child_torn_by_stop() && !first_failure();
        home_.push(stops ? *pass_on(cancel_reason::shutdown) : *complete());
    }

    /// Something to be done on the home worker, asked for by another.
    class errand final : public posted {
    public:
        errand(scope_awaiter& scope, void (scope_awaiter::*what)() noexcept) noexcept
            : scope_(scope), what_(what) {}

    private:
        void run_posted() noexcept override { (scope_.*what_)(); }
        scope_awaiter& scope_;
        void (scope_awaiter::*what_)() noexcept;
    };
    void stop_body_here() noexcept { body_.act_on_request(); }

    [[no_unique_address]] std::conditional_t<Supervises, failure_list, no_failure_list>
        kept_here_;
    Fn fn_;
    child<T> body_;
    bool body_asked_ = false; // its first request was the caller's
    errand end_post_{*this, &scope_awaiter::finish_scope};
    errand stop_post_{*this, &scope_awaiter::stop_body_here}; // posted at most once
};

template <bool Supervises, class Fn>
[[nodiscard]] auto make_scope(Fn&& fn) {
    using F = std::decay_t<Fn>; // also a function is a body
    check_closures<Fn>();
    using T = typename scope_task_t<F>::value_type;
    return awaitable<false, scope_awaiter<F, T, Supervises>, F>(F(std::forward<Fn>(fn)));
}

} // namespace detail

/// Runs `fn(scope)`, a coroutine, and waits for it and for every task that it spawned into the
/// scope.
///
/// Returns: what the body returns. Errors: the first failure of the body or of a child. It
///     cancels the rest with sibling_failed; it is rethrown when all have ended. Later failures
///     are reported on stderr.
/// Cancellation: a boundary. A request to the caller reaches the body and all children. What it
///     has torn down, body or child, was not done: the caller stops here, too. If all of them
///     finished although they were asked, the result is delivered, and the next cancellation
///     point ends the caller. A child that was cancelled before by its own handle or token does
///     not count. What cancels only the inside (scope.cancel(), a token in the body) tears down
///     body and children, and the caller goes on: with nothing, or, where the body owes it a
///     value, with task_cancelled.
template <class Fn>
[[nodiscard]] auto with_scope(Fn&& fn) {
    return detail::make_scope<false>(std::forward<Fn>(fn));
}

/// with_scope() whose children do not answer for each other: one that fails cancels none.
///
/// Returns: what the body returns. Errors: aggregate_error with all failures, of the children
///     and of the body, in their order, when all have ended; it is thrown for one, too. What
///     the body rethrows of a child that it has joined is one failure with that.
/// Cancellation: as with_scope. Only a body that fails cancels the children that still run,
///     with sibling_failed.
template <class Fn>
[[nodiscard]] auto with_supervisor(Fn&& fn) {
    return detail::make_scope<true>(std::forward<Fn>(fn));
}

} // namespace toadstone

#endif
