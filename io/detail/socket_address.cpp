// Between an endpoint and the kernel's socket addresses.
#include <toadstone/io/detail/socket_address.hpp>

#include <cstring>
#include <type_traits>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace toadstone::io::detail {

static_assert(std::is_same_v<socklen_t, unsigned>);

socket_address::socket_address(const endpoint& from) noexcept {
    static_assert(sizeof(sockaddr_in6) <= room && sizeof(sockaddr_in) <= room);
    length_ = 0;
    if (from.kind() == endpoint::family::v4) {
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_port = htons(from.port());
        std::memcpy(&address.sin_addr, from.address().data(), sizeof address.sin_addr);
        std::memcpy(bytes_, &address, length_ = sizeof address);
    } else if (from.kind() == endpoint::family::v6) {
        sockaddr_in6 address = {};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(from.port());
        address.sin6_scope_id = from.scope();
        std::memcpy(&address.sin6_addr, from.address().data(), sizeof address.sin6_addr);
        std::memcpy(bytes_, &address, length_ = sizeof address);
    }
}

int socket_address::family() const noexcept {
    sa_family_t family = 0;
    if (length_ >= sizeof family) std::memcpy(&family, bytes_, sizeof family);
    return family;
}

endpoint socket_address::to_endpoint() const noexcept {
    std::array<std::uint8_t, 16> bytes{};
    if (family() == AF_INET && length_ >= sizeof(sockaddr_in)) {
        sockaddr_in address = {};
        std::memcpy(&address, bytes_, sizeof address);
        std::memcpy(bytes.data(), &address.sin_addr, sizeof address.sin_addr);
        return endpoint(endpoint::family::v4, bytes, 0, ntohs(address.sin_port));
    }
    if (family() == AF_INET6 && length_ >= sizeof(sockaddr_in6)) {
        sockaddr_in6 address = {};
        std::memcpy(&address, bytes_, sizeof address);
        std::memcpy(bytes.data(), &address.sin6_addr, sizeof address.sin6_addr);
        return endpoint(endpoint::family::v6, bytes, address.sin6_scope_id,
                        ntohs(address.sin6_port));
    }
    return {};
}

} // namespace toadstone::io::detail
