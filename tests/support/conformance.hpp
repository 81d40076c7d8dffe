// One body, two kernels: what a coroutine sees of the real ring and of a simulated one, written
// down so that it can be compared.
#ifndef TOADSTONE_TESTS_SUPPORT_CONFORMANCE_HPP
#define TOADSTONE_TESTS_SUPPORT_CONFORMANCE_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include "support/raw_op.hpp"
#include "support/record.hpp"

#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace toadstone::tests {

/// An operation that is under way while its body goes on.
struct flight {
    const io_uring_sqe* placed = nullptr;
    std::uint64_t tag = 0;
    std::unique_ptr<join_handle<int>> handle;
};

/// Two connected sockets and where they met.
struct pair_of_sockets {
    int client = -1;
    int server = -1;
    int listener = -1;
};

/// One run of a body. Everything that the kernel is lent lives here, so that a body may be torn
/// down at any time.
class lab : public record {
public:
    explicit lab(std::string folder) : folder_(std::move(folder)) {}
    lab(const lab&) = delete;
    lab& operator=(const lab&) = delete;

    // Memory that outlives the body.
    [[nodiscard]] char* buffer(std::size_t size, char filled_with = '.') {
        return memory_.emplace_back(size, filled_with).data();
    }
    [[nodiscard]] socklen_t& number(socklen_t value) { return numbers_.emplace_back(value); }
    [[nodiscard]] const char* text(std::string of) {
        return memory_.emplace_back(std::move(of)).c_str();
    }
    [[nodiscard]] const char* path(const char* name) { return text(folder_ + "/" + name); }
    [[nodiscard]] const char* folder() const noexcept { return folder_.c_str(); }

