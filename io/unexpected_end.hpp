// unexpected_end: a stream ended in the middle of what was to be read.
#ifndef TOADSTONE_IO_UNEXPECTED_END_HPP
#define TOADSTONE_IO_UNEXPECTED_END_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <string_view>
#include <system_error>

namespace toadstone::io {

/// Thrown by reads that want more than one transfer gives: "read 8 bytes from
/// 127.0.0.1:50412, of which 3 bytes came before the end: No data available". Its code is
/// ENODATA.
class unexpected_end : public std::system_error {
public:
    /// `operation` and `object` as in "read 8 bytes from" and "127.0.0.1:50412".
    unexpected_end(std::string_view operation, std::string_view object, std::size_t received);

    /// Bytes that came before the end; 0: it was there at once.
    [[nodiscard]] std::size_t received() const noexcept { return received_; }

private:
    std::size_t received_;
};

} // namespace toadstone::io

#endif
