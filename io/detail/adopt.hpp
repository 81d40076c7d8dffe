// What a descriptor is that somebody hands over, and the sentence for what it is not.
#ifndef TOADSTONE_IO_DETAIL_ADOPT_HPP
#define TOADSTONE_IO_DETAIL_ADOPT_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <string>

namespace toadstone::io::detail {

/// Looks at a descriptor; takes nothing.
///
/// Errors: std::system_error, "adopt descriptor 7 as a file: Bad file descriptor";
///     std::invalid_argument, "adopt descriptor 7 as a file: it is a socket".
class adoption {
public:
    /// `as`: what it is to become, with its article.
    adoption(int fd, const char* as);

    /// stat(2)'s st_mode.
    [[nodiscard]] unsigned mode() const noexcept { return mode_; }
    /// "pipe 7": its kind and number.
    [[nodiscard]] std::string describe() const;
    /// It is of the wrong kind.
    [[noreturn]] void refuse() const;
    [[noreturn]] void refuse(const std::string& why) const;
    [[noreturn]] void fail(int error) const;
    /// Its flags, as open(2) has them.
    [[nodiscard]] int flags() const;
    /// It is open for reading, or for writing.
    void check_access(bool to_write) const;
    /// A socket that is connected, or to be, to one peer.
    void check_stream_socket() const;

private:
    int fd_;
    const char* as_;
    unsigned mode_ = 0;
};

} // namespace toadstone::io::detail

#endif
