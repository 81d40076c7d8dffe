// spawn and join_handle: starting a task of its own, and learning how it ended.
#ifndef TOADSTONE_RUNTIME_SPAWN_HPP
#define TOADSTONE_RUNTIME_SPAWN_HPP

#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/called_root.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/root_task.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/task.hpp>

#include <coroutine>
#include <cstdint>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone {

/// A cancellation_token by reference. Trivially destructible, because g++ 12 destroys members
/// of aggregates in co_await expressions twice: `co_await spawn(f(), {.token = t})` stays
/// legal.
class token_view {
public:
    /// No token.
    constexpr token_view() noexcept = default;
    /// Of a token, which it does not copy.
    token_view(
        const cancellation_token& token) noexcept // implicit: for designated initialisers
        : state_(token.state() ? &*token.state() : nullptr) {}
    /// A copy of it.
    [[nodiscard]] cancellation_token token() const noexcept {
        if (!state_) return {};
        state_->add_reference();
        return cancellation_token(detail::cancel_ref(state_));
    }
    /// For the library.
    [[nodiscard]] detail::cancel_state* state() const noexcept { return state_; }

private:
    detail::cancel_state* state_ = nullptr;
};

/// What a task is spawned with.
struct spawn_options {
    std::string_view name{}; ///< for logs and causes; copied
    placement where{};       ///< default: the spawning worker
    /// A request to it is a request to the task. The token has to live until spawn() returns.
    token_view token{};
};

namespace detail {

/// Throws std::logic_error: another task joins it already, or there is nothing to be joined.
[[noreturn, gnu::cold]] void refuse_join(const root_task* which);

/// Tells a task that joins another that it has ended.
class join_leaf : public leaf, root_waiter {
public:
    bool cancel(cancel_reason, bool) noexcept override {
        return !refused_ && root_->stop_waiting(*this);
    }
    bool taken() noexcept override { return false; } // the result is there: deliver it

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && (refused_ || root_->ended());
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (!suspend(frame)) return;
        if (refused_ || !waits()) ctx_->home().push(*ctx_);
    }

protected:
    /// Null, of an empty handle, is refused as the join of a task that another joins is.
    join_leaf(root_task* root, context& ctx, std::source_location where) noexcept
        : root_(root), refused_(!root) {
        bind(ctx, where);
    }
    ~join_leaf() {
        if (referenced_) root_->end_join(ctx_->home());
    }
    join_leaf(const join_leaf&) = delete;
    join_leaf& operator=(const join_leaf&) = delete;

    /// First thing in await_resume.
    void check_joined() const {
        if (refused_) refuse_join(root_);
    }
    root_task* root_;

private:
    [[nodiscard]] bool waits() noexcept {
        // Whoever owns the handle may drop it meanwhile.
        root_->begin_join(ctx_->home());
        referenced_ = true;
        const auto how = root_->wait(*this);
        refused_ = how == root_task::wait_result::refused;
        return how == root_task::wait_result::waits;
    }
    void root_ended() noexcept override {
        executor& home = ctx_->home();
        if (&home == &root_->home()) { // whose worker this is
            home.push(*ctx_);
        } else {
            home.schedule(*ctx_);
        }
    }

    bool referenced_ = false;
    bool refused_;
};

template <class T, bool AsOutcome>
class [[nodiscard]] join_awaiter final : public join_leaf {
public:
    join_awaiter(typed_root<T>* root, context& ctx, std::source_location where) noexcept
        : join_leaf(root, ctx, where) {}

    decltype(auto) await_resume() {
        check_joined();
        auto& root = static_cast<typed_root<T>&>(*root_);
        root.mark_observed();
        root.await_requesters(); // who asks the task to stop may hold its state just now
        ctx_->adopt_deferral_of(root);
        if constexpr (AsOutcome) {
            return outcome<T>::from(root.outcome, root.unwound(),
                                    root.unwound() ? root.reason() : cancel_reason::requested);
        } else {
            if (root.unwound()) throw task_cancelled(root.reason());
            return root.outcome.take();
        }
    }
};

template <class T>
class [[nodiscard]] outcome_of_join {
public:
    explicit outcome_of_join(typed_root<T>* root) noexcept : root_(root) {}
    join_awaiter<T, true> make_awaiter(context& ctx, std::source_location where) const {
        return join_awaiter<T, true>(root_, ctx, where);
    }

private:
    typed_root<T>* root_;
};

/// The executor for a placement, seen from this thread. Throws std::logic_error outside a task.
[[nodiscard]] executor& executor_for(placement where);

} // namespace detail

/// Joins a spawned task: `co_await handle` gives its value, rethrows its exception, or throws
/// task_cancelled. The result can be fetched once. Dropping the handle detaches the task; an
/// exception that nobody fetched is then printed with the task's name.
///
/// Errors also: std::logic_error, from co_await, of a handle that is empty, of a result that
///     was fetched before, and while another task joins.
/// Poisoning: a guard in a result that nobody has fetched poisons if the handle is destroyed by
///     a teardown or an exception, whether the task has ended by then or ends later; it is
///     released clean if the handle is dropped in normal control flow.
/// Cancellation: co_await is a cancellation point that ends the join, not the other task. A
///     result that is there is delivered. cancel() asks the other task to stop.
/// Threads: cancel() from any thread; the handle may be moved to another task or worker. At
///     most one task awaits it at a time.
template <class T = void>
class join_handle {
public:
    /// Of no task.
    join_handle() = default;
    join_handle(join_handle&& other) noexcept : root_(std::exchange(other.root_, nullptr)) {}
    join_handle& operator=(join_handle&& other) noexcept {
        join_handle(std::move(other)).swap(*this);
        return *this;
    }
    ~join_handle() {
        if (root_) std::exchange(root_, nullptr)->drop_handle();
    }
    /// Exchanges two handles.
    void swap(join_handle& other) noexcept { std::swap(root_, other.root_); }

