// Files, for bodies that see both kernels.
#ifndef TOADSTONE_TESTS_SUPPORT_CONFORMANCE_FILES_HPP
#define TOADSTONE_TESTS_SUPPORT_CONFORMANCE_FILES_HPP

#include "support/conformance.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <fcntl.h>

namespace toadstone::tests {

inline constexpr auto own_position = static_cast<std::uint64_t>(-1);

inline constexpr int read_write = O_RDWR | O_CREAT | O_CLOEXEC;

// In as many parts as the kernel likes.
inline task<int> write_all(lab& in, int fd, std::string text, std::uint64_t offset) {
    const char* const from = in.text(std::move(text));
    const auto size = static_cast<unsigned>(std::strlen(from));
    unsigned done = 0;
    while (done < size) {
        const std::uint64_t at = offset == own_position ? offset : offset + done;
        const int count = co_await in.run(in.write(fd, from + done, size - done, at));
        if (count < 0) co_return count;
        done += static_cast<unsigned>(count);
    }
    co_return static_cast<int>(done);
}
inline task<std::string> read_all(lab& in, int fd, std::uint64_t offset) {
    std::string all;
    char* const to = in.buffer(100);
    for (;;) {
        const std::uint64_t at = offset == own_position ? offset : offset + all.size();
        const int count = co_await in.run(in.read(fd, to, 100, at));
        if (count < 0) all += name_of(count);
        if (count <= 0) break;
        all.append(to, static_cast<std::size_t>(count));
    }
    co_return all;
}
inline task<int> file_with(lab& in, const char* name, std::string text) {
    const int fd = co_await in.run(in.open(in.path(name), read_write));
    in.holds("a file is made", fd >= 0);
    const auto size = static_cast<int>(text.size());
    const int written = co_await write_all(in, fd, std::move(text), 0);
    in.holds("and filled", written == size);
    co_return fd;
}

} // namespace toadstone::tests

#endif
