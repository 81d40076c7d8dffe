// The kernel's form of an endpoint, opaque so that no header of the system is needed here.
#ifndef TOADSTONE_IO_DETAIL_SOCKET_ADDRESS_HPP
#define TOADSTONE_IO_DETAIL_SOCKET_ADDRESS_HPP

#include <toadstone/io/endpoint.hpp>

#include <cstddef>

namespace toadstone::io::detail {

/// Room for a sockaddr_in or sockaddr_in6. Operations point to it while they are in flight, so
/// it lives in the awaiter.
class socket_address {
public:
    socket_address() noexcept = default;
    explicit socket_address(const endpoint& from) noexcept;

    [[nodiscard]] void* data() noexcept { return bytes_; }
    [[nodiscard]] const void* data() const noexcept { return bytes_; }
    /// What the kernel may write, and then what it has written; a socklen_t.
    [[nodiscard]] unsigned& length() noexcept { return length_; }
    [[nodiscard]] unsigned length() const noexcept { return length_; }

    /// Empty for a family that toadstone does not know.
    [[nodiscard]] endpoint to_endpoint() const noexcept;
    /// AF_INET or AF_INET6, 0 when empty.
    [[nodiscard]] int family() const noexcept;

private:
    static constexpr std::size_t room = 32;

    alignas(8) std::byte bytes_[room] = {};
    unsigned length_ = room;
};

} // namespace toadstone::io::detail

#endif
