// received_buffer: bytes that have been received, and where their memory goes afterwards.
#ifndef TOADSTONE_RUNTIME_DETAIL_RECEIVED_BUFFER_HPP
#define TOADSTONE_RUNTIME_DETAIL_RECEIVED_BUFFER_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <cstdint>

namespace toadstone::detail {

class buffer_ring;

/// One owner at a time: the kernel, a stream that nobody has read from, or a lease.
struct received_buffer {
    std::byte* data = nullptr;
    std::size_t size = 0;
    received_buffer* next = nullptr; ///< the owner's
    buffer_ring* home = nullptr;     ///< null: it is a block of its own
    std::uint16_t number = 0;        ///< in its ring
};

/// A block of its own with room for so many bytes. Null: there is no memory.
[[nodiscard]] received_buffer* make_received_buffer(std::size_t room) noexcept;

/// Gives it back to where it came from, also when the runtime is gone. Any thread.
void give_back(received_buffer& buffer) noexcept;

} // namespace toadstone::detail

#endif
