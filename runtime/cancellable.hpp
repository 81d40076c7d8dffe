// cancellable: the protocol by which an operation of your own becomes an awaitable that takes
// part in cancellation as the library's own do.
#ifndef TOADSTONE_RUNTIME_CANCELLABLE_HPP
#define TOADSTONE_RUNTIME_CANCELLABLE_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/outside_wait.hpp>
#include <toadstone/runtime/executor.hpp>

#include <concepts>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

namespace toadstone {

/// What an operation resumes its task with, once.
///
/// Threads: copied freely; resume() from any thread.
/// Lifetime: good until resume() is called, or cancel() of the operation has returned true.
class continuation {
public:
    /// Of nothing that waits.
    continuation() noexcept = default;
    /// The operation has ended. Once, unless cancel() returned true; also from inside start().
    /// Only marks the task as ready: it goes on later, on its own worker. Nothing of the
    /// operation may be touched after the call: it is in the task's frame.
    void resume() const noexcept {
        TOADSTONE_ASSERT(ctx_ != nullptr, "a continuation that resumes a task was given to "
                                          "start()");
        ctx_->home().schedule(*ctx_);
    }
    /// It can be resumed.
    [[nodiscard]] explicit operator bool() const noexcept { return ctx_ != nullptr; }

    /// For the library.
    explicit continuation(detail::context& ctx) noexcept : ctx_(&ctx) {}

private:
    detail::context* ctx_ = nullptr;
};

namespace detail {

template <class Op>
concept has_start = requires(Op& op, continuation then) { op.start(then); };
template <class Op>
concept has_cancel = requires(Op& op, cancel_reason reason) {
    { op.cancel(reason) } noexcept -> std::same_as<bool>;
};
template <class Op>
concept has_taken = requires(Op& op) {
    { op.taken() } noexcept -> std::same_as<bool>;
};
template <class Op>
concept has_result = requires(Op& op) { op.result(); };
template <class Op>
concept has_ready = requires(Op& op) {
    { op.ready() } noexcept -> std::same_as<bool>;
};
/// Has something of that name, whatever it is.
template <class Op>
concept names_ready = requires { &Op::ready; };
template <class Op>
concept means_ready = requires { &Op::is_ready; } || requires { &Op::await_ready; };

} // namespace detail

/// The operation of a cancellable(): a class with
///
///     void start(continuation);               begins it
///     bool cancel(cancel_reason) noexcept;    the task has to stop: true if it is withdrawn
///     bool taken() noexcept;                  it has ended, and the task has to stop: true if
///                                             what it acquired has been handed back
///     R result();                             what co_await gives
///     bool ready() noexcept;                  optional: it would end at once, without start()
///
/// cancellable() says when each is called.
template <class Op>
concept cancellable_operation =
    detail::has_start<Op> && detail::has_cancel<Op> && detail::has_taken<Op> &&
    detail::has_result<Op> && (detail::has_ready<Op> || !detail::names_ready<Op>) &&
    !detail::means_ready<Op>;

namespace detail {

template <class Op>
class cancellable_awaiter final : public outside_wait {
public:
    template <class Args>
    cancellable_awaiter(context& ctx, std::source_location where, Args&& args)
        : outside_wait("an operation that its cancel() did not withdraw", true),
          op_(std::make_from_tuple<Op>(static_cast<Args&&>(args))) {
        this->bind(ctx, where);
    }

    [[nodiscard]] bool await_ready() noexcept {
        if constexpr (has_ready<Op>) {
            return this->may_complete_at_once() && op_.ready();
        } else {
            return false;
        }
    }
    decltype(auto) await_resume() {
        this->check_started();
        return op_.result();
    }

private:
    void start() override { op_.start(continuation(*this->ctx_)); }
    [[nodiscard]] bool nothing_comes() noexcept override { return true; }
    [[nodiscard]] bool withdraw(cancel_reason reason) noexcept override {
        return op_.cancel(reason);
    }
    [[nodiscard]] bool hand_back() noexcept override { return op_.taken(); }

