// A set's bookkeeping: places, ends in their order, and whoever waits for either.
#include <toadstone/runtime/detail/join_set_core.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/executor.hpp>

#include <utility>

namespace toadstone::detail {

void member_list::add(set_member& one) noexcept {
    one.in_ = this;
    one.next_ = nullptr;
    one.previous_ = last_;
    (last_ ? last_->next_ : first_) = &one;
    last_ = &one;
}

void member_list::remove(set_member& one) noexcept {
    member_list& from = *std::exchange(one.in_, nullptr);
    (one.previous_ ? one.previous_->next_ : from.first_) = one.next_;
    (one.next_ ? one.next_->previous_ : from.last_) = one.previous_;
}

void set_member::root_ended() noexcept {
    set_.one_ended(*this);
}

bool join_set_core::try_reserve() noexcept {
    const std::lock_guard hold(lock_);
    if (limit_ != 0 && used_ >= limit_) return false;
    ++used_;
    return true;
}

// While somebody is queued no place is free: free_place() gives each away.
bool join_set_core::settle_or_queue(slot_waiter& waiter) noexcept {
    const std::lock_guard hold(lock_);
    if (limit_ == 0 || used_ < limit_) {
        ++used_;
        return true;
    }
    slots_.add(waiter);
    return false;
}

void join_set_core::free_place(ended_waits& over) noexcept {
    if (waiter* const first = slots_.first()) {
        over.take(slots_, *first, waiter::state::granted);
    } else {
        --used_;
    }
}

void join_set_core::give_back() noexcept {
    ended_waits over;
    set_joiner* joiner = nullptr;
    {
        const std::lock_guard hold(lock_);
        free_place(over);
        if (joiner_ && !joiner_->told_ && joiner_->satisfied()) {
            joiner = joiner_; // it was the only one
            joiner->told_ = true;
        }
    }
    over.wake();
    if (joiner) joiner->go_on();
}

bool join_set_core::withdraw(slot_waiter& waiter, waiter::state how) noexcept {
    const std::lock_guard hold(lock_);
    return slots_.withdraw(waiter, how);
}

// Before the launch: it may end on another worker before that has returned.
void join_set_core::add(set_member& member) noexcept {
    const auto waits = member.root().wait(member);
    TOADSTONE_ASSERT(waits == root_task::wait_result::waits, "a new task has no other joiner");
    const std::lock_guard hold(lock_);
    references_.fetch_add(1, std::memory_order_relaxed);
    running_.add(member);
}

// On the task's home worker, the last thing of it that is done for others. The joiner, once it
// is told, may go on at any time, and so may those who wait for a place.
void join_set_core::one_ended(set_member& member) noexcept {
    ended_waits over;
    set_joiner* joiner = nullptr;
    bool closed = false;
    {
        const std::lock_guard hold(lock_);
        member_list::remove(member);
        closed = closed_;
        if (!closed) {
            ended_.add(member);
            ++waiting_;
            free_place(over);
            if (joiner_ && !joiner_->told_ && joiner_->satisfied()) {
                joiner = joiner_;
                joiner->told_ = true;
            }
        }
    }
    over.wake();
    if (joiner) joiner->go_on();
    if (closed) delete &member;
    drop_reference();
}

root_task* join_set_core::next_to_cancel() noexcept {
    const std::lock_guard hold(lock_);
    set_member* const next = running_.first();
    if (!next) return nullptr;
    member_list::remove(*next);
    asked_.add(*next);
    next->root().add_reference();
    return &next->root();
}

// Without the lock: callbacks of their tokens may use the set.
void join_set_core::cancel_all(cancel_reason reason) noexcept {
    while (root_task* const each = next_to_cancel()) {
        each->request_from_anywhere(reason);
        each->drop_reference();
    }
}

// A task that is ending just now, on another worker, finds the set closed, and cleans up.
void join_set_core::close() noexcept {
    member_list left;
    member_list ended;
    {
        const std::lock_guard hold(lock_);
        TOADSTONE_ASSERT(!joiner_ && slots_.empty(),
                         "a join_set is destroyed while nobody awaits anything of it");
        closed_ = true;
        for (member_list* list : {&running_, &asked_}) {
            set_member* next = nullptr;
            for (set_member* each = list->first(); each; each = next) {
                next = each->next_;
                if (!each->root().stop_waiting(*each)) continue;
                member_list::remove(*each);
                left.add(*each);
            }
        }
        ended = std::exchange(ended_, {});
    }
    set_member* next = nullptr;
    for (set_member* each = left.first(); each; each = next) {
        next = each->next_;
        each->root().request_from_anywhere(cancel_reason::abandoned);
        delete each;
        drop_reference();
    }
    for (set_member* each = ended.first(); each; each = next) {
        next = each->next_;
        delete each;
    }
    drop_reference();
}

void join_set_core::drop_reference() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

std::size_t join_set_core::size() const noexcept {
    const std::lock_guard hold(lock_);
    return used_ + waiting_;
}

std::size_t join_set_core::running() const noexcept {
    const std::lock_guard hold(lock_);
    return used_;
}

bool set_joiner::satisfied() const noexcept {
    return set_.used_ == 0 || (!for_all_ && set_.waiting_ != 0);
}

bool set_joiner::settled(bool waits) noexcept {
    const std::lock_guard hold(set_.lock_);
    refused_ = set_.joiner_ != nullptr;
    if (refused_) return true;
    const bool now = satisfied();
    if (waits) {
        set_.joiner_ = this;
        told_ = now; // by itself
    }
    return now;
}

void set_joiner::go_on() noexcept {
    ctx_->home().schedule(*ctx_);
}

bool set_joiner::cancel(cancel_reason, bool) noexcept {
    const std::lock_guard hold(set_.lock_);
    if (set_.joiner_ != this || told_) return false;
    set_.joiner_ = nullptr;
    return true;
}

bool set_joiner::taken() noexcept {
    const std::lock_guard hold(set_.lock_);
    if (set_.joiner_ == this) set_.joiner_ = nullptr;
    return true;
}

set_member* set_joiner::take() {
    if (refused_) throw_misuse("one task at a time joins the tasks of a join_set");
    const std::lock_guard hold(set_.lock_);
    if (set_.joiner_ == this) set_.joiner_ = nullptr;
    if (for_all_ || set_.waiting_ == 0) return nullptr;
    set_member* const next = set_.ended_.first();
    member_list::remove(*next);
    --set_.waiting_;
    return next;
}

} // namespace toadstone::detail
