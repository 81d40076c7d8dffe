// The slow paths of the mutex: queueing, handing over, poisoning, withdrawing.
#include <toadstone/sync/detail/mutex_core.hpp>

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/sync/detail/lanes.hpp>
#include <toadstone/sync/detail/lock_state.hpp>

#include <ostream>
#include <string>
#include <utility>

namespace toadstone::sync::detail {

bool takes_poisoned(wants what) noexcept {
    return what == wants::anything || what == wants::repair;
}

bool mutex_core::settle(std::uint32_t& word, lock_waiter& waiter, asker who) noexcept {
    using state = lock_waiter::state;
    if ((word & poisoned) && waiter.wants_ == wants::healthy) {
        waiter.state_ = state::refused;
        give_cause(waiter);
        return true;
    }
    const bool must_wait = (word & poisoned) && waiter.wants_ == wants::patience;
    const access kind = waiter.access_;
    if (word & shared) {
        // A queue before a free lock is one of those who wait for a repair.
        if (!must_wait && may_enter(word, kind) && !((word & held) && (word & waiting))) {
            word = entered(word, kind);
            if (kind != access::read) owner_.store(who.serial, std::memory_order_relaxed);
            waiter.state_ = state::granted;
            return true;
        }
    } else if (!(word & held) && !must_wait) {
        word |= held;
        owner_.store(who.serial, std::memory_order_relaxed);
        waiter.state_ = state::granted;
        return true;
    }
    // Who has the right to go on as a writer may read besides, unless that has to wait for a
    // writer, who waits for him. An upgrade of his that waits will be done.
    const bool upgrades = kind == access::read && (word & waiting) && next_upgrades();
    const bool in_the_way = (word & held) && (kind != access::read || readers(word) == 0 ||
                                              ((word & upgradable) && !upgrades));
    if (in_the_way && owner_.load(std::memory_order_relaxed) == who.would_wait_for_itself) {
        waiter.state_ = state::deadlock;
        return true;
    }
    return false;
}

bool mutex_core::next_upgrades() const noexcept {
    const auto* const next = static_cast<const lock_waiter*>(queue_.first());
    return next && next->access_ == access::upgrade;
}

bool mutex_core::acquire_or_queue(lock_waiter& waiter, asker who) noexcept {
    std::uint32_t word = word_.lock();
    const bool settled = settle(word, waiter, who);
    if (!settled) {
        if (word & batched) {
            lanes(queue_).add(waiter, toadstone::detail::executor::current());
        } else {
            queue_.add(waiter);
        }
        word |= waiting;
    }
    word_.unlock(word); // from here on a queued waiter may be woken and gone
    return settled;
}

bool mutex_core::acquire_now(lock_waiter& waiter, asker who) noexcept {
    std::uint32_t word = word_.lock();
    const bool settled = settle(word, waiter, who);
    word_.unlock(word);
    return settled;
}

void mutex_core::give_cause(lock_waiter& waiter) const noexcept {
    const toadstone::detail::cause_state* const cause = cause_;
    waiter.cause_ = toadstone::detail::cause_state::keep(cause->shared_from_this());
}

bool mutex_core::withdraw(lock_waiter& waiter, lock_waiter::state how) noexcept {
    ended_waits ended;
    std::uint32_t word = word_.lock();
    const bool queued =
        word & batched ? lanes(queue_).withdraw(waiter, how) : queue_.withdraw(waiter, how);
    if (queued) {
        // It was in the way of those behind it. Not so one that waits for a repair; and a crowd
        // of these must not be walked through for each that leaves.
        const bool patient = (word & poisoned) && waiter.wants_ == wants::patience;
        if ((word & shared) && !patient) word = serve_shared(word, false, ended);
        if (queue_.empty()) word &= ~(waiting | turns);
    }
    word_.unlock(word);
    ended.wake();
    return queued;
}

void mutex_core::release_poisoned(toadstone::detail::cause_ref cause,
                                  bool repair_failed) noexcept {
    owner_.store(0, std::memory_order_relaxed);
    change(&cause, false, repair_failed);
}

std::uint32_t mutex_core::serve(std::uint32_t word, bool repair_failed,
                                ended_waits& ended) noexcept {
    if (word & batched) return serve_batched(word, repair_failed, ended);
    if (word & shared) return serve_shared(word, repair_failed, ended);
    return serve_strictly(word, repair_failed, ended);
}

std::uint32_t mutex_core::serve_strictly(std::uint32_t word, bool repair_failed,
                                         ended_waits& ended) noexcept {
    using state = lock_waiter::state;
    for (auto* each = static_cast<lock_waiter*>(queue_.first()); each;) {
        auto* const next = static_cast<lock_waiter*>(queue_.behind(*each));
        if ((word & poisoned) && is_refused(each->wants_, repair_failed)) {
            give_cause(*each);
            ended.take(queue_, *each, state::refused); // all of them at once: no convoy
        } else if (!(word & held) && (!(word & poisoned) || takes_poisoned(each->wants_))) {
            word |= held; // handed over: nobody can come between
            ended.take(queue_, *each, state::granted);
            if (!(word & poisoned)) break;
        }
        each = next;
    }
    return word;
}

// A batch of one worker ends when it has had its turns, when it has no waiter any more, or when
// somebody else releases; the oldest waiter then begins the next. A worker that has no waiter
// of before another's can therefore overtake that one in the batch alone that is going on.
std::uint32_t mutex_core::serve_batched(std::uint32_t word, bool repair_failed,
                                        ended_waits& ended) noexcept {
    using state = lock_waiter::state;
    lanes queue(queue_);
    if (word & poisoned) {
        queue.for_each([&](lock_waiter& each) {
            if (!is_refused(each.wants_, repair_failed)) return;
            give_cause(each);
            queue.remove(each);
            ended.add(each, state::refused);
        });
    }
    if ((word & held) || queue.empty()) return word;
    lock_waiter* next = nullptr;
    if (word & poisoned) {
        next = queue.oldest(takes_poisoned);
    } else {
        const auto* const here = toadstone::detail::executor::current();
        if (here && queue.is_batch_of(*here) && (word & turns) < most_in_batch * one_turn) {
            next = queue.first_of(*here);
        }
        word = next ? word + one_turn : word & ~turns;
        if (!next) {
            next = queue.oldest();
            queue.begin_batch(*next);
        }
    }
    if (next) {
        word |= held; // as in serve()
        queue.remove(*next);
        ended.add(*next, state::granted);
    }
    return word;
}

void mutex_core::change(const toadstone::detail::cause_ref* cause, bool keep,
                        bool repair_failed) noexcept {
    const toadstone::detail::cause_state* old = nullptr; // dropped when the queue is unlocked
    ended_waits ended;
    std::uint32_t word = word_.lock();
    if (cause) {
        old = cause_;
        cause_ = toadstone::detail::cause_state::keep(*cause);
        word |= poisoned;
    }
    if (!keep) word &= ~held;
    word = serve(word, repair_failed, ended);
    if (queue_.empty()) word &= ~(waiting | turns);
    word_.unlock(word);
    if (old) old->drop();
    ended.wake();
}

void mutex_core::poison_held(toadstone::detail::cause_ref cause) noexcept {
    change(&cause, true, false);
}

void mutex_core::clear_poison() noexcept {
    const std::uint32_t word = word_.lock();
    const toadstone::detail::cause_state* const old = cause_;
    cause_ = nullptr;
    word_.unlock(word & ~poisoned);
    if (old) old->drop();
}

poison_cause mutex_core::cause() const noexcept {
    const std::uint32_t word = word_.lock();
    const toadstone::detail::cause_state* const cause = cause_;
    poison_cause copy;
    if (cause) copy = poison_cause(cause->shared_from_this());
    word_.unlock(word);
    return copy;
}

std::size_t mutex_core::count_waiters() const noexcept {
    const std::uint32_t word = word_.lock();
    auto& waiters = const_cast<toadstone::detail::wait_queue&>(queue_); // nothing changes
    std::size_t count = 0;
    if (word & batched) {
        lanes(waiters).for_each([&](lock_waiter&) { ++count; });
    } else {
        for (auto* each = waiters.first(); each; each = waiters.behind(*each)) ++count;
    }
    word_.unlock(word);
    return count;
}

std::string mutex_core::state() const {
    const std::uint32_t word = word_.look();
    const bool read = (word & shared) && readers(word) != 0;
    std::string use = "held";
    if (!(word & held)) {
        use = "free";
    } else if (read) {
        use = "read by " + std::to_string(readers(word));
    } else if (const std::uint64_t task = owner_task()) {
        use = "held by task " + std::to_string(task);
    }
    return lock_state(name().empty() ? type() : describe(), use, count_waiters(), cause());
}

std::ostream& mutex_core::print(std::ostream& out) const {
    return out << state();
}

std::string mutex_core::describe() const {
    if (name().empty()) return {};
    return type() + (" '" + std::string(name()) + "'");
}

} // namespace toadstone::sync::detail
