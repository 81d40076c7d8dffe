// What of a join_set does not depend on its type: who runs, who has ended, who waits.
#ifndef TOADSTONE_RUNTIME_DETAIL_JOIN_SET_CORE_HPP
#define TOADSTONE_RUNTIME_DETAIL_JOIN_SET_CORE_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/root_task.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>

#include <coroutine>
#include <cstddef>
#include <mutex>
#include <source_location>

namespace toadstone::detail {

class join_set_core;
class set_joiner;

/// A task of a set: a place in one of its lists, and the reference that a handle would have.
///
///   list      who takes it out
///   running   the task's end: into ended. cancel_all(): into asked. close(), if the end has
///             not begun: the set is rid of it
///   asked     as running, but for cancel_all()
///   ended     join_next(), close()
///   none      its owner: whoever has taken it out
class set_member final : public pooled, root_waiter {
public:
    explicit set_member(join_set_core& set) noexcept : set_(set) {}
    set_member(const set_member&) = delete;
    set_member& operator=(const set_member&) = delete;
    ~set_member() override {
        if (root_) root_->drop_handle();
    }

    /// Takes over the reference for a handle.
    void keep(root_task& root) noexcept { root_ = &root; }
    [[nodiscard]] root_task& root() const noexcept { return *root_; }

private:
    friend class join_set_core;
    friend class member_list;
    void root_ended() noexcept override;

    join_set_core& set_;
    root_task* root_ = nullptr;
    class member_list* in_ = nullptr; // as the rest of this: under the set's lock
    set_member* next_ = nullptr;
    set_member* previous_ = nullptr;
};

/// First in, first out; anybody leaves in O(1). Under the set's lock.
class member_list {
public:
    [[nodiscard]] set_member* first() const noexcept { return first_; }
    void add(set_member& one) noexcept;
    static void remove(set_member& one) noexcept;

private:
    set_member* first_ = nullptr;
    set_member* last_ = nullptr;
};

/// Somebody who waits until fewer tasks of a set run than it allows.
class slot_waiter : public waiter {
    friend class join_set_core;
};

/// Counted: by the set, and by each task of it that has not ended, because the end of a task
/// looks for its set.
///
/// Threads: any. What is guarded by lock_ says so; no function of the user's is called with it.
class join_set_core : public pooled {
public:
    explicit join_set_core(std::size_t limit) noexcept : limit_(limit) {}
    join_set_core(const join_set_core&) = delete;
    join_set_core& operator=(const join_set_core&) = delete;

    /// A place for one more that runs. False: there is none.
    [[nodiscard]] bool try_reserve() noexcept;
    /// True: there was one. False: it is queued for the next.
    [[nodiscard]] bool settle_or_queue(slot_waiter& waiter) noexcept;
    /// Gives a place back that nobody has begun to use.
    void give_back() noexcept;
    // For wait_leaf.
    [[nodiscard]] bool withdraw(slot_waiter& waiter, waiter::state how) noexcept;
    void hand_back(slot_waiter&) noexcept { give_back(); }

    /// It uses a place that was reserved, and is launched at once.
    void add(set_member& member) noexcept;
    /// All that run are asked to stop, and those that are added meanwhile.
    void cancel_all(cancel_reason reason) noexcept;
    /// The set is gone: what runs is asked to stop, and nobody waits for it.
    void close() noexcept;

    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] std::size_t running() const noexcept;

private:
    friend class set_member;
    friend class set_joiner;
    ~join_set_core() = default;

    void one_ended(set_member& member) noexcept;
    /// With the lock: a place is free; the first in the queue has it.
    void free_place(ended_waits& over) noexcept;
    [[nodiscard]] root_task* next_to_cancel() noexcept;
    void drop_reference() noexcept;

    mutable mutex lock_;
    const std::size_t limit_;      // 0: none
    member_list running_;          // guarded by lock_
    member_list asked_;            // guarded by lock_
    member_list ended_;            // guarded by lock_
    std::size_t used_ = 0;         // guarded by lock_; places: running, asked, and reserved
    std::size_t waiting_ = 0;      // guarded by lock_; ended
    wait_queue slots_;             // guarded by lock_
    set_joiner* joiner_ = nullptr; // guarded by lock_
    bool closed_ = false;          // guarded by lock_
    atomic<std::size_t> references_{1};
};

/// Waits for the next that ends, or for the end of all.
class set_joiner : public leaf {
public:
    bool cancel(cancel_reason, bool) noexcept final;
    bool taken() noexcept final; // what has ended stays where it is

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && settled(false);
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame) && settled(true)) go_on();
    }

protected:
    set_joiner(join_set_core& set, bool for_all, context& ctx,
               std::source_location where) noexcept
        : set_(set), for_all_(for_all) {
        bind(ctx, where);
    }
    ~set_joiner() = default;

    /// For await_resume: the next that has ended, out of its list; null if nothing is left.
    /// Throws std::logic_error if somebody else waits.
    [[nodiscard]] set_member* take();

    join_set_core& set_;

private:
    friend class join_set_core;
    /// There is nothing to wait for. False: if `waits`, it will be told.
    [[nodiscard]] bool settled(bool waits) noexcept;
    /// With the lock.
    [[nodiscard]] bool satisfied() const noexcept;
    void go_on() noexcept;

    const bool for_all_;
    bool refused_ = false;
    bool told_ = false; // guarded by the set's lock
};

/// Waits for the end of all, and takes none.
class set_end final : public set_joiner {
public:
    set_end(join_set_core& set, context& ctx, std::source_location where) noexcept
        : set_joiner(set, true, ctx, where) {}
    void await_resume() { static_cast<void>(take()); }
};

} // namespace toadstone::detail

#endif
