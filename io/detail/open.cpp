// What is asked of the kernel to open a path.
#include <toadstone/io/detail/open.hpp>

#include <stdexcept>

#include <liburing.h>

namespace toadstone::io::detail {

void open_leaf::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_openat(&entry, from_, path_, flags_, mode_);
}

void check_path(const char* operation, const std::string& path) {
    const auto at = path.find('\0');
    if (at == std::string::npos) return;
    throw std::invalid_argument(std::string(operation) + " " + path.substr(0, at) + "\\0" +
                                path.substr(at + 1) + ": it contains a zero byte");
}

} // namespace toadstone::io::detail
