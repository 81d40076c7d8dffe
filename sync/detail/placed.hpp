// Finds an object that was copied bit by bit behind its back.
#ifndef TOADSTONE_SYNC_DETAIL_PLACED_HPP
#define TOADSTONE_SYNC_DETAIL_PLACED_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstdint>

namespace toadstone::sync::detail {

/// A member of what must not exist twice. g++ 12 copies the result of a co_await in some
/// expressions, such as `new permit(co_await s.acquire())`, and destroys the original.
class placed {
public:
    placed() noexcept : self_(here()) {}
    placed(const placed& other) noexcept : self_(here()) { other.check(); }
    placed& operator=(const placed&) noexcept { return *this; }
    void check() const noexcept {
        TOADSTONE_ASSERT(self_ == here(), "the result of a co_await is not copied behind its "
                                          "back: with g++ 12, name it first");
    }

private:
    [[nodiscard]] std::uint32_t here() const noexcept {
        return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(this));
    }

    std::uint32_t self_;
};

} // namespace toadstone::sync::detail

#endif
