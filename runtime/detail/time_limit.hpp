// A limit on time, as a duration or as a point, that cannot overflow.
#ifndef TOADSTONE_RUNTIME_DETAIL_TIME_LIMIT_HPP
#define TOADSTONE_RUNTIME_DETAIL_TIME_LIMIT_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <chrono>

namespace toadstone::detail {

/// Saturating: a timeout of hours::max() means "never".
[[nodiscard]] constexpr std::chrono::steady_clock::time_point
deadline_after(std::chrono::steady_clock::time_point now,
               std::chrono::nanoseconds wait) noexcept {
    using point = std::chrono::steady_clock::time_point;
    return wait > point::max() - now ? point::max() : now + wait;
}

template <class Rep, class Period>
[[nodiscard]] constexpr std::chrono::nanoseconds
to_nanoseconds(std::chrono::duration<Rep, Period> wait) noexcept {
    using namespace std::chrono;
    if (wait >= duration<double>(nanoseconds::max() / 2)) return nanoseconds::max() / 2;
    if (wait <= wait.zero()) return nanoseconds(0);
    return ceil<nanoseconds>(wait);
}

struct time_limit {
    explicit time_limit(std::chrono::nanoseconds length) noexcept : wait(length) {}
    explicit time_limit(std::chrono::steady_clock::time_point end) noexcept
        : until(end), absolute(true) {}
    [[nodiscard]] std::chrono::steady_clock::time_point
    from(std::chrono::steady_clock::time_point now) const {
        return absolute ? until : deadline_after(now, wait);
    }
    std::chrono::nanoseconds wait{};
    std::chrono::steady_clock::time_point until{};
    bool absolute = false;
};

} // namespace toadstone::detail

#endif
