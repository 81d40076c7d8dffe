// Both policies of a lock in one byte.
#ifndef TOADSTONE_SYNC_DETAIL_POLICIES_HPP
#define TOADSTONE_SYNC_DETAIL_POLICIES_HPP

#include <toadstone/sync/policy.hpp>

#include <cstdint>

namespace toadstone::sync::detail {

/// The byte is the low one of a guard's bits. Bit 0: it has to be known that the guard was
/// dereferenced.
class policies {
public:
    constexpr policies(on_cancel cancel, on_exception exception) noexcept
        : bits_(static_cast<std::uint8_t>(static_cast<unsigned>(cancel) << 1 |
                                          static_cast<unsigned>(exception) << 4)) {
        if (cancel == on_cancel::if_touched || exception == on_exception::if_touched) {
            bits_ |= 1;
        }
    }
    [[nodiscard]] constexpr on_cancel cancel() const noexcept {
        return static_cast<on_cancel>(bits_ >> 1 & 7);
    }
    [[nodiscard]] constexpr bool defers() const noexcept {
        return (bits_ & 7 << 1) == static_cast<unsigned>(on_cancel::defer) << 1;
    }
    [[nodiscard]] constexpr on_exception exception() const noexcept {
        return static_cast<on_exception>(bits_ >> 4 & 3);
    }
    [[nodiscard]] constexpr bool rolls_back() const noexcept {
        return cancel() == on_cancel::rollback || exception() == on_exception::rollback;
    }
    /// It has to be known whether the guard was dereferenced.
    [[nodiscard]] constexpr bool notes_touch() const noexcept { return (bits_ & 1) != 0; }
    /// A section that ends early for that reason poisons nothing.
    [[nodiscard]] bool spares(bool by_exception, bool untouched) const noexcept {
        const auto spared = [untouched]<class Policy>(Policy what) {
            if (what == Policy::if_touched) return untouched;
            return what == Policy::release || what == Policy::rollback;
        };
        return by_exception ? spared(exception()) : spared(cancel());
    }
    [[nodiscard]] constexpr std::uint8_t bits() const noexcept { return bits_; }
    [[nodiscard]] static policies of(std::uint32_t bits) noexcept {
        policies made(on_cancel::poison, on_exception::poison);
        made.bits_ = static_cast<std::uint8_t>(bits & mask);
        return made;
    }

    static constexpr std::uint8_t mask = 0x3f;

private:
    std::uint8_t bits_;
};

} // namespace toadstone::sync::detail

#endif