    /// Asks the task to stop. Only sets a flag and posts: nothing is resumed or destroyed here.
    void cancel(cancel_reason reason = cancel_reason::requested) noexcept {
        if (root_) root_->request_from_anywhere(reason);
    }
    /// It has ended; joining it does not wait.
    [[nodiscard]] bool done() const noexcept { return root_ && root_->ended(); }
    /// It has a task: false after a move or a join.
    [[nodiscard]] bool valid() const noexcept { return root_ != nullptr; }
    /// Of the task, as in causes; 0 for none.
    [[nodiscard]] std::uint64_t id() const noexcept { return root_ ? root_->id() : 0; }

    /// Gives the task up: it runs on by itself.
    void detach() noexcept {
        if (root_) std::exchange(root_, nullptr)->drop_reference();
    }

    /// `co_await handle.outcome()` gives the end as a value; of what a join throws, only that
    /// std::logic_error is left.
    [[nodiscard]] detail::outcome_of_join<T> outcome() noexcept {
        return detail::outcome_of_join<T>(root_);
    }

    /// For the library.
    explicit join_handle(detail::typed_root<T>& root) noexcept : root_(&root) {}
    /// For the library.
    [[nodiscard]] detail::typed_root<T>* root() const noexcept { return root_; }
    /// root() is the caller's, with the reference.
    void give_up() noexcept { root_ = nullptr; }
    /// For the library: co_await of the handle.
    detail::join_awaiter<T, false> make_awaiter(detail::context& ctx,
                                                std::source_location where) {
        return detail::join_awaiter<T, false>(root_, ctx, where);
    }

private:
    detail::typed_root<T>* root_ = nullptr;
};

namespace detail {

/// What spawn() calls with its arguments, and not an awaitable that it takes as it is.
template <class Fn>
concept callable_for_spawn =
    !library_awaitable<Fn> && !std::is_same_v<std::remove_cvref_t<Fn>, spawn_options>;

template <class... A>
join_handle<spawned_t<A...>> spawn_on(executor& home, const spawn_options& options,
                                      A&&... body) {
    const auto made =
        prepare_root(home, {options.name, options.token.state()}, std::forward<A>(body)...);
    join_handle<spawned_t<A...>> handle(made.root);
    made.root.launch(made.body, nullptr);
    return handle;
}

} // namespace detail

/// Starts a task of its own. It runs later, never inside this call.
///
/// From inside a task it runs on the same worker unless the options say otherwise.
/// Errors: std::logic_error outside a task (use runtime::spawn there); std::bad_alloc.
/// Cancellation: not a cancellation point. The new task does not inherit the caller's requests;
///     a task_scope's children do.
template <detail::library_awaitable A>
[[nodiscard("dropping the handle detaches the task; say so with detach()")]]
join_handle<detail::spawned_t<A>> spawn(A&& body, spawn_options options = {}) {
    return detail::spawn_on(detail::executor_for(options.where), options,
                            std::forward<A>(body));
}

/// Starts a task that calls `fn(args...)`, a function that returns a task: a lambda coroutine
/// may capture, and take references to what it is given.
///
/// Both are copied or moved into the task's record, as by std::thread (std::ref() passes a
/// reference), and are handed to `fn` as rvalues. `fn` is called on the task's worker.
/// Errors: what copying throws. What `fn` throws before it returns its task is how the task
///     ended.
/// Cancellation: not a cancellation point. A request that comes first does not keep `fn` from
///     being called.
/// Poisoning: callable and arguments die with the task's frames, behind the outermost, the last
///     argument first: a guard among them poisons if the task fails or is torn down, and is
///     released clean if it returns. The joiner learns of the end afterwards.
/// Shape: no more allocations than spawn(task).
template <detail::callable_for_spawn Fn, class... Args>
[[nodiscard("dropping the handle detaches the task; say so with detach()")]]
join_handle<detail::spawned_t<Fn, Args...>> spawn(Fn&& fn, Args&&... args) {
    return detail::spawn_on(detail::executor_for({}), {}, std::forward<Fn>(fn),
                            std::forward<Args>(args)...);
}
/// As above, with options: `spawn({.name = "reader"}, fn, args...)`.
template <class Fn, class... Args>
[[nodiscard("dropping the handle detaches the task; say so with detach()")]]
join_handle<detail::spawned_t<Fn, Args...>> spawn(spawn_options options, Fn&& fn,
                                                  Args&&... args) {
    return detail::spawn_on(detail::executor_for(options.where), options, std::forward<Fn>(fn),
                            std::forward<Args>(args)...);
}

} // namespace toadstone

#endif
