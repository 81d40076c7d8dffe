// endpoint: an IPv4 or IPv6 address with a port, as a value.
#ifndef TOADSTONE_IO_ENDPOINT_HPP
#define TOADSTONE_IO_ENDPOINT_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace toadstone::io {

/// Where a socket listens, or whom it talks to.
///
/// Text is as good as an endpoint wherever one is expected: `.at = "[::1]:80"`. It is read, and
/// refused, where it is converted, in the caller.
///
/// Names are not resolved, which is what io::resolver and tcp_stream::connect(host, port) are
/// for; the one exception is "localhost", which means 127.0.0.1. A default endpoint is empty:
/// family::none, "unspecified".
///
/// Shape: 24 bytes, trivially copyable, no allocation. Ordered by family, address, scope, port.
class endpoint {
public:
    /// Which kind of address it is; none of one that was made of nothing.
    enum class family : std::uint8_t { none, v4, v6 };

    /// No address.
    endpoint() noexcept = default;
    /// As parse(). Implicit: wherever an endpoint is expected, text may be written.
    endpoint(std::string_view text) : endpoint(parse(text)) {}
    /// As parse(): endpoint("127.0.0.1:80").
    endpoint(const char* text) : endpoint(parse(text)) {}
    /// As parse().
    endpoint(const std::string& text) : endpoint(parse(text)) {}

    /// From text: "127.0.0.1:8080", "[::1]:80", "localhost:0".
    ///
    /// Errors: std::invalid_argument, whose text says what is wrong and what to write.
    [[nodiscard]] static endpoint parse(std::string_view text);

    /// From a host ("0.0.0.0", "::1", "[::1]", "localhost") and a port.
    ///
    /// Errors: as parse().
    [[nodiscard]] static endpoint of(std::string_view host, std::uint16_t port);

    /// 127.0.0.1. Port 0 lets the kernel choose one when listening.
    [[nodiscard]] static endpoint loopback(std::uint16_t port) noexcept;
    /// 0.0.0.0: every IPv4 address of this machine.
    [[nodiscard]] static endpoint any(std::uint16_t port) noexcept;

    /// For the library: from bytes in network order, 4 or 16 of them used. `scope` is the
    /// interface of a link-local IPv6 address, 0 for all others.
    endpoint(family kind, const std::array<std::uint8_t, 16>& address, std::uint32_t scope,
             std::uint16_t port) noexcept
        : kind_(kind), address_(address), scope_(scope), port_(port) {}

    /// IPv4, IPv6 or none.
    [[nodiscard]] family kind() const noexcept { return kind_; }
    /// The address without port and brackets: "127.0.0.1", "::1", "fe80::1%2".
    [[nodiscard]] std::string host() const;
    /// In the host's byte order.
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    /// The same address with another port.
    [[nodiscard]] endpoint with_port(std::uint16_t port) const noexcept {
        return endpoint(kind_, address_, scope_, port);
    }
    /// As parse() reads it: "127.0.0.1:8080", "[::1]:80"; "unspecified" when empty.
    [[nodiscard]] std::string to_string() const;

    /// In network byte order; of an IPv4 address the first four.
    [[nodiscard]] const std::array<std::uint8_t, 16>& address() const noexcept {
        return address_;
    }
    /// The interface of a link-local IPv6 address, by its index; 0 for none.
    [[nodiscard]] std::uint32_t scope() const noexcept { return scope_; }

    friend auto operator<=>(const endpoint&, const endpoint&) noexcept = default;

private:
    family kind_ = family::none;
    std::array<std::uint8_t, 16> address_{};
    std::uint32_t scope_ = 0;
    std::uint16_t port_ = 0;
};

} // namespace toadstone::io

#endif
