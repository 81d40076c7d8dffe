// The addresses of the simulated machine: IPv4 and IPv6 in one form.
#ifndef TOADSTONE_SIM_KERNEL_ADDRESS_HPP
#define TOADSTONE_SIM_KERNEL_ADDRESS_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <cstdint>

#include <sys/socket.h>

namespace toadstone::sim::detail {

/// In network order; IPv4 as IPv6 maps it, ::ffff:a.b.c.d.
using host = std::array<std::uint8_t, 16>;

[[nodiscard]] bool is_v4(const host& which) noexcept;
/// 0.0.0.0 for AF_INET, :: for AF_INET6.
[[nodiscard]] host any_host(int family) noexcept;
[[nodiscard]] bool is_any(const host& which) noexcept;
/// Where whoever connects to `to` arrives: "any" is this machine.
[[nodiscard]] host target_of(const host& to) noexcept;
/// From where it comes: all of 127.0.0.0/8 is reached from 127.0.0.1, and every other address,
/// which is one of this machine's too, from itself.
[[nodiscard]] host source_for(const host& to) noexcept;

struct address {
    host at{};
    std::uint16_t port = 0; ///< in host order; 0: none
};

/// AF_UNSPEC: to connect to it is to disconnect.
[[nodiscard]] bool is_nobody(const void* name, socklen_t length) noexcept;
/// From what a socket of this family is given. 0 or -errno.
[[nodiscard]] int read_address(int family, const void* from, socklen_t length,
                               address& into) noexcept;
/// As a socket of this family tells it, as much as there is room for. Returns the whole length.
socklen_t write_address(int family, const address& from, void* into, socklen_t room) noexcept;

} // namespace toadstone::sim::detail

#endif
