// The one place where an errno becomes an exception, and a collision too.
#include <toadstone/io/detail/error.hpp>

#include <stdexcept>
#include <string>
#include <system_error>

namespace toadstone::io::detail {

void throw_io_error(std::string_view operation, std::string_view object, int error) {
    std::string text(operation);
    text += ' ';
    text += object;
    throw std::system_error(error, std::generic_category(), text);
}

void throw_in_use(std::string_view operation, std::string_view object, std::string_view what) {
    std::string text(operation);
    text += ' ';
    text += object;
    text += ": another task ";
    text += what;
    text += ", and one at a time may";
    throw std::logic_error(text);
}

} // namespace toadstone::io::detail
