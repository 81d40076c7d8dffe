// Between the kernel's socket addresses and those of the simulated machine.
#include <toadstone/sim/kernel/address.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include <netinet/in.h>

namespace toadstone::sim::detail {
namespace {

constexpr std::size_t v4_at = 12;
constexpr host v6_any{};
constexpr host v4_any{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr host v6_loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr host v4_loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};

// RFC 2133 had no scope yet, and Linux still takes such a name.
constexpr socklen_t shortest_v6 = offsetof(sockaddr_in6, sin6_scope_id);

} // namespace

bool is_v4(const host& which) noexcept {
    return std::equal(v4_any.begin(), v4_any.begin() + v4_at, which.begin());
}

host any_host(int family) noexcept {
    return family == AF_INET ? v4_any : v6_any;
}

bool is_any(const host& which) noexcept {
    return which == v4_any || which == v6_any;
}

host target_of(const host& to) noexcept {
    if (!is_any(to)) return to;
    return is_v4(to) ? v4_loopback : v6_loopback;
}

host source_for(const host& to) noexcept {
    return is_v4(to) && to[v4_at] == 127 ? v4_loopback : to;
}

bool is_nobody(const void* name, socklen_t length) noexcept {
    sa_family_t family = AF_INET;
    if (length >= sizeof family) std::memcpy(&family, name, sizeof family);
    return family == AF_UNSPEC;
}

int read_address(int family, const void* from, socklen_t length, address& into) noexcept {
    const bool v4 = family == AF_INET;
    if (length < (v4 ? sizeof(sockaddr_in) : shortest_v6)) return -EINVAL;
    sockaddr_in6 name{};
    std::memcpy(&name, from, std::min<std::size_t>(length, sizeof name));
    if (name.sin6_family != family) return -EAFNOSUPPORT;
    into.port = ntohs(name.sin6_port); // at the same place in both
    into.at = any_host(family);
    if (v4) {
        sockaddr_in short_name{};
        std::memcpy(&short_name, &name, sizeof short_name);
        std::memcpy(into.at.data() + v4_at, &short_name.sin_addr, sizeof short_name.sin_addr);
    } else {
        std::memcpy(into.at.data(), &name.sin6_addr, sizeof name.sin6_addr);
    }
    return 0;
}

socklen_t write_address(int family, const address& from, void* into, socklen_t room) noexcept {
    const auto write = [&](const auto& name) {
        std::memcpy(into, &name, std::min<std::size_t>(room, sizeof name));
        return static_cast<socklen_t>(sizeof name);
    };
    if (family == AF_INET) {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_port = htons(from.port);
        std::memcpy(&name.sin_addr, from.at.data() + v4_at, sizeof name.sin_addr);
        return write(name);
    }
    sockaddr_in6 name{};
    name.sin6_family = AF_INET6;
    name.sin6_port = htons(from.port);
    std::memcpy(&name.sin6_addr, from.at.data(), sizeof name.sin6_addr);
    return write(name);
}

} // namespace toadstone::sim::detail
