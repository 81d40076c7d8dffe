// Reading and writing addresses as people write them.
#include <toadstone/io/endpoint.hpp>

#include <charconv>
#include <optional>
#include <stdexcept>
#include <system_error>

#include <arpa/inet.h>

namespace toadstone::io {
namespace {

[[noreturn]] void refuse(std::string_view text, const char* why) {
    std::string quoted(text);
    for (char& each : quoted) {
        if (static_cast<unsigned char>(each) < ' ') each = '?'; // what() ends at a zero byte
    }
    throw std::invalid_argument("endpoint '" + quoted + "': " + why);
}

constexpr const char* how_to_write =
    "write an address and a port, as in 127.0.0.1:8080 or [::1]:8080";

// Digits only: no sign, no space, no overflow.
template <class T>
std::optional<T> number(std::string_view digits) {
    T value = 0;
    const char* const end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, value);
    if (digits.empty() || read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return value;
}

bool read_v4(const std::string& host, std::array<std::uint8_t, 16>& address) {
    return ::inet_pton(AF_INET, host.c_str(), address.data()) == 1;
}

bool read_v6(std::string host, std::array<std::uint8_t, 16>& address, std::uint32_t& scope) {
    if (const auto percent = host.find('%'); percent != std::string::npos) {
        const auto index = number<std::uint32_t>(std::string_view(host).substr(percent + 1));
        if (!index) return false;
        scope = *index;
        host.resize(percent);
    }
    return ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

endpoint from_parts(std::string_view whole, std::string_view host, std::uint16_t port) {
    if (host == "localhost") return endpoint::loopback(port);
    if (host.find('\0') != std::string_view::npos) refuse(whole, "it contains a zero byte");
    std::array<std::uint8_t, 16> address{};
    std::uint32_t scope = 0;
    if (read_v4(std::string(host), address)) {
        return endpoint(endpoint::family::v4, address, 0, port);
    }
    if (read_v6(std::string(host), address, scope)) {
        return endpoint(endpoint::family::v6, address, scope, port);
    }
    refuse(whole, "the host is no IPv4 or IPv6 address; names other than localhost are not "
                  "resolved here: write the address itself, or use io::resolver");
}

} // namespace

endpoint endpoint::parse(std::string_view text) {
    if (text.empty()) refuse(text, how_to_write);
    std::string_view host;
    std::string_view rest;
    if (text.front() == '[') {
        const auto end = text.find(']');
        if (end == std::string_view::npos) refuse(text, "the bracket is not closed");
        host = text.substr(1, end - 1);
        rest = text.substr(end + 1);
        if (host.find(':') == std::string_view::npos) {
            refuse(text, "brackets are for IPv6 addresses, as in [::1]:8080");
        }
    } else {
        const auto colon = text.find(':');
        host = text.substr(0, colon);
        rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
        if (rest.find(':', 1) != std::string_view::npos) {
            refuse(text, "an IPv6 address needs brackets, as in [::1]:8080");
        }
    }
    if (rest.empty() || rest.front() != ':') {
        refuse(text, "there is no port; append one, :8080");
    }
    const auto port = number<std::uint16_t>(rest.substr(1));
    if (!port) refuse(text, "the port must be a number from 0 to 65535");
    if (host.empty()) refuse(text, "there is no host; for every address write 0.0.0.0:PORT");
    return from_parts(text, host, *port);
}

endpoint endpoint::of(std::string_view host, std::uint16_t port) {
    std::string_view bare = host;
    if (bare.size() > 2 && bare.front() == '[' && bare.back() == ']') {
        bare = bare.substr(1, bare.size() - 2);
    }
    return from_parts(host, bare, port);
}

endpoint endpoint::loopback(std::uint16_t port) noexcept {
    return endpoint(family::v4, {127, 0, 0, 1}, 0, port);
}

endpoint endpoint::any(std::uint16_t port) noexcept {
    return endpoint(family::v4, {}, 0, port);
}

std::string endpoint::host() const {
    if (kind_ == family::none) return "unspecified";
    char text[INET6_ADDRSTRLEN] = {};
    ::inet_ntop(kind_ == family::v4 ? AF_INET : AF_INET6, address_.data(), text, sizeof text);
    std::string host = text;
    if (scope_ != 0) {
        host += '%';
        host += std::to_string(scope_);
    }
    return host;
}

std::string endpoint::to_string() const {
    if (kind_ == family::none) return "unspecified";
    std::string text = host();
    if (kind_ == family::v6) text = "[" + text + "]";
    text += ':';
    text += std::to_string(port_);
    return text;
}

} // namespace toadstone::io