    // Operations, awaited at once: `co_await in.recv(fd, buffer, 4)`.
    [[nodiscard]] static raw_op run(const entry& what) { return raw_op(what); }
    [[nodiscard]] static entry recv(int fd, char* to, std::size_t size, int flags = 0) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_recv(e, fd, to, size, flags); });
    }
    [[nodiscard]] static entry send(int fd, const char* from, std::size_t size, int flags = 0) {
        return entry([&](io_uring_sqe* e) {
            io_uring_prep_send(e, fd, from, size, flags | MSG_NOSIGNAL);
        });
    }
    [[nodiscard]] static entry poll(int fd, unsigned mask) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_poll_add(e, fd, mask); });
    }
    [[nodiscard]] static entry close(int fd) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_close(e, fd); });
    }
    [[nodiscard]] static entry accept(int fd, sockaddr* name = nullptr,
                                      socklen_t* length = nullptr) {
        return entry(
            [&](io_uring_sqe* e) { io_uring_prep_accept(e, fd, name, length, SOCK_CLOEXEC); });
    }
    [[nodiscard]] static entry read(int fd, char* to, unsigned size, std::uint64_t offset) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_read(e, fd, to, size, offset); });
    }
    [[nodiscard]] static entry write(int fd, const char* from, unsigned size,
                                     std::uint64_t offset) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_write(e, fd, from, size, offset); });
    }
    [[nodiscard]] static entry fsync(int fd, unsigned flags = 0) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_fsync(e, fd, flags); });
    }
    [[nodiscard]] static entry open(const char* path, int flags, int at = AT_FDCWD) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_openat(e, at, path, flags, 0600); });
    }
    [[nodiscard]] entry connect(int fd, std::uint16_t port) {
        auto& name = names_.emplace_back(loopback(port));
        return entry([&](io_uring_sqe* e) {
            io_uring_prep_connect(e, fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
        });
    }
    [[nodiscard]] static entry cancel(std::uint64_t tag) {
        return entry([&](io_uring_sqe* e) { io_uring_prep_cancel64(e, tag, 0); });
    }

    /// Handed over with the next entries, and goes on beside the body.
    [[nodiscard]] flight& start(const entry& what) {
        flight& made = flights_.emplace_back();
        made.handle = std::make_unique<join_handle<int>>(spawn(carry(what, made)));
        return made;
    }
    /// Once.
    static task<int> end_of(flight& which) {
        const auto handle = std::exchange(which.handle, nullptr);
        const int result = co_await *handle;
        co_return result;
    }
    /// It has an entry, which is submitted in this turn or has been.
    task<> prepared(flight& which) {
        while (!which.placed) co_await yield_now();
        which.tag = which.placed->user_data;
    }
    /// It is the kernel's, or has ended.
    task<> submitted(flight& which) {
        co_await prepared(which);
        for (int i = 0; i < 8; ++i) co_await yield_now();
    }
    /// Time enough for whatever happens by itself.
    static task<> quiet() {
        for (int i = 0; i < 8; ++i) co_await yield_now();
        co_await sleep_for(std::chrono::milliseconds(10));
        for (int i = 0; i < 8; ++i) co_await yield_now();
    }

    // Sockets; -errno on failure.
    [[nodiscard]] static int error(int result) noexcept { return result < 0 ? -errno : result; }
    [[nodiscard]] static sockaddr_in loopback(std::uint16_t port) noexcept {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        name.sin_port = htons(port);
        return name;
    }
    [[nodiscard]] static int socket() {
        return error(detail::system().socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    }
    [[nodiscard]] static int bind(int fd, std::uint16_t port) {
        const sockaddr_in name = loopback(port);
        return error(
            detail::system().bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name));
    }
    [[nodiscard]] static int listen(int fd) { return error(detail::system().listen(fd, 16)); }
    [[nodiscard]] static int shutdown(int fd, int how) {
        return error(detail::system().shutdown(fd, how));
    }
    [[nodiscard]] static int option(int fd, int level, int name, int value) {
        return error(detail::system().setsockopt(fd, level, name, &value, sizeof value));
    }
    /// Closing it then resets the connection.
    [[nodiscard]] static int abort_on_close(int fd) {
        const linger none{1, 0};
        return error(
            detail::system().setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none));
    }
    [[nodiscard]] static std::uint16_t port_of(int fd) {
        sockaddr_in name{};
        socklen_t length = sizeof name;
        detail::system().getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
        return ntohs(name.sin_port);
    }
    [[nodiscard]] static int listener() {
        const int fd = socket();
        static_cast<void>(bind(fd, 0));
        static_cast<void>(listen(fd));
        return fd;
    }
    task<pair_of_sockets> connected() {
        pair_of_sockets made;
        made.listener = listener();
        made.client = socket();
        // As small as a simulated connection, so that it is soon full. Inherited when accepted.
        for (const int fd : {made.listener, made.client}) {
            for (const int which : {SO_RCVBUF, SO_SNDBUF}) {
                holds("a smaller buffer", option(fd, SOL_SOCKET, which, 65536) == 0);
            }
        }
        const int result = co_await run(connect(made.client, port_of(made.listener)));
        made.server = co_await run(accept(made.listener));
        holds("two sockets are connected", result == 0 && made.server >= 0);
        co_return made;
    }
    task<> close_all(pair_of_sockets which) {
        for (const int fd : {which.client, which.server, which.listener}) {
            if (fd >= 0) same("close", co_await run(close(fd)));
        }
    }
    /// Until so many bytes are there, the stream ends or an error comes, which is added.
    task<std::string> receive(int fd, std::size_t size) {
        std::string all;
        char* const to = buffer(size);
        while (all.size() < size) {
            const int count = co_await run(recv(fd, to, size - all.size()));
            if (count < 0) all += name_of(count);
            if (count <= 0) break;
            all.append(to, static_cast<std::size_t>(count));
        }
        co_return all;
    }
    task<int> send_all(int fd, const char* from, std::size_t size) {
        std::size_t sent = 0;
        while (sent < size) {
            const int count = co_await run(send(fd, from + sent, size - sent));
            if (count < 0) co_return count;
            sent += static_cast<std::size_t>(count);
        }
        co_return static_cast<int>(sent);
    }

