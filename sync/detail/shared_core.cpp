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
            const bool reading = readers(word) != 0 && readers(word) < most_readers;
            if (!(word & held) || (each->reads_ && reading)) {
                word = each->reads_ ? (word | held) + one_reader : word | held;
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

void shared_core::release_read_slowly() noexcept {
    ended_waits ended;
    std::uint32_t word = without_reader(word_.lock());
    if (!(word & held)) {
        word = serve_shared(word, false, ended);
        if (queue_.empty()) word &= ~waiting;
    }
    word_.unlock(word);
    ended.wake();
}

void shared_core::hand_back(lock_waiter& waiter) noexcept {
    if (waiter.how() == lock_waiter::state::granted) release_read();
    if (waiter.how() == lock_waiter::state::refused) static_cast<void>(waiter.take_failure());
}

void shared_core::downgrade() noexcept {
    set_owner(0);
    ended_waits ended;
    std::uint32_t word = word_.lock() + one_reader;
    word = serve_shared(word, false, ended);
    if (queue_.empty()) word &= ~waiting;
    word_.unlock(word);
    ended.wake();
}

} // namespace toadstone::sync::detail
