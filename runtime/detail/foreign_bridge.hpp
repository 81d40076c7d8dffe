// The coroutine that awaits another library's awaitable in the place of a task.
#ifndef TOADSTONE_RUNTIME_DETAIL_FOREIGN_BRIDGE_HPP
#define TOADSTONE_RUNTIME_DETAIL_FOREIGN_BRIDGE_HPP

#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/outside_wait.hpp>
#include <toadstone/runtime/detail/result.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone::detail {

struct bridge_promise;
using bridge_frame = std::coroutine_handle<bridge_promise>;

/// What await_suspend() of an awaiter returns.
enum class suspends : unsigned char {
    always, ///< nothing
    maybe,  ///< a bool
    going,  ///< a coroutine_handle, to be resumed in its place
};

/// An awaitable of another library, with its awaiter and its result, without their types: one
/// coroutine serves all. (g++ warns of coroutines of a header that have types of an unnamed
/// namespace in their frames.)
class foreign_step : public pooled {
public:
    foreign_step() = default;
    foreign_step(const foreign_step&) = delete;
    foreign_step& operator=(const foreign_step&) = delete;
    virtual ~foreign_step() = default;

    [[nodiscard]] virtual suspends how() const noexcept = 0;
    /// Makes the awaiter.
    [[nodiscard]] virtual bool ready() = 0;
    /// Null: goes on at once. Whoever only suspends gives any other. *this may be gone then.
    virtual std::coroutine_handle<> suspend(bridge_frame by) = 0;
    /// Keeps the result.
    virtual void resume() = 0;
};

/// Whoever waits for a bridge to end.
class bridge_owner {
public:
    bridge_owner(const bridge_owner&) = delete;
    bridge_owner& operator=(const bridge_owner&) = delete;

protected:
    bridge_owner() = default;
    virtual ~bridge_owner() = default;
    /// Once, on any thread; *this may be gone then. `destroyed`: the other library has
    /// destroyed the bridge in place of resuming it, and so there is no result.
    virtual void bridge_ended(bool destroyed) noexcept = 0;

private:
    friend struct bridge_promise;
};

/// A coroutine like any other, for those that know nothing of tasks. It owns the awaitable, its
/// awaiter and its result: whoever resumes it touches its frame alone.
///
///     made        suspended; its owner resumes it once
///     running     on any threads, as the other library resumes it
///     ended       suspended for good, its owner told; destroyed by the owner, as the result
///                 may refer to what the awaitable keeps
struct bridge {
    using promise_type = bridge_promise;
    explicit bridge(bridge_frame made) noexcept : frame(made) {}
    bridge_frame frame;
};

struct bridge_promise final : pooled {
    bridge_promise() = default;
    bridge_promise(const bridge_promise&) = delete;
    bridge_promise& operator=(const bridge_promise&) = delete;
    ~bridge_promise() {
        if (!owner) return;
        step.reset(); // first: what the awaitable refers to may be gone when the owner knows
        tell(true);
    }