    Op op_;
};

/// To be awaited once. Until then it can be moved.
template <class Op, class... Args>
class [[nodiscard("nothing is started until this is awaited")]] cancellable_awaitable {
public:
    static constexpr bool acquires = false;

    template <class... A>
    explicit cancellable_awaitable(std::in_place_t, A&&... args)
        : args_(std::forward<A>(args)...) {}
    cancellable_awaiter<Op> make_awaiter(context& ctx, std::source_location where) && {
        return cancellable_awaiter<Op>(ctx, where, std::move(args_));
    }

private:
    std::tuple<Args...> args_;
};

} // namespace detail

/// An awaitable of the operation `Op(args...)`, which is made where the task waits, in its
/// frame: its address is good from start() to its end, so that it can be a node in a list.
///
/// `args` are copied or moved, as by std::thread (std::ref() passes a reference).
///
///     nothing      the request was there first: no hook is called, the task ends
///     start()      begins. From now on somebody calls resume(), once, on any thread, as soon
///                  as it may be called; or cancel() returns true. If start() throws, the task
///                  gets that, and resume() must not have been called, nor be called
///     cancel()     at most once, between start() and the task's next step, if the task has to
///                  stop. True: withdrawn; resume() was not called and never will be, and the
///                  task ends. False: it is, or will be. As resume() may be on its way already,
///                  whoever decides this must hold the lock that resume() is called under, or
///                  know otherwise
///     taken()      at most once, after resume(), if the task has to stop. True: what was
///                  acquired (a lock, a permit) has been handed back, and the task ends. False:
///                  there is a result that must not be lost; it is delivered, and the next
///                  cancellation point ends the task
///     result()     otherwise, once, after resume(), or after ready() has returned true. May
///                  throw
///     destructor   last, always
///
/// Returns: what result() returns. Errors: what the constructor, start() and result() throw.
/// Cancellation: a cancellation point, by these hooks. Forced or not, the task waits until
///     resume() has been called, and the shutdown of a runtime names what it waits for.
/// Threads: all hooks, constructor and destructor run on the task's worker; cancel() as plain
///     code, not as the task. It must neither block nor wait.
template <class Op, class... Args>
[[nodiscard("nothing is started until this is awaited")]] auto cancellable(Args&&... args) {
    if constexpr (!detail::has_start<Op>) {
        static_assert(detail::never<Op>, "a cancellable operation begins in void "
                                         "start(toadstone::continuation)");
        return detail::misused_awaitable();
    } else if constexpr (!detail::has_cancel<Op>) {
        static_assert(detail::never<Op>,
                      "a cancellable operation is withdrawn, or not, in bool "
                      "cancel(toadstone::cancel_reason) noexcept");
        return detail::misused_awaitable();
    } else if constexpr (!detail::has_taken<Op>) {
        static_assert(detail::never<Op>, "a cancellable operation hands back what a task that "
                                         "stops does not need, or not, in bool taken() "
                                         "noexcept");
        return detail::misused_awaitable();
    } else if constexpr (!detail::has_result<Op>) {
        static_assert(detail::never<Op>, "a cancellable operation gives what co_await gives in "
                                         "result()");
        return detail::misused_awaitable();
    } else if constexpr (!cancellable_operation<Op>) {
        static_assert(detail::never<Op>, "a cancellable operation that may end at once says so "
                                         "in bool ready() noexcept");
        return detail::misused_awaitable();
    } else if constexpr (!std::is_constructible_v<Op, std::decay_t<Args>...>) {
        static_assert(detail::never<Op>,
                      "this operation is not made of these arguments, copied "
                      "or moved: std::ref() passes a reference");
        return detail::misused_awaitable();
    } else {
        static_assert(detail::fits_frame<Op> && (detail::fits_frame<std::decay_t<Args>> && ...),
                      "frames are aligned to 64 bytes: keep what needs more by "
                      "std::unique_ptr");
        return detail::cancellable_awaitable<Op, std::decay_t<Args>...>(
            std::in_place, std::forward<Args>(args)...);
    }
}

} // namespace toadstone

#endif
