// The awaiter protocol: what every cancellation point implements.
//
//   cancelled early   the request was there before the operation started: taken at once
//   cancel()          it has started: withdraw it now (true), or ask for its end (false)
//   taken()           it has ended and a request is pending: hand it back (true) or deliver
//
// Completion wins: results are delivered, acquisitions are handed back.
#ifndef TOADSTONE_RUNTIME_DETAIL_LEAF_HPP
#define TOADSTONE_RUNTIME_DETAIL_LEAF_HPP

#include <toadstone/runtime/detail/context.hpp>

#include <coroutine>
#include <source_location>
#include <tuple>
#include <utility>

namespace toadstone::detail {

class limit_timer;

class leaf {
public:
    static constexpr bool acquires = false; ///< what is handed back if nobody takes it

    /// A request arrived while the leaf is pending. Home worker only. True: nothing is in
    /// flight any more and no completion will come. False: the completion comes as usual.
    virtual bool cancel(cancel_reason reason, bool force) noexcept = 0;

    /// The leaf has completed, and a request is pending that nothing defers. True: what it
    /// acquired has been handed back and the task ends here. False: its result is delivered.
    virtual bool taken() noexcept = 0;

    /// The leaf has ended, and the task has not to stop. True: what it stands around has ended
    /// without a result by a request that is not the task's, `why`, and so the task ends here.
    virtual bool stopped(cancel_reason&) noexcept { return false; }

    /// Of a boundary that a context waits at: the time limit on what runs inside. Any worker
    /// that runs something inside.
    [[nodiscard]] virtual const limit_timer* limit_inside() const noexcept { return nullptr; }
    /// Of the same: the value of that task_local inside, or null. Any worker, likewise.
    [[nodiscard]] virtual const void* local_inside(const void*) const noexcept {
        return nullptr;
    }

    /// For await_transform: the task that awaits, and where.
    void bind(context& ctx, std::source_location where) noexcept {
        ctx_ = &ctx;
        where_ = where;
    }

protected:
    leaf() = default;
    leaf(const leaf&) = delete; // operation makes it where it stays
    leaf& operator=(const leaf&) = delete;
    virtual ~leaf() = default;

    /// For await_ready: false when the task has to stop or to let others run first.
    [[nodiscard]] bool may_complete_at_once() noexcept {
        return !ctx_->should_stop() && ctx_->spend();
    }

    /// First thing in await_suspend. False: the task stops here, start nothing.
    template <class Promise>
    [[nodiscard]] bool suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (ctx_->should_stop()) {
            ctx_->stop_here(frame.promise(), where_);
            return false;
        }
        ctx_->suspend_at(frame.promise(), this, where_);
        return true;
    }

    /// First thing in await_suspend of what is no cancellation point by itself (a boundary).
    template <class Promise>
    void suspend_always(std::coroutine_handle<Promise> frame) noexcept {
        ctx_->suspend_at(frame.promise(), this, where_);
    }

    context* ctx_ = nullptr;
    std::source_location where_;
};

/// A leaf that knows who awaits it from its beginning.
template <class Leaf>
class bound final : public Leaf {
public:
    template <class... Args>
    bound(context& ctx, std::source_location where, Args&&... args)
        : Leaf(std::forward<Args>(args)...) {
        Leaf::bind(ctx, where);
    }
};

/// What to do, and no more: the leaf is made where it stays, in the awaiting frame. Were it the
/// awaitable itself, it would be copied there, by g++ 12 with wide loads of fields that have
/// just been written.
template <class Leaf, class... Args>
class [[nodiscard("write co_await")]] operation {
public:
    static constexpr bool acquires = Leaf::acquires;

    explicit operation(Args... args) noexcept : args_(std::forward<Args>(args)...) {}
    bound<Leaf> make_awaiter(context& ctx, std::source_location where) const {
        return std::apply([&](auto&... args) { return bound<Leaf>(ctx, where, args...); },
                          args_);
    }

private:
    std::tuple<Args...> args_;
};

/// An operation that the library awaits for its caller: the place that a user wants to read of
/// is the one where he called.
template <class Leaf, class... Args>
class [[nodiscard("write co_await")]] called_from {
public:
    static constexpr bool acquires = Leaf::acquires;

    explicit called_from(std::source_location where, Args... args) noexcept
        : where_(where), what_(std::forward<Args>(args)...) {}
    bound<Leaf> make_awaiter(context& ctx, std::source_location) const {
        return what_.make_awaiter(ctx, where_);
    }

private:
    std::source_location where_;
    operation<Leaf, Args...> what_;
};

} // namespace toadstone::detail

#endif
