// lagged: what a receiver of a broadcast gets that was too slow for the messages it missed.
#ifndef TOADSTONE_SYNC_LAGGED_HPP
#define TOADSTONE_SYNC_LAGGED_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace toadstone::sync::broadcast {

/// Thrown once for messages that were replaced by newer ones before this receiver took them.
/// The next recv() goes on with the oldest message that is kept.
class lagged : public std::runtime_error {
public:
    /// As the library throws it.
    explicit lagged(std::uint64_t missed)
        : std::runtime_error("a receiver has lagged behind: messages missed: " +
                             std::to_string(missed)),
          missed_(missed) {}
    /// How many messages this receiver will never see, since it was told the last time.
    [[nodiscard]] std::uint64_t missed() const noexcept { return missed_; }

private:
    std::uint64_t missed_;
};

} // namespace toadstone::sync::broadcast

#endif
