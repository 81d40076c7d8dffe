// join_set: tasks that are joined in the order in which they end, so many at a time.
#ifndef TOADSTONE_RUNTIME_JOIN_SET_HPP
#define TOADSTONE_RUNTIME_JOIN_SET_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/called_root.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/join_set_core.hpp>
#include <toadstone/runtime/finally.hpp>
#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/spawn.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

namespace toadstone {

template <class T>
class join_set;

namespace detail {

/// Starts a task in a place that is reserved; gives the place back if it cannot.
template <class T, class... A>
void start_in_set(join_set_core& set, const spawn_options& options, A&&... body) {
    static_assert(std::is_same_v<spawned_t<A...>, T>,
                  "all tasks of a join_set give what it says");
    try {
        auto member = std::make_unique<set_member>(set);
        const auto made =
            prepare_root(executor_for(options.where), {options.name, options.token.state()},
                         std::forward<A>(body)...);
        member->keep(made.root);
        set.add(*member.release());
        made.root.launch(made.body, nullptr);
    } catch (...) {
        set.give_back();
        throw;
    }
}

template <class T>
class [[nodiscard]] next_of_set final : public set_joiner {
public:
    next_of_set(join_set_core& set, context& ctx, std::source_location where) noexcept
        : set_joiner(set, false, ctx, where) {}

    std::optional<outcome<T>> await_resume() {
        const std::unique_ptr<set_member> member(take());
        if (!member) return std::nullopt;
        auto& root = static_cast<typed_root<T>&>(member->root());
        root.mark_observed();
        root.await_requesters(); // who asks the task to stop may hold its state just now
        ctx_->adopt_deferral_of(root);
        return outcome<T>::from(root.outcome, root.unwound(),
                                root.unwound() ? root.reason() : cancel_reason::requested);
    }
};

template <class T, class... A>
class [[nodiscard]] spawn_in_turn final : public wait_leaf<join_set_core, slot_waiter> {
public:
    spawn_in_turn(context& ctx, std::source_location where, join_set_core*&& set,
                  spawn_options&& options, A&&... body) noexcept
        : wait_leaf(*set), options_(options), body_(std::forward<A>(body)...) {
        bind(ctx, where);
    }

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && core_->try_reserve();
    }
    void await_resume() {
        std::apply(
            [this](A&... parts) { start_in_set<T>(*core_, options_, std::move(parts)...); },
            body_);
    }

private:
    spawn_options options_;
    std::tuple<A...> body_;
};

/// What is written as `co_await set.f()` and refers to the set alone.
template <class Awaiter>
class [[nodiscard("write co_await")]] of_set {
public:
    explicit of_set(join_set_core& set) noexcept : set_(&set) {}
    Awaiter make_awaiter(context& ctx, std::source_location where) const noexcept {
        return Awaiter(*set_, ctx, where);
    }

private:
    join_set_core* set_;
};

} // namespace detail

/// Tasks of their own that all give a T, joined one by one as they end.
///
///     join_set<page> pages(8);                    // eight at a time
///     for (auto& each : links) co_await pages.spawn_when_free(fetch(each));
///     while (auto end = co_await pages.join_next()) use(std::move(*end).value());
///
/// Destroyed, it asks those that still run to stop, with cancel_reason::abandoned, and does not
/// wait for them: they end by themselves. What ended and was not joined is dropped; an
/// exception among it is reported. with_join_set() waits for all. A set is destroyed while no
/// task awaits anything of it.
///
/// Cancellation: the tasks do not inherit the requests of whoever spawns them, nor of who
///     joins.
/// Poisoning: a guard in a result that nobody has fetched is judged as that of a join_handle
///     that is dropped where the set is.
/// Threads: every member from any task, on any worker. One task at a time awaits join_next().
/// Shape: one small allocation for each task besides the task's own; joining is O(1).
template <class T = void>
class join_set {
public:
    /// At most `limit` tasks run at a time; 0: as many as are spawned.
    /// Errors: std::bad_alloc.
    explicit join_set(std::size_t limit = 0) : core_(new detail::join_set_core(limit)) {}
    join_set(const join_set&) = delete;
    join_set& operator=(const join_set&) = delete;
    ~join_set() { core_->close(); }