    bridge get_return_object() noexcept { return bridge(bridge_frame::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    struct at_end {
        at_end() noexcept {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        // The owner may destroy the frame, with this object, before the call returns: nothing
        // of it may be kept in the caller.
        [[gnu::noinline]] void await_suspend(bridge_frame self) const noexcept {
            self.promise().tell(false);
        }
        void await_resume() const noexcept {}
    };
    at_end final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept;

    std::unique_ptr<foreign_step> step;
    bridge_owner* owner = nullptr; ///< not told yet; null: nobody waits
    std::exception_ptr error;      ///< what the awaitable has thrown

private:
    void tell(bool destroyed) noexcept {
        std::exchange(owner, nullptr)->bridge_ended(destroyed);
    }
};

template <class A>
concept with_member_co_await = requires(A&& a) { static_cast<A&&>(a).operator co_await(); };
template <class A>
concept with_free_co_await = requires(A&& a) { operator co_await(static_cast<A&&>(a)); };

template <class A>
decltype(auto) foreign_awaiter(A&& a) {
    if constexpr (with_member_co_await<A>) {
        return static_cast<A&&>(a).operator co_await();
    } else if constexpr (with_free_co_await<A>) {
        return operator co_await(static_cast<A&&>(a));
    } else {
        return static_cast<A&&>(a);
    }
}
template <class A>
using foreign_awaiter_t =
    std::remove_reference_t<decltype(detail::foreign_awaiter(std::declval<A>()))>;
/// What await_resume() gives; of an rvalue reference what it refers to, which goes with the
/// bridge.
template <class A>
using foreign_given_t = decltype(std::declval<foreign_awaiter_t<A>&>().await_resume());
template <class A>
using foreign_result_t =
    std::conditional_t<std::is_rvalue_reference_v<foreign_given_t<A>>,
                       std::remove_reference_t<foreign_given_t<A>>, foreign_given_t<A>>;

/// `A`: a type to be owned, or an lvalue reference.
template <class A>
class foreign_step_of final : public foreign_step {
    using awaiter = foreign_awaiter_t<A&&>;
    using R = foreign_result_t<A&&>;
    using suspension =
        decltype(std::declval<awaiter&>().await_suspend(std::declval<bridge_frame>()));

public:
    explicit foreign_step_of(A&& inside) : inside_(static_cast<A&&>(inside)) {}

    result<R> outcome;

private:
    [[nodiscard]] suspends how() const noexcept override {
        return std::is_void_v<suspension>         ? suspends::always
               : std::is_same_v<suspension, bool> ? suspends::maybe
                                                  : suspends::going;
    }
    [[nodiscard]] bool ready() override {
        awaiter_.emplace(static_cast<A&&>(inside_));
        return static_cast<bool>(awaiter_->value.await_ready());
    }
    std::coroutine_handle<> suspend(bridge_frame by) override {
        if constexpr (std::is_void_v<suspension>) {
            awaiter_->value.await_suspend(by);
            return std::noop_coroutine();
        } else if constexpr (std::is_same_v<suspension, bool>) {
            if (awaiter_->value.await_suspend(by)) return std::noop_coroutine();
            return nullptr;
        } else {
            return awaiter_->value.await_suspend(by);
        }
    }
    void resume() override {
        if constexpr (std::is_void_v<R>) {
            awaiter_->value.await_resume();
            outcome.set_value();
        } else {
            outcome.set_value(awaiter_->value.await_resume());
        }
    }

    /// Made where it stays, as it may not be movable; or a reference.
    struct held {
        explicit held(A&& of) : value(detail::foreign_awaiter(static_cast<A&&>(of))) {}
        decltype(detail::foreign_awaiter(std::declval<A>())) value;
    };

    A inside_;
    std::optional<held> awaiter_;
};

/// The leaf of foreign() without its types.
class foreign_wait : public outside_wait, bridge_owner {
protected:
    foreign_wait() noexcept : outside_wait("a foreign awaitable", false) {}
    ~foreign_wait() override {
        if (bridge_ && !destroyed_) bridge_.destroy();
    }

    /// For start().
    void cross(std::unique_ptr<foreign_step> step);
    /// First thing in await_resume: throws if there is no result.
    void check_ended() {
        check_started();
        if (destroyed_ || bridge_.promise().error) [[unlikely]]
            throw_no_result();
    }

private:
    // Only making the bridge throws: from then on its frame keeps what is thrown.
    [[nodiscard]] bool nothing_comes() noexcept final { return true; }
    [[nodiscard]] bool withdraw(cancel_reason) noexcept final { return false; }
    /// Who has to stop anyway is not told that nothing comes.
    [[nodiscard]] bool hand_back() noexcept final { return destroyed_; }
    void bridge_ended(bool destroyed) noexcept final {
        destroyed_ = destroyed;
        end_wait();
    }
    [[noreturn, gnu::cold]] void throw_no_result();

    bridge_frame bridge_;
    bool destroyed_ = false; // by whoever ends the wait, before that
};

} // namespace toadstone::detail

#endif
