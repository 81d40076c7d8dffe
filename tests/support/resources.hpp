// What a process holds: for tests that count instead of looking.
#ifndef TOADSTONE_TESTS_SUPPORT_RESOURCES_HPP
#define TOADSTONE_TESTS_SUPPORT_RESOURCES_HPP

#include <cstddef>
#include <filesystem>
#include <iterator>

#include <unistd.h>

namespace toadstone::tests {

/// Open file descriptors of this process.
[[nodiscard]] inline std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all))) - 1; // its own
}

/// The number that the next descriptor gets.
[[nodiscard]] inline int next_descriptor() {
    const int fd = ::dup(STDERR_FILENO);
    ::close(fd);
    return fd;
}

} // namespace toadstone::tests

#endif // TOADSTONE_TESTS_SUPPORT_RESOURCES_HPP
