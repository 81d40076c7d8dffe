// Who is at a channel: how many halves there are, and how many of them send.
#ifndef TOADSTONE_SYNC_DETAIL_CHANNEL_COUNTS_HPP
#define TOADSTONE_SYNC_DETAIL_CHANNEL_COUNTS_HPP

#include <toadstone/runtime/detail/atomic.hpp>

#include <cstdint>

namespace toadstone::sync::detail {

/// Orderings: (A) whoever finds itself the last sees, by (R), what the others did before.
class channel_counts {
public:
    channel_counts(const channel_counts&) = delete;
    channel_counts& operator=(const channel_counts&) = delete;

    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    /// True: it was the last one, and the channel goes.
    [[nodiscard]] bool drop_reference() noexcept {
        return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; // (A) (R)
    }
    void add_sender() noexcept { senders_.fetch_add(1, std::memory_order_relaxed); }

protected:
    /// With one sender.
    explicit channel_counts(std::uint32_t references) noexcept : references_(references) {}
    ~channel_counts() = default;

    /// True: it was the last one, and nothing more will be sent.
    [[nodiscard]] bool was_last_sender() noexcept {
        return senders_.fetch_sub(1, std::memory_order_acq_rel) == 1; // (A) (R)
    }

private:
    toadstone::detail::atomic<std::uint32_t> senders_{1};
    toadstone::detail::atomic<std::uint32_t> references_;
};

} // namespace toadstone::sync::detail

#endif