    /// Starts a task, or one that calls `fn(args...)`, as toadstone::spawn() does.
    /// Errors: as there; std::logic_error if as many run as the limit says.
    template <detail::library_awaitable A>
    void spawn(A&& body, spawn_options options = {}) {
        start(options, std::forward<A>(body));
    }
    /// spawn() of a call: `fn(args...)`, both kept with the task.
    template <detail::callable_for_spawn Fn, class... Args>
    void spawn(Fn&& fn, Args&&... args) {
        start({}, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }
    /// The same with options: a name, a worker, a token.
    template <class Fn, class... Args>
    void spawn(spawn_options options, Fn&& fn, Args&&... args) {
        start(options, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// spawn() once fewer tasks run than the limit says, first come, first served.
    ///
    /// Cancellation: a cancellation point; what was to be spawned is then destroyed without
    ///     having begun. A place that was given to one who has to stop goes to the next.
    /// Lifetime: the names and tokens in the options have to live until it has returned.
    template <detail::library_awaitable A>
    [[nodiscard]] auto spawn_when_free(A&& body, spawn_options options = {}) {
        return in_turn(options, std::forward<A>(body));
    }
    /// spawn_when_free() of a call. Cancellation: as above.
    template <detail::callable_for_spawn Fn, class... Args>
    [[nodiscard]] auto spawn_when_free(Fn&& fn, Args&&... args) {
        return in_turn({}, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }
    /// The same with options. Cancellation: as above.
    template <class Fn, class... Args>
    [[nodiscard]] auto spawn_when_free(spawn_options options, Fn&& fn, Args&&... args) {
        return in_turn(options, std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// `co_await join_next()` gives a std::optional<outcome<T>>: the next that has ended, in
    /// the order of their ends; nothing when none is left, and none is about to be spawned by
    /// one who has a place.
    ///
    /// Errors: std::logic_error if another task awaits it.
    /// Cancellation: a cancellation point. What has ended stays in the set.
    [[nodiscard]] auto join_next() noexcept {
        return detail::of_set<detail::next_of_set<T>>(*core_);
    }

    /// Asks all that run to stop. They are still to be joined.
    /// Threads: any.
    void cancel_all(cancel_reason reason = cancel_reason::requested) noexcept {
        core_->cancel_all(reason);
    }
    /// Those that have not been joined.
    [[nodiscard]] std::size_t size() const noexcept { return core_->size(); }
    /// Those that have not ended.
    [[nodiscard]] std::size_t running() const noexcept { return core_->running(); }

    /// For the library: waits for the end of all, and joins none.
    [[nodiscard]] auto all_ended() noexcept { return detail::of_set<detail::set_end>(*core_); }

private:
    template <class... A>
    void start(const spawn_options& options, A&&... body) {
        if (!core_->try_reserve())
            detail::throw_misuse("as many tasks of the join_set run as its limit says: "
                                 "co_await spawn_when_free()");
        detail::start_in_set<T>(*core_, options, std::forward<A>(body)...);
    }
    template <class First, class... A>
    [[nodiscard]] auto in_turn(const spawn_options& options, First&& first, A&&... body) {
        if constexpr (!detail::library_awaitable<First>) detail::check_closures<First>();
        using F = std::decay_t<First>;
        return detail::awaitable<false, detail::spawn_in_turn<T, F, std::decay_t<A>...>,
                                 detail::join_set_core*, spawn_options, F, std::decay_t<A>...>(
            static_cast<detail::join_set_core*>(core_), spawn_options(options),
            F(std::forward<First>(first)), std::decay_t<A>(std::forward<A>(body))...);
    }

    detail::join_set_core* const core_;
};

namespace detail {

template <class T>
task<> end_all(join_set<T>& set) {
    set.cancel_all(cancel_reason::abandoned);
    co_await set.all_ended();
}

template <class T, class R, class Fn>
task<R> run_with_join_set(std::size_t limit, Fn fn) {
    join_set<T> set(limit);
    co_return co_await finally(fn(set), end_all(set));
}

} // namespace detail

/// Runs `fn(set)`, a coroutine, with a join_set<T> of at most `limit` tasks at a time, and ends
/// when all of them have.
///
/// Returns: what the body returns. Errors: what it throws. Failures that it has not joined are
///     reported.
/// Cancellation: a request to the caller reaches the body. When that has ended, in whatever
///     way, the tasks that still run are asked to stop, with cancel_reason::abandoned, and
///     waited for, shielded.
template <class T = void, class Fn>
[[nodiscard]] auto with_join_set(std::size_t limit, Fn&& fn) {
    using F = std::decay_t<Fn>;
    detail::check_closures<Fn>();
    using R = typename std::invoke_result_t<F&, join_set<T>&>::value_type;
    return detail::run_with_join_set<T, R, F>(limit, F(std::forward<Fn>(fn)));
}
/// with_join_set() without a limit. Cancellation: as above.
template <class T = void, class Fn>
[[nodiscard]] auto with_join_set(Fn&& fn) {
    return with_join_set<T>(0, std::forward<Fn>(fn));
}

} // namespace toadstone

#endif
