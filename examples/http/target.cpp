// Parsing of targets.
#include "target.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace http {
namespace {

int digit_of(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

std::string_view query_of(std::string_view target) noexcept {
    const std::size_t mark = target.find('?');
    return mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
}

/// As it is there, escapes and all.
std::optional<std::string_view> raw_parameter(std::string_view target, std::string_view name) {
    std::optional<std::string_view> found;
    std::string_view query = query_of(target);
    while (!query.empty()) {
        std::string_view each = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), each.size() + 1));
        if (!each.starts_with(name) || each.substr(name.size(), 1) != "=") continue;
        found = each.substr(name.size() + 1);
    }
    return found;
}

} // namespace

std::string_view path_of(std::string_view target) noexcept {
    if (target.starts_with("http://")) {
        const std::size_t slash = target.find('/', std::string_view("http://").size());
        target = slash == std::string_view::npos ? "/" : target.substr(slash);
    }
    return target.substr(0, target.find('?'));
}

std::string unescaped(std::string_view text, bool of_query) {
    std::string plain;
    plain.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && of_query) {
            plain += ' ';
        } else if (text[i] != '%') {
            plain += text[i];
        } else {
            const int high = i + 2 < text.size() ? digit_of(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? digit_of(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                throw error(400, "a '%' that is not followed by two hexadecimal digits");
            }
            plain += static_cast<char>(high * 16 + low);
            i += 2;
        }
    }
    return plain;
}

std::string escaped(std::string_view text) {
    static constexpr std::string_view digits = "0123456789ABCDEF";
    std::string safe;
    for (const char each : text) {
        const auto byte = static_cast<unsigned char>(each);
        if ((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
            (byte >= 'A' && byte <= 'Z')) {
            safe += each;
        } else {
            safe += '%';
            safe += digits[byte / 16];
            safe += digits[byte % 16];
        }
    }
    return safe;
}

std::optional<std::string> parameter(std::string_view target, std::string_view name) {
    const auto found = raw_parameter(target, name);
    if (!found) return std::nullopt;
    return unescaped(*found, true);
}

std::optional<std::uint64_t> number_in_query(std::string_view target, std::string_view name) {
    const auto found = raw_parameter(target, name);
    if (!found) return std::nullopt;
    const auto number = number_of(*found);
    if (!number) throw error(400, "'" + std::string(name) + "' is not a number");
    return number;
}

std::optional<std::uint64_t> number_of(std::string_view text) noexcept {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, failure] = std::from_chars(text.data(), end, number);
    if (text.empty() || failure != std::errc() || stop != end) return std::nullopt;
    return number;
}

void expect_method(const request& from, std::initializer_list<std::string_view> possible) {
    std::string all;
    for (const std::string_view each : possible) {
        if (from.method == each || (each == "GET" && from.method == "HEAD")) return;
        all.append(all.empty() ? "" : ", ").append(each == "GET" ? "GET, HEAD" : each);
    }
    const std::size_t last = all.rfind(", ");
    std::string sentence = all;
    if (last != std::string::npos) sentence.replace(last, 2, " and ");
    const bool one = last == std::string::npos;
    throw error(405, "only " + sentence + (one ? " is" : " are") + " possible here", all);
}

bool same_but_case(std::string_view one, std::string_view other) noexcept {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; };
    return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                      [&](char a, char b) { return lower(a) == lower(b); });
}

} // namespace http
