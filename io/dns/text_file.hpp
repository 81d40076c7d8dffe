// Small files of the system that are read whole, and looked at again when they have changed.
#ifndef TOADSTONE_IO_DNS_TEXT_FILE_HPP
#define TOADSTONE_IO_DNS_TEXT_FILE_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace toadstone::io::detail {

/// What changes when a file is written, or replaced.
struct file_stamp {
    /// Of what is not there, a default one.
    [[nodiscard]] static file_stamp of(const std::string& path) noexcept;
    friend bool operator==(const file_stamp&, const file_stamp&) noexcept = default;

    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = -1;
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
};

/// All of a regular file; nothing of what cannot be read, or is something else. Stops this
/// thread: for files that are short, and in memory.
[[nodiscard]] std::string read_text(const std::string& path);

/// The next line without its comment, taken from the front of `rest`.
[[nodiscard]] std::string_view next_line(std::string_view& rest) noexcept;
/// The next word, empty behind the last.
[[nodiscard]] std::string_view next_word(std::string_view& rest) noexcept;

} // namespace toadstone::io::detail

#endif
