// Numbers are little-endian; texts have their length in front.
#include "document.hpp"

#include <array>
#include <stdexcept>
#include <utility>

namespace cache {
namespace {

constexpr std::array<std::string_view, 4> names = {"text", "csv", "markdown", "json"};
// In the place of a format.
constexpr unsigned char removed_mark = 0xff;

template <class Number>
void add_number(std::string& to, Number value) {
    for (std::size_t i = 0; i < sizeof(Number); ++i) {
        to += static_cast<char>(value >> (8 * i) & 0xff);
    }
}
void add_text(std::string& to, std::string_view text) {
    add_number(to, static_cast<std::uint32_t>(text.size()));
    to += text;
}

/// Takes bytes from the front, and trusts none of them.
class taker {
public:
    explicit taker(std::string_view bytes) noexcept : rest_(bytes) {}

    template <class Number>
    Number number() {
        Number value = 0;
        const std::string_view bytes = some(sizeof(Number));
        for (std::size_t i = 0; i < sizeof(Number); ++i) {
            const auto byte = static_cast<Number>(static_cast<unsigned char>(bytes[i]));
            value = static_cast<Number>(value | byte << (8 * i));
        }
        return value;
    }
    std::string text() { return std::string(some(number<std::uint32_t>())); }
    [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }
    [[noreturn]] static void refuse() {
        throw std::runtime_error("a record of the journal is none of a document cache's");
    }

private:
    std::string_view some(std::size_t count) {
        if (count > rest_.size()) refuse();
        const std::string_view front = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return front;
    }
    std::string_view rest_;
};

} // namespace

std::string_view to_string(format which) noexcept {
    return names[static_cast<std::size_t>(which)];
}

std::optional<format> format_of(std::string_view name) noexcept {
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i] == name) return static_cast<format>(i);
    }
    return std::nullopt;
}

std::string to_bytes(const kept_change& change) {
    std::size_t size = sizeof change.version;
    for (const kept_document& each : change.documents) {
        size += 17 + each.what->id.size() + each.what->body.size();
    }
    std::string bytes;
    bytes.reserve(size);
    add_number(bytes, change.version);
    for (const kept_document& each : change.documents) {
        const auto how = static_cast<unsigned char>(each.what->how);
        add_number(bytes, each.removed ? removed_mark : how);
        add_number(bytes, each.what->version);
        add_text(bytes, each.what->id);
        add_text(bytes, each.what->body);
    }
    return bytes;
}

kept_change change_of(std::string_view bytes) {
    taker rest(bytes);
    kept_change change;
    change.version = rest.number<std::uint64_t>();
    while (!rest.at_end()) {
        const auto how = rest.number<unsigned char>();
        if (how != removed_mark && how >= names.size()) taker::refuse();
        document each;
        if (how != removed_mark) each.how = static_cast<format>(how);
        each.version = rest.number<std::uint64_t>();
        each.id = rest.text();
        each.body = rest.text();
        change.documents.push_back(
            {std::make_shared<const document>(std::move(each)), how == removed_mark});
    }
    return change;
}

} // namespace cache
