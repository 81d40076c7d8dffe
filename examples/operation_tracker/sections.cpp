// Who comes to sections, and what becomes of those that everybody has left.
#include "sections.hpp"

namespace tracker {

sections::user sections::enter(operation_id id) {
    shard& in = shard_of(id);
    const std::lock_guard hold(in.lock);
    place& at = in.places.try_emplace(id, id).first->second;
    ++at.users;
    return user(*this, at);
}

std::optional<sections::user> sections::enter_if_poisoned(operation_id id) noexcept {
    shard& in = shard_of(id);
    const std::lock_guard hold(in.lock);
    const auto found = in.places.find(id);
    if (found == in.places.end() || !found->second.lock.is_poisoned()) return std::nullopt;
    ++found->second.users;
    return user(*this, found->second);
}

std::optional<sections::user> sections::take_broken() noexcept {
    const std::lock_guard hold(broken_lock_);
    place* const first = first_broken_;
    if (!first) return std::nullopt;
    first_broken_ = std::exchange(first->next, nullptr);
    return user(*this, *first); // counted when it was left
}

void sections::leave(place& at) noexcept {
    shard& in = shard_of(at.id);
    decltype(in.places)::node_type gone; // its memory goes back unlocked
    const std::lock_guard hold(in.lock);
    if (at.users > 1 || !at.lock.is_poisoned()) {
        if (--at.users == 0) gone = in.places.extract(at.id);
        return;
    }
    const std::lock_guard also(broken_lock_);
    at.next = std::exchange(first_broken_, &at);
    broken_.set();
}

} // namespace tracker
