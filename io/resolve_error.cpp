// The text of a name without addresses.
#include <toadstone/io/resolve_error.hpp>

namespace toadstone::io {
namespace {

std::string text_of(std::string_view name, std::string_view story) {
    std::string text = "resolve '";
    for (const char each : name) {
        const auto byte = static_cast<unsigned char>(each);
        text += byte < ' ' || byte == 0x7f ? '?' : each; // what() ends at a zero byte
    }
    text += "': ";
    text += story;
    return text;
}

} // namespace

std::string_view to_string(resolve_failure failure) noexcept {
    switch (failure) {
    case resolve_failure::not_found:
        return "not found";
    case resolve_failure::no_addresses:
        return "no addresses";
    case resolve_failure::bad_name:
        return "bad name";
    case resolve_failure::timed_out:
        return "timed out";
    case resolve_failure::unreachable:
        return "unreachable";
    case resolve_failure::refused:
        return "refused";
    case resolve_failure::server_failed:
        return "server failed";
    case resolve_failure::malformed:
        return "malformed";
    }
    return "unknown";
}

resolve_error::resolve_error(resolve_failure failure, std::string name, std::string_view story)
    : std::runtime_error(text_of(name, story)), failure_(failure), name_(std::move(name)) {}

} // namespace toadstone::io
