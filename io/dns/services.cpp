// Reading /etc/services.
#include <toadstone/io/dns/services.hpp>

#include <toadstone/io/dns/text_file.hpp>

#include <charconv>
#include <system_error>

namespace toadstone::io::detail {
namespace {

std::optional<std::uint16_t> number(std::string_view digits) noexcept {
    std::uint16_t value = 0;
    const char* const end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, value);
    if (digits.empty() || read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return value;
}

/// "https 443/tcp alias...": the port, if it is this service.
std::optional<std::uint16_t> port_in(std::string_view line, std::string_view service) noexcept {
    constexpr std::string_view tcp = "/tcp";
    bool is_it = next_word(line) == service;
    const std::string_view port = next_word(line);
    if (!port.ends_with(tcp)) return std::nullopt;
    while (!is_it && !line.empty()) is_it = next_word(line) == service;
    if (!is_it) return std::nullopt;
    return number(port.substr(0, port.size() - tcp.size()));
}

constexpr struct {
    std::string_view name;
    std::uint16_t port;
} well_known[] = {
    {"domain", 53}, {"ftp", 21},   {"http", 80}, {"https", 443}, {"imap", 143}, {"imaps", 993},
    {"ldap", 389},  {"pop3", 110}, {"smtp", 25}, {"ssh", 22},    {"ws", 80},    {"wss", 443},
};

} // namespace

std::optional<std::uint16_t> port_of(std::string_view service, const std::string& path) {
    if (service.empty()) return std::nullopt;
    if (const auto as_number = number(service)) return as_number;
    const std::string text = read_text(path);
    for (std::string_view rest = text; !rest.empty();) {
        if (const auto port = port_in(next_line(rest), service)) return port;
    }
    for (const auto& each : well_known) {
        if (each.name == service) return each.port;
    }
    return std::nullopt;
}

} // namespace toadstone::io::detail
