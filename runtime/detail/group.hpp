// Several child contexts under one boundary: what when_all and when_any share.
#ifndef TOADSTONE_RUNTIME_DETAIL_GROUP_HPP
#define TOADSTONE_RUNTIME_DETAIL_GROUP_HPP

#include <toadstone/runtime/detail/boundary.hpp>

#include <coroutine>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace toadstone::detail {

template <class T>
using no_void = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
/// What a vector or a variant holds in the place of a T.
template <class T>
using storable = std::conditional_t<std::is_reference_v<T>, std::add_pointer_t<T>, no_void<T>>;
template <class T>
storable<T> to_store(no_void<T>&& value) {
    if constexpr (std::is_reference_v<T>) {
        return std::addressof(value);
    } else {
        return std::move(value);
    }
}

template <class A>
struct is_task_vector : std::false_type {};
template <class T, class Allocator>
struct is_task_vector<std::vector<task<T>, Allocator>> : std::true_type {};

/// What is said of branches before each of them becomes a task.
template <class... A>
constexpr bool fit_to_group() noexcept {
    constexpr bool vectors = (is_task_vector<std::remove_cvref_t<A>>::value || ...);
    static_assert(sizeof...(A) > 0, "when_all() and when_any() of nothing would end at once, "
                                    "or never: give them something to wait for");
    static_assert(!vectors, "a vector of tasks is handed over, and alone: std::move(tasks)");
    return sizeof...(A) > 0 && !vectors;
}

/// A child of a group, without its type.
class group_member : public context {
public:
    [[nodiscard]] virtual std::exception_ptr failure() const noexcept = 0;
    virtual void drop_result() noexcept = 0;
    virtual void drop_result(const teardown_record& end) noexcept = 0;

protected:
    explicit group_member(context& parent) noexcept : context(parent) {}
    ~group_member() override = default;

private:
    friend class group_boundary;
    group_member* next_ = nullptr;
    bool ended_ = false;
    std::size_t index_ = 0;
};

class group_boundary : public boundary {
public:
    bool cancel(cancel_reason reason, bool force) noexcept final;
    bool taken() noexcept final { return nothing_to_deliver_; }
    context* child_ended(context& child) noexcept final;
    [[nodiscard]] context& owner() noexcept { return *ctx_; }

protected:
    using boundary::boundary;
    ~group_boundary() = default;

    void add(group_member& member) noexcept;
    /// Every member has been queued.
    void begun() noexcept;
    /// Asks all members but one, if given, that have not ended.
    void request_others(const context* but, cancel_reason reason, bool force = false) noexcept;
    [[nodiscard]] static std::size_t index_of(const context& member) noexcept;

    /// One has ended; the others may have to be told.
    virtual void one_ended(context& child, const std::exception_ptr& error) noexcept = 0;

    /// All have ended. Will this one's result be delivered? The others' are destroyed at once.
    [[nodiscard]] virtual bool delivers(const context& member) const noexcept = 0;
    /// The failure that is delivered instead of a result, if it is one.
    [[nodiscard]] virtual std::exception_ptr delivered_failure() const noexcept = 0;

    bool nothing_to_deliver_ = false; ///< no value and no exception: the end was a cancellation
    cancel_reason stop_reason_ = cancel_reason::requested;

private:
    void drop_undelivered() noexcept;

    group_member* first_ = nullptr;
    group_member* last_ = nullptr;
    std::size_t running_ = 0;
    std::size_t count_ = 0;
};

/// What a child is built from, in one step, because contexts do not move.
template <class T>
struct group_start {
    group_start(group_boundary& boundary, task<T>&& start) noexcept
        : owner(boundary), body(std::move(start)) {}
    group_boundary& owner;
    task<T> body;
};

template <class T>
class group_child final : public group_member {
public:
    /// Implicit, so that a tuple of children can be made of a tuple of starts.
    group_child(group_start<T>&& from) noexcept
        : group_member(from.owner.owner()), owner_(from.owner), body_(std::move(from.body)) {}

    void begin() noexcept { start(body_.release(outcome_), frame_); }
    no_void<T> take() {
        owner_.owner().adopt_deferral_of(*this);
        if constexpr (std::is_void_v<T>) {
            outcome_.take();
            return {};
        } else {
            return outcome_.take();
        }
    }
    [[nodiscard]] std::exception_ptr failure() const noexcept override {
        return outcome_.error();
    }
    void drop_result() noexcept override { outcome_.drop(); }
    void drop_result(const teardown_record& end) noexcept override { outcome_.drop(end); }

private:
    context* finish() noexcept override { return owner_.child_ended(*this); }

    group_boundary& owner_;
    task<T> body_;
    result<T> outcome_;
    frame_owner frame_;
};

} // namespace toadstone::detail

#endif