private:
    static task<int> carry(entry what, flight& into) {
        const int result = co_await raw_op(what, &into.placed);
        co_return result;
    }

    std::string folder_;
    std::deque<std::string> memory_;
    std::deque<sockaddr_in> names_;
    std::deque<socklen_t> numbers_;
    std::deque<flight> flights_;
};

/// What tells that a connection ends.
inline constexpr unsigned any_end = POLLRDHUP | POLLHUP | POLLERR;

inline task<> closes(lab& in, int fd) {
    in.same("close", co_await in.run(in.close(fd)));
}
/// The peer is gone for good, and this side has been told.
inline task<> waits_for_hang_up(lab& in, int fd) {
    const int events = co_await in.run(in.poll(fd, POLLHUP));
    in.holds("it hangs up", events > 0 && (events & POLLHUP));
}
/// The client resets; gives the server's side once that knows.
inline task<pair_of_sockets> reset_by_client(lab& in) {
    auto pair = co_await in.connected();
    in.same("linger", in.abort_on_close(pair.client));
    co_await closes(in, std::exchange(pair.client, -1));
    co_await waits_for_hang_up(in, pair.server);
    co_return pair;
}

using body = task<> (*)(lab&);

/// How an operation can end.
enum class how : unsigned char { ok, falls_short, error, cancel, close };
inline constexpr how every_how[] = {how::ok, how::falls_short, how::error, how::cancel,
                                    how::close};
inline constexpr const char* how_names[] = {"ok", "short", "error", "cancel", "close"};

/// One cell of opcode x how: a body, or why there is none.
struct cell {
    std::uint8_t opcode;
    how end;
    body what;
    const char* why_not = nullptr;
};

/// The opcodes of each of the two files of cells; a new one belongs to one of them.
inline constexpr std::uint8_t folder_opcodes[] = {
    IORING_OP_RENAMEAT,
    IORING_OP_UNLINKAT,
    IORING_OP_MKDIRAT,
};
inline constexpr std::uint8_t file_opcodes[] = {
    IORING_OP_NOP,    IORING_OP_READ,  IORING_OP_WRITE,        IORING_OP_FSYNC,
    IORING_OP_OPENAT, IORING_OP_CLOSE, IORING_OP_ASYNC_CANCEL,
};
inline constexpr std::uint8_t socket_opcodes[] = {
    IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_SEND, IORING_OP_POLL_ADD,
};

/// Cancels an operation that was handed over in the same batch, or before. Gives the answer and
/// how the operation ended: "0/ECANCELED".
struct cancelled {
    int answer = 0;
    int result = 0;
    /// `own`: what every other result is called.
    [[nodiscard]] std::string to_string(const char* own = nullptr) const {
        const bool itself = result != -ECANCELED && result != -EINTR;
        return name_of(answer) + "/" + (itself && own ? own : name_of(result));
    }
};
inline task<cancelled> cancels(lab& in, entry target, bool same_batch) {
    flight& on_its_way = in.start(target);
    if (same_batch) {
        co_await in.prepared(on_its_way);
    } else {
        co_await in.submitted(on_its_way);
    }
    cancelled end;
    end.answer = co_await in.run(in.cancel(on_its_way.tag));
    end.result = co_await in.end_of(on_its_way);
    co_return end;
}

/// Of an operation that nothing would end by itself.
inline const std::set<std::string> ways_to_stop = {
    "0/ECANCELED",
    "0/EINTR",
    "EALREADY/ECANCELED",
    "EALREADY/EINTR",
};
/// Of one that would end by itself, in one way.
inline const std::set<std::string> ways_to_end = {
    "0/ECANCELED",    "0/EINTR",         "0/itself",      "EALREADY/ECANCELED",
    "EALREADY/EINTR", "EALREADY/itself", "ENOENT/itself",
};

} // namespace toadstone::tests

#endif
