// Both policies of a lock in one byte.
#ifndef TOADSTONE_SYNC_DETAIL_POLICIES_HPP
#define TOADSTONE_SYNC_DETAIL_POLICIES_HPP

#include <toadstone/sync/policy.hpp>

#include <cstdint>

namespace toadstone::sync::detail {

/// The byte is the low one of a guard's bits.
class policies {
public:
    constexpr policies(on_cancel cancel, on_exception exception) noexcept
        : bits_(static_cast<std::uint8_t>(static_cast<unsigned>(cancel) |
                                          static_cast<unsigned>(exception) << 2)) {}
    [[nodiscard]] constexpr on_cancel cancel() const noexcept {
        return static_cast<on_cancel>(bits_ & 3);
    }
    [[nodiscard]] constexpr on_exception exception() const noexcept {
        return static_cast<on_exception>(bits_ >> 2 & 1);
    }
    [[nodiscard]] constexpr std::uint8_t bits() const noexcept { return bits_; }
    [[nodiscard]] static policies of(std::uint32_t bits) noexcept {
        return {static_cast<on_cancel>(bits & 3), static_cast<on_exception>(bits >> 2 & 1)};
    }

private:
    std::uint8_t bits_;
};

} // namespace toadstone::sync::detail

#endif
