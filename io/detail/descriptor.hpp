// descriptor: owns a file descriptor.
#ifndef TOADSTONE_IO_DETAIL_DESCRIPTOR_HPP
#define TOADSTONE_IO_DETAIL_DESCRIPTOR_HPP

#include <toadstone/runtime/detail/above_standard.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <utility>

namespace toadstone::io::detail {

/// Move-only. The destructor closes with close(2), once: on Linux the number is free again even
/// when close fails, and a second try could close somebody else's. That nothing is in flight on
/// the descriptor is the owner's business: streams and files count their operations.
class descriptor {
public:
    descriptor() noexcept = default;
    /// Of one that was just made: 0, 1 and 2 are moved up. A process that was started with
    /// these closed would else write its log lines to a client.
    explicit descriptor(int fd) noexcept : fd_(fd) {
        if (fd >= 0 && fd <= 2) fd_ = toadstone::detail::above_standard(fd);
    }
    /// One that the process had before, whatever its number is.
    [[nodiscard]] static descriptor as_it_is(int fd) noexcept {
        descriptor made;
        made.fd_ = fd;
        return made;
    }
    descriptor(descriptor&& other) noexcept : fd_(other.release()) {}
    descriptor& operator=(descriptor&& other) noexcept {
        descriptor(std::move(other)).swap(*this);
        return *this;
    }
    ~descriptor() {
        if (fd_ >= 0) close_now();
    }
    void swap(descriptor& other) noexcept { std::swap(fd_, other.fd_); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
    /// Whoever asks has to close it.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

private:
    void close_now() noexcept;

    int fd_ = -1;
};

} // namespace toadstone::io::detail

#endif
