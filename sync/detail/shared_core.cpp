// The shared mutex's slow paths: readers that leave, writers that let readers in.
#include <toadstone/sync/detail/shared_core.hpp>

namespace toadstone::sync::detail {

std::string_view mutex_core::name_of_shared() const noexcept {
    return {name_, static_cast<const shared_core*>(this)->name_length_};
}

std::uint32_t mutex_core::serve_shared(std::uint32_t word, bool repair_failed,
                                       ended_waits& ended) noexcept {
    using state = lock_waiter::state;
    bool blocked = false; // somebody who may not pass yet is before the rest
    for (auto* each = static_cast<lock_waiter*>(queue_.first()); each;) {
        auto* const next = static_cast<lock_waiter*>(queue_.behind(*each));
        const bool patient = (word & poisoned) && each->wants_ == wants::patience;
        if ((word & poisoned) && is_refused(each->wants_, repair_failed)) {
            give_cause(*each);
            ended.take(queue_, *each, state::refused);
        } else if (!blocked && !patient) {
            if (may_enter(word, each->access_)) {
                word = entered(word, each->access_);
                // Nobody is known to be the writer before he says so.
                if (each->access_ == access::upgrade)
                    owner_.store(0, std::memory_order_relaxed);
                ended.take(queue_, *each, state::granted);
            } else {
                blocked = true;
            }
        }
        if (blocked && !(word & poisoned)) break;
        each = next;
    }
    return word;
}

void shared_core::go_on(std::uint32_t word) noexcept {
    ended_waits ended;
    word = serve_shared(word, false, ended);
    if (queue_.empty()) word &= ~waiting;
    word_.unlock(word);
    ended.wake();
}

void shared_core::release_read_slowly() noexcept {
    go_on(without_reader(word_.lock()));
}

void shared_core::release_upgradable() noexcept {
    set_owner(0);
    go_on(without_reader(word_.lock()) & ~upgradable);
}

void shared_core::hand_back(lock_waiter& waiter) noexcept {
    if (waiter.how() == lock_waiter::state::granted) {
        if (waiter.access_ == access::read) release_read();
        if (waiter.access_ == access::upgradable) release_upgradable();
    }
    if (waiter.how() == lock_waiter::state::refused) static_cast<void>(waiter.take_failure());
}

void refuse_second_upgrade() {
    toadstone::detail::throw_misuse("one upgrade of a guard waits at a time");
}

bool shared_core::upgrade_now() noexcept {
    const std::uint32_t word = word_.lock();
    const bool alone = may_enter(word, access::upgrade);
    if (alone) set_owner(0);
    word_.unlock(alone ? entered(word, access::upgrade) : word);
    return alone;
}

bool shared_core::upgrade_or_queue(lock_waiter& waiter) noexcept {
    std::uint32_t word = word_.lock();
    const bool alone = may_enter(word, access::upgrade);
    const bool second = (word & waiting) && next_upgrades();
    if (alone) {
        set_owner(0);
        word = entered(word, access::upgrade);
        waiter.state_ = lock_waiter::state::granted;
    } else if (second || !(word & upgradable)) {
        waiter.state_ = lock_waiter::state::refused;
    } else {
        queue_.add_first(waiter); // all who wait would wait for it
        word |= waiting;
    }
    const bool settled = !toadstone::detail::wait_queue::is_queued(waiter);
    word_.unlock(word); // from here on a queued waiter may be woken and gone
    return settled;
}

void shared_core::downgrade(bool keep_upgradable) noexcept {
    if (!keep_upgradable) set_owner(0);
    const std::uint32_t word = word_.lock() + one_reader;
    go_on(keep_upgradable ? word | upgradable : word);
}

void shared_core::give_up_upgradable() noexcept {
    set_owner(0);
    go_on(word_.lock() & ~upgradable);
}

} // namespace toadstone::sync::detail
