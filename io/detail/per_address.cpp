// Counting the connections of an address.
#include <toadstone/io/detail/per_address.hpp>

#include <algorithm>

namespace toadstone::io::detail {

per_address::key per_address::key_of(const endpoint& peer) noexcept {
    constexpr std::array<std::uint8_t, 12> mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const auto& bytes = peer.address();
    key result{};
    const bool v6 = peer.kind() == endpoint::family::v6;
    const bool is_mapped = v6 && std::equal(mapped.begin(), mapped.end(), bytes.begin());
    result[0] = v6 && !is_mapped ? 6 : 4;
    const auto* const from = bytes.data() + (is_mapped ? mapped.size() : 0);
    std::copy_n(from, result[0] == 6 ? 8 : 4, result.begin() + 1);
    return result;
}

share_of_address per_address::enter(const endpoint& peer) {
    share_of_address mine;
    mine.admitted_ = true;
    if (most_ == 0) return mine;
    const std::lock_guard hold(lock_);
    const auto which = counts_.try_emplace(key_of(peer), 0).first;
    if (which->second == most_) {
        mine.admitted_ = false;
        return mine;
    }
    ++which->second;
    mine.of_ = this;
    mine.which_ = which;
    return mine;
}

void per_address::leave(counts::iterator which) noexcept {
    const std::lock_guard hold(lock_);
    if (--which->second == 0) counts_.erase(which);
}

} // namespace toadstone::io::detail
