// What tests of io/ share: counting descriptors exactly, folders that go away, connected pairs.
#ifndef TOADSTONE_TESTS_SUPPORT_IO_HPP
#define TOADSTONE_TESTS_SUPPORT_IO_HPP

#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/tcp_listener.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/task.hpp>

#include "support/resources.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace toadstone::tests {

/// A folder that is removed, with the files in it, at the end of the block.
class temporary_folder {
public:
    temporary_folder() {
        char name[] = "/tmp/toadstone-test-XXXXXX";
        if (!::mkdtemp(name)) throw std::system_error(errno, std::generic_category(), name);
        path_ = name;
    }
    temporary_folder(const temporary_folder&) = delete;
    temporary_folder& operator=(const temporary_folder&) = delete;
    ~temporary_folder() {
        if (DIR* const folder = ::opendir(path_.c_str())) {
            while (const dirent* entry = ::readdir(folder)) {
                if (entry->d_name[0] != '.') ::unlink((path_ + "/" + entry->d_name).c_str());
            }
            ::closedir(folder);
        }
        ::rmdir(path_.c_str());
    }
    [[nodiscard]] std::string file(const char* name) const { return path_ + "/" + name; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

/// A plain blocking socket, the other side of what is tested.
class raw_socket {
public:
    raw_socket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
    explicit raw_socket(int fd) noexcept : fd_(fd) {}
    raw_socket(raw_socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    raw_socket& operator=(raw_socket&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~raw_socket() { close(); }

    /// `from`: another address of 127.0.0.0/8 than the usual one.
    /// On loopback the handshake is done in the kernel, with or without accept(2).
    static raw_socket connected_to(const io::endpoint& to, const char* from = nullptr) {
        raw_socket made;
        sockaddr_in address{};
        address.sin_family = AF_INET;
        if (from) {
            address.sin_addr.s_addr = ::inet_addr(from);
            const auto* name = reinterpret_cast<const sockaddr*>(&address);
            if (::bind(made.fd_, name, sizeof address) != 0) {
                throw std::system_error(errno, std::generic_category(), "bind");
            }
        }
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(to.port());
        const auto* name = reinterpret_cast<const sockaddr*>(&address);
        if (::connect(made.fd_, name, sizeof address) != 0) {
            throw std::system_error(errno, std::generic_category(), "connect");
        }
        return made;
    }
    void send(const std::string& text) const {
        if (::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(text.size())) {
            throw std::system_error(errno, std::generic_category(), "send");
        }
    }
    /// What is there; waits for the first byte. Empty at the end of the stream.
    [[nodiscard]] std::string receive() const {
        char buffer[65536];
        const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
        if (count < 0) throw std::system_error(errno, std::generic_category(), "recv");
        return std::string(buffer, static_cast<std::size_t>(count));
    }
    /// Everything up to the end of the stream.
    [[nodiscard]] std::string receive_all() const {
        std::string all;
        for (std::string part = receive(); !part.empty(); part = receive()) all += part;
        return all;
    }
    void close() noexcept {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    /// The peer sees a reset instead of the end of the stream.
    void reset() noexcept {
        const linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }
    [[nodiscard]] int fd() const noexcept { return fd_; }

private:
    int fd_ = -1;
};

/// A stream of the library and, at its other end, a plain socket.
class connection {
public:
    connection(io::tcp_stream&& ours, raw_socket&& theirs) noexcept
        : stream(std::move(ours)), peer(std::move(theirs)) {}
    io::tcp_stream stream;
    raw_socket peer;
};

inline task<connection> connect_pair() {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    raw_socket theirs = raw_socket::connected_to(listener.local_endpoint());
    io::tcp_stream ours = co_await listener.accept();
    co_return connection(std::move(ours), std::move(theirs));
}

/// Sets a soft limit for the extent of a block.
class limit_scope {
public:
    limit_scope(__rlimit_resource_t which, rlim_t most) : which_(which) {
        ::getrlimit(which_, &before_);
        rlimit now = before_;
        now.rlim_cur = most;
        ::setrlimit(which_, &now);
    }
    ~limit_scope() { end(); }
    limit_scope(const limit_scope&) = delete;
    limit_scope& operator=(const limit_scope&) = delete;
    void end() { ::setrlimit(which_, &before_); }

private:
    __rlimit_resource_t which_;
    rlimit before_{};
};

} // namespace toadstone::tests

#endif
