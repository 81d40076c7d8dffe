// A pipe, and the smallest operations on it that a task can await: what a test needs to have
// something in flight in the kernel without the floor io/.
#ifndef TOADSTONE_TESTS_SUPPORT_PIPE_HPP
#define TOADSTONE_TESTS_SUPPORT_PIPE_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/io_op.hpp>

#include <cstddef>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <liburing.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace toadstone::tests {

class test_pipe {
public:
    test_pipe() {
        const bool made = ::pipe2(ends_, O_CLOEXEC) == 0;
        TOADSTONE_ASSERT(made, "a test gets a pipe");
    }
    ~test_pipe() {
        close_writer();
        ::close(ends_[0]);
    }
    test_pipe(const test_pipe&) = delete;
    test_pipe& operator=(const test_pipe&) = delete;

    void write(std::string_view text) const {
        const auto written = ::write(ends_[1], text.data(), text.size());
        TOADSTONE_ASSERT(written == static_cast<ssize_t>(text.size()),
                         "a test's pipe has room");
    }
    /// What is in the pipe now, taken out.
    [[nodiscard]] std::string drain() const {
        int there = 0;
        if (::ioctl(ends_[0], FIONREAD, &there) != 0 || there == 0) return {};
        std::string text(static_cast<std::size_t>(there), '\0');
        const auto count = ::read(ends_[0], text.data(), text.size());
        TOADSTONE_ASSERT(count == there, "what a pipe holds can be read");
        return text;
    }
    void close_writer() {
        if (ends_[1] >= 0) ::close(ends_[1]);
        ends_[1] = -1;
    }
    [[nodiscard]] int reader() const { return ends_[0]; }
    [[nodiscard]] int writer() const { return ends_[1]; }

private:
    int ends_[2] = {-1, -1};
};

class read_leaf : public detail::io_op {
public:
    read_leaf(int fd, char* to, unsigned size) noexcept : fd_(fd), to_(to), size_(size) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_read(&entry, fd_, to_, size_, static_cast<__u64>(-1));
    }
    int fd_;
    char* to_;
    unsigned size_;
};
/// `co_await read_op(fd, buffer, size)` gives a count or -errno.
using read_op = detail::operation<read_leaf, int, char*, unsigned>;

class write_leaf : public detail::io_op {
public:
    write_leaf(int fd, std::string_view text) noexcept : fd_(fd), text_(text) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_write(&entry, fd_, text_.data(), static_cast<unsigned>(text_.size()),
                            static_cast<__u64>(-1));
    }
    int fd_;
    std::string_view text_;
};
/// `co_await write_op(fd, text)` gives a count or -errno.
using write_op = detail::operation<write_leaf, int, std::string_view>;

} // namespace toadstone::tests

#endif // TOADSTONE_TESTS_SUPPORT_PIPE_HPP
