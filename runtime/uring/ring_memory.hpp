// The memory of rings: what ENOMEM means, and waiting for what the kernel gives back late.
#ifndef TOADSTONE_RUNTIME_URING_RING_MEMORY_HPP
#define TOADSTONE_RUNTIME_URING_RING_MEMORY_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <chrono>
#include <cstddef>
#include <string>

namespace toadstone::detail {

/// What the two queues of a ring take, in bytes, rounded up to pages.
[[nodiscard]] std::size_t ring_bytes(unsigned entries, unsigned completions) noexcept;

/// The kernel gives the memory of a ring back some milliseconds after the ring is closed, from
/// a work queue, and until then counts it on RLIMIT_MEMLOCK. A new ring may find no room that
/// will be there soon, whether the old one was this process's or that of its predecessor.
///
/// Process-wide, so that the workers of a runtime wait together: where the limit is too small,
/// a start takes `patience` longer, once.
class late_memory {
public:
    using clock = std::chrono::steady_clock;
    /// How long a ring waits for it.
    static constexpr std::chrono::milliseconds patience{200};
    /// For so long after a wait that ended in vain there is no other one.
    static constexpr std::chrono::milliseconds pause{1000};

    /// There was no memory for a ring of so many bytes. True: some may come back, so another
    /// try is worth it after a millisecond.
    [[nodiscard]] static bool may_come(std::size_t bytes, clock::time_point now) noexcept;
    /// It has: the next want of memory may wait again.
    static void came() noexcept;
};

/// Why there was no memory for so many bytes of a ring, and what to do: a sentence or two.
[[nodiscard]] std::string no_ring_memory_text(std::size_t bytes);

/// Why a thread could not be started, and what to do.
[[nodiscard]] std::string no_thread_text();

/// "8388608 bytes", "unlimited".
[[nodiscard]] std::string limit_text(int resource, const char* unit);

} // namespace toadstone::detail

#endif
