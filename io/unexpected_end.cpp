// The text of an unexpected end.
#include <toadstone/io/unexpected_end.hpp>

#include <cerrno>
#include <string>

namespace toadstone::io {
namespace {

std::string text_of(std::string_view operation, std::string_view object, std::size_t received) {
    std::string text(operation);
    text += ' ';
    text += object;
    text += ", of which " + std::to_string(received) + " bytes came before the end";
    return text;
}

} // namespace

unexpected_end::unexpected_end(std::string_view operation, std::string_view object,
                               std::size_t received)
    : std::system_error(ENODATA, std::generic_category(), text_of(operation, object, received)),
      received_(received) {}

} // namespace toadstone::io
