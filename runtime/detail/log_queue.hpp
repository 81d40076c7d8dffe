// log_queue: lines that wait to be written, in memory that is there from the start.
#ifndef TOADSTONE_RUNTIME_DETAIL_LOG_QUEUE_HPP
#define TOADSTONE_RUNTIME_DETAIL_LOG_QUEUE_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace toadstone::detail {

/// First in, first out. What does not fit is counted, and the count goes with the next line
/// that does: the reader learns where lines are missing.
///
/// Shape: 256 KiB, no allocation. A line takes its bytes and 24 more.
/// Threads: none; the writer's lock guards it.
class log_queue {
public:
    static constexpr std::size_t capacity = std::size_t{1} << 18;
    /// Longer lines are not pushed.
    static constexpr std::size_t longest = 4000;

    struct line {
        std::int64_t when = 0;     ///< nanoseconds of the system clock
        std::uint64_t dropped = 0; ///< lines, just before this one
        std::size_t length = 0;
        std::array<char, longest> bytes;
        [[nodiscard]] std::string_view text() const noexcept { return {bytes.data(), length}; }
    };

    /// False: there was no room, and the line is counted as dropped.
    bool push(std::int64_t when, std::string_view text) noexcept;
    /// Not of an empty queue.
    void pop(line& into) noexcept;
    [[nodiscard]] bool empty() const noexcept { return used_ == 0; }
    /// Lines dropped since the last one that was pushed. They count no more.
    [[nodiscard]] std::uint64_t take_dropped() noexcept;
    [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }
    void clear() noexcept;

private:
    struct header {
        std::int64_t when;
        std::uint64_t dropped;
        std::uint64_t length;
    };

    void put(const void* from, std::size_t size) noexcept;
    void get(void* to, std::size_t size) noexcept;

    std::size_t begin_ = 0; // of the first line
    std::size_t used_ = 0;  // bytes, from there on, around the end
    std::uint64_t dropped_ = 0;
    std::array<char, capacity> bytes_;
};

} // namespace toadstone::detail

#endif
