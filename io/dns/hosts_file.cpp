// Reading the hosts file, and addresses as it and people write them.
#include <toadstone/io/dns/hosts_file.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <system_error>

#include <arpa/inet.h>
#include <net/if.h>

namespace toadstone::io::detail {
namespace {

char small_letter(char of) noexcept {
    return of >= 'A' && of <= 'Z' ? static_cast<char>(of - 'A' + 'a') : of;
}

/// The interface of a link-local address, by number or by name; 0 is none.
std::uint32_t scope_of(const std::string& text) noexcept {
    std::uint32_t number = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, number);
    if (read.ec == std::errc() && read.ptr == end) return number;
    return ::if_nametoindex(text.c_str());
}

} // namespace

std::optional<endpoint> read_address(std::string_view text) {
    if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
        text = text.substr(1, text.size() - 2);
        if (text.find(':') == std::string_view::npos) return std::nullopt;
    }
    if (text.find('\0') != std::string_view::npos) return std::nullopt;
    std::array<std::uint8_t, 16> bytes{};
    if (::inet_pton(AF_INET, std::string(text).c_str(), bytes.data()) == 1) {
        return endpoint(endpoint::family::v4, bytes, 0, 0);
    }
    std::uint32_t scope = 0;
    if (const auto percent = text.find('%'); percent != std::string_view::npos) {
        scope = scope_of(std::string(text.substr(percent + 1)));
        if (scope == 0) return std::nullopt;
        text = text.substr(0, percent);
    }
    if (::inet_pton(AF_INET6, std::string(text).c_str(), bytes.data()) == 1) {
        return endpoint(endpoint::family::v6, bytes, scope, 0);
    }
    return std::nullopt;
}

std::string compared_name(std::string_view name) {
    if (name.size() > 1 && name.back() == '.') name.remove_suffix(1);
    std::string compared(name);
    std::transform(compared.begin(), compared.end(), compared.begin(), small_letter);
    return compared;
}

hosts_file::table hosts_file::read(std::string_view text) {
    table all;
    while (!text.empty()) {
        std::string_view line = next_line(text);
        const auto address = read_address(next_word(line));
        if (!address) continue;
        for (std::string_view name = next_word(line); !name.empty(); name = next_word(line)) {
            auto& of_name = all[compared_name(name)];
            if (std::find(of_name.begin(), of_name.end(), *address) == of_name.end()) {
                of_name.push_back(*address);
            }
        }
    }
    return all;
}

std::shared_ptr<const hosts_file::table> hosts_file::newest() {
    const file_stamp now = file_stamp::of(path_);
    const std::lock_guard hold(lock_);
    if (now != stamp_) {
        table_ = std::make_shared<const table>(read(read_text(path_)));
        stamp_ = now;
    }
    return table_;
}

std::vector<endpoint> hosts_file::find(const std::string& name) {
    const auto all = newest();
    const auto found = all->find(name);
    return found == all->end() ? std::vector<endpoint>() : found->second;
}

} // namespace toadstone::io::detail
