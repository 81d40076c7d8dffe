// The one place where an errno becomes an exception.
#include <toadstone/io/detail/error.hpp>

#include <string>
#include <system_error>

namespace toadstone::io::detail {

void throw_io_error(std::string_view operation, std::string_view object, int error) {
    std::string text(operation);
    text += ' ';
    text += object;
    throw std::system_error(error, std::generic_category(), text);
}

} // namespace toadstone::io::detail
