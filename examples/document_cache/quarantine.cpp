// Inputs are kept in the order of their first strikes.
#include "quarantine.hpp"

namespace cache {

std::optional<std::string> quarantine::refuses(format how, std::string_view body) const {
    const std::lock_guard hold(lock_);
    const auto found = known_.find(less::seen(how, body));
    if (found == known_.end() || found->second.strikes < most_strikes) return std::nullopt;
    return found->second.why;
}

unsigned quarantine::strike(format how, std::string_view body, std::string_view why) {
    const std::lock_guard hold(lock_);
    auto found = known_.find(less::seen(how, body));
    if (found == known_.end()) {
        found = known_.emplace(input(how, body), record{0, next_, std::string(why)}).first;
        try {
            order_.emplace(next_, found);
        } catch (...) {
            known_.erase(found);
            throw;
        }
        ++next_;
        bytes_ += body.size();
    }
    const unsigned strikes = ++found->second.strikes;
    if (strikes == most_strikes) ++refused_;
    while (bytes_ > most_bytes_ && order_.size() > 1) {
        const auto oldest = order_.begin()->second;
        if (oldest->second.strikes >= most_strikes) --refused_;
        bytes_ -= oldest->first.second.size();
        known_.erase(oldest);
        order_.erase(order_.begin());
    }
    return strikes;
}

std::size_t quarantine::size() const {
    const std::lock_guard hold(lock_);
    return refused_;
}

} // namespace cache
