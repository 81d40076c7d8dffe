// Boundaries around one leaf: no context of their own, no coroutine, no turn.
//
// The oracle is the same boundary around a task that awaits the leaf: equal verdicts, reasons
// and poison in every order. What differs is whose context the leaf belongs to, and so there is
// nobody inside who could be asked to stop but the leaf.
#ifndef TOADSTONE_RUNTIME_DETAIL_FUSED_HPP
#define TOADSTONE_RUNTIME_DETAIL_FUSED_HPP

#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/outcome.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <new>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone::detail {

template <class A>
using leaf_of_t =
    decltype(std::declval<A>().make_awaiter(std::declval<context&>(), std::source_location()));

/// Its operation begins, or the task stops. What can fail there instead is for a task, in which
/// that is an exception like any other.
template <class Leaf>
concept always_begins = requires(Leaf& leaf, std::coroutine_handle<promise_base> frame) {
    { leaf.await_suspend(frame) } noexcept -> std::same_as<void>;
};

/// What a boundary can be fused with: it awaits one leaf, or a fused boundary, and is handed
/// over. A task does not, nor does what has child contexts.
template <class A>
concept fusible = !any_task<A> && !std::is_lvalue_reference_v<A> &&
                  !is_join_handle<std::remove_cvref_t<A>>::value && convertible_to_awaiter<A> &&
                  std::derived_from<leaf_of_t<A>, leaf> &&
                  !std::derived_from<leaf_of_t<A>, boundary> && always_begins<leaf_of_t<A>>;

/// The leaf that stands in for the one inside while the task is suspended.
///
/// Its own request, a time limit or a token, goes to the leaf inside alone, once, and only if
/// nothing was asked of that before. When both have ended, settle() finds out whether there is
/// a result: the leaf delivers one unless it was asked to end and says that this was taken.
class fused_leaf : public leaf {
public:
    fused_leaf(const fused_leaf&) = delete;
    fused_leaf& operator=(const fused_leaf&) = delete;

    bool cancel(cancel_reason reason, bool force) noexcept final;
    bool taken() noexcept final;
    bool stopped(cancel_reason& why) noexcept final;

protected:
    enum class ending : unsigned char {
        open,    ///< not settled
        result,  ///< the leaf has one
        limit,   ///< ended by this boundary's own request
        stopped, ///< ended by that of a boundary inside
    };

    fused_leaf(context& ctx, std::source_location where) noexcept { bind(ctx, where); }
    ~fused_leaf() = default;

    /// For await_suspend: the leaf inside has been suspended, or the task stops there: false.
    [[nodiscard]] bool stand_in() noexcept { return ctx_->stand_in_for(*inside_, *this); }
    /// For await_suspend, when the leaf inside must not begin. False: the task stops here.
    template <class Promise>
    void stop_at_once(std::coroutine_handle<Promise> frame, cancel_reason reason) noexcept {
        if (suspend(frame)) ask_before_begin(reason);
    }
    /// The boundary's own request. Home worker only.
    void ask_inside(cancel_reason reason) noexcept;

    [[nodiscard]] ending how() const noexcept { return ending_; }
    /// Of the request that ended it.
    [[nodiscard]] cancel_reason reason() const noexcept { return reason_; }
    /// For await_resume: throws if the task should have been stopped, and defers that.
    void check_stopped() const {
        if (ends_task()) [[unlikely]]
            throw_stopped();
    }
    void has_result() noexcept { ending_ = ending::result; }
    /// For the derived class, before the leaf inside goes: it has not delivered, and was asked
    /// to end by this boundary.
    [[nodiscard]] bool is_torn() const noexcept { return asked_ && ending_ == ending::open; }
    /// What is half done there is so for this boundary's reason.
    void tear_inside() noexcept;

    leaf* inside_ = nullptr;       ///< set by the derived class
    bool limit_ends_task_ = false; ///< or gives a value, or an exception
    bool stop_ends_task_ = false;  ///< the same of what stopped inside

private:
    /// Ends timer or listening. What comes from them afterwards finds it settled. Waits for
    /// nothing: another request may be under way.
    virtual void quiet() noexcept = 0;
    /// Its request has been made by another thread and has not arrived yet.
    [[nodiscard]] virtual bool requested_elsewhere(cancel_reason&) const noexcept {
        return false;
    }
    virtual void destroy_inside() noexcept = 0;

    [[nodiscard]] bool ends_task() const noexcept {
        return (ending_ == ending::limit && limit_ends_task_) ||
               (ending_ == ending::stopped && stop_ends_task_);
    }
    [[gnu::cold]] void ask_before_begin(cancel_reason reason) noexcept;
    void hear() noexcept;
    void settle() noexcept;
    [[noreturn, gnu::cold]] void throw_stopped() const;

    ending ending_ = ending::open;
    cancel_reason reason_ = cancel_reason::requested;
    bool asked_ = false; ///< own request
    bool asked_from_outside_ = false;
    bool withdrawn_ = false; ///< nothing comes from the leaf inside any more
};

/// With the leaf that `A` makes.
template <class A, class Base = fused_leaf>
class fused_around : public Base {
protected:
    using inner = leaf_of_t<A>;
    static_assert(always_begins<inner>, "nobody here could be told that it has not begun");

    template <class... Args>
    fused_around(A&& inside, context& ctx, std::source_location where, Args&&... args)
        : Base(ctx, where, std::forward<Args>(args)...) {
        this->inside_ = ::new (static_cast<void*>(&place_))
            inner(std::move(inside).make_awaiter(ctx, where));
    }
    ~fused_around() {
        if (!this->inside_) return;
        if (this->is_torn()) [[unlikely]] {
            this->tear_inside();
        } else {
            destroy_inside();
        }
    }

    [[nodiscard]] inner& leaf_inside() noexcept { return static_cast<inner&>(*this->inside_); }

private:
    void destroy_inside() noexcept final {
        std::destroy_at(&leaf_inside());
        this->inside_ = nullptr;
    }

    alignas(inner) std::byte place_[sizeof(inner)];
};

} // namespace toadstone::detail

#endif
