// Descriptors that somebody hands over: taken whole, or refused with a sentence and left alone.
#include <toadstone/io/file.hpp>
#include <toadstone/io/pipe.hpp>
#include <toadstone/io/tcp_listener.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime.hpp>

#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}
int sock(int family, int type) {
    const int fd = ::socket(family, type | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    return fd;
}
/// What it says, of a descriptor that is not taken and stays open; which is closed then.
template <class Adopt>
std::string refusal(Adopt adopt, int fd) {
    std::string said = "taken";
    try {
        static_cast<void>(adopt(fd));
    } catch (const std::invalid_argument& error) {
        said = error.what();
    } catch (const std::system_error& error) {
        said = error.what();
    }
    CHECK(is_open(fd));
    ::close(fd);
    const std::string number = std::to_string(fd);
    if (const auto at = said.find(' ' + number + ' '); at != std::string::npos) {
        said.replace(at + 1, number.size(), "N");
    }
    return said;
}
const auto as_file = [](int fd) { return io::file::adopt(fd); };
const auto as_reader = [](int fd) { return io::pipe_reader::adopt(fd); };
const auto as_writer = [](int fd) { return io::pipe_writer::adopt(fd); };
const auto as_stream = [](int fd) { return io::tcp_stream::adopt(fd); };

struct two {
    int first = -1;
    int second = -1;
};
two made_pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    return {ends[0], ends[1]};
}
/// A closed number that nobody uses meanwhile.
int closed_number() {
    const int fd = ::dup(STDERR_FILENO);
    ::close(fd);
    return fd;
}

} // namespace

TEST_CASE("adopt: S450: what is taken is closed by its new owner, once") {
    const std::size_t before = open_descriptors();
    stepped world;
    const std::size_t with_world = open_descriptors();
    const two ends = made_pipe();
    {
        io::pipe_reader reader = io::pipe_reader::adopt(ends.first);
        io::pipe_writer writer = io::pipe_writer::adopt(ends.second, "the far side");
        CHECK(reader.name() == "pipe " + std::to_string(ends.first));
        CHECK(writer.name() == "the far side");
        CHECK(reader.native_handle() == ends.first);
        world.run(writer.write_all("through"));
        std::array<char, 16> room{};
        CHECK(world.run(reader.read_some(room)) == 7);
        CHECK(std::string(room.data()) == "through");
        io::pipe_reader moved = std::move(reader);
        CHECK_FALSE(reader.is_open());
        CHECK(is_open(ends.first));
    }
    CHECK_FALSE(is_open(ends.first));
    CHECK_FALSE(is_open(ends.second));
    CHECK(open_descriptors() == with_world);
    CHECK(before < with_world);
}

TEST_CASE("adopt: S451: the wrong kind of descriptor is told at once, and stays the caller's") {
    const std::size_t before = open_descriptors();
    const two ends = made_pipe();
    CHECK(refusal(as_file, ::dup(ends.first)) == "adopt descriptor N as a file: it is a pipe");
    CHECK(refusal(as_stream, ::dup(ends.first)) ==
          "adopt descriptor N as a tcp stream: it is a pipe");
    CHECK(refusal(as_writer, ::dup(ends.first)) ==
          "adopt descriptor N as the writing end of a pipe: it is not open for writing");
    CHECK(refusal(as_reader, ::dup(ends.second)) ==
          "adopt descriptor N as the reading end of a pipe: it is not open for reading");
    ::close(ends.first);
    ::close(ends.second);

    CHECK(refusal(as_file, ::open("/tmp", O_RDONLY | O_DIRECTORY)) ==
          "adopt descriptor N as a file: it is a folder");
    CHECK(refusal(as_reader, ::open("/proc/self/exe", O_RDONLY)) ==
          "adopt descriptor N as the reading end of a pipe: it is a file");
    CHECK(refusal(as_reader, ::eventfd(0, 0)) == "adopt descriptor N as the reading end of a "
                                                 "pipe: it is a descriptor without a kind");
    CHECK(refusal(as_file, sock(AF_INET, SOCK_STREAM)) ==
          "adopt descriptor N as a file: it is a socket");

    CHECK(refusal(as_stream, sock(AF_INET, SOCK_DGRAM)) ==
          "adopt descriptor N as a tcp stream: it is a socket without streams");
    CHECK(refusal(as_stream, sock(AF_INET, SOCK_STREAM)) ==
          "adopt descriptor N as a tcp stream: Transport endpoint is not connected");
    const int listener = sock(AF_INET, SOCK_STREAM);
    REQUIRE(::listen(listener, 1) == 0);
    CHECK(refusal(as_stream, listener) ==
          "adopt descriptor N as a tcp stream: it is a socket that listens");
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(refusal(as_stream, pair[0]) ==
          "adopt descriptor N as a tcp stream: it is not of IPv4 or IPv6");
    ::close(pair[1]);
    CHECK(refusal(as_reader, sock(AF_UNIX, SOCK_DGRAM)) ==
          "adopt descriptor N as the reading end of a pipe: it is a socket without streams");
    CHECK(open_descriptors() == before);
}

TEST_CASE("adopt: S451: a descriptor that is not open is told at once") {
    const int closed = closed_number();
    for (const int fd : {-1, closed}) {
        const std::function<void()> adopts[] = {
            [fd] { static_cast<void>(io::file::adopt(fd)); },
            [fd] { static_cast<void>(io::pipe_reader::adopt(fd)); },
            [fd] { static_cast<void>(io::pipe_writer::adopt(fd)); },
            [fd] { static_cast<void>(io::tcp_stream::adopt(fd)); },
        };
        for (const auto& adopt : adopts) {
            try {
                adopt();
                FAIL("taken");
            } catch (const std::system_error& error) {
                CHECK(error.code().value() == EBADF);
            }
        }
    }
}

TEST_CASE("adopt: S452: a file keeps its position and its way of being written") {
    stepped world;
    const temporary_folder folder;
    const auto path = folder.file("log");
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    REQUIRE(::write(fd, "before", 6) == 6);
    {
        io::file log = io::file::adopt(fd, path);
        world.run(log.append(", after"));
        CHECK(log.size() == 13);
        CHECK(log.is_at_path());
        CHECK(log.path() == path);
    }
    CHECK_FALSE(is_open(fd));
    const int plain = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    io::file other = io::file::adopt(plain);
    CHECK(other.path() == "file " + std::to_string(plain));
    CHECK_THROWS_AS(world.run(other.append("x")), std::logic_error);
    std::array<char, 32> room{};
    CHECK(world.run(other.read_some(room)) == 13);
    CHECK(std::string(room.data()) == "before, after");
}

TEST_CASE("adopt: S453: a connected socket, non-blocking or not, becomes a stream") {
    stepped world;
    const std::size_t before = open_descriptors();
    for (const int flag : {0, O_NONBLOCK}) {
        auto body = [](int nonblocking) -> task<> {
            connection between = co_await connect_pair();
            const int fd = ::dup(between.peer.fd());
            between.peer.close();
            ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | nonblocking);
            io::tcp_stream ours = io::tcp_stream::adopt(fd);
            CHECK(ours.peer() == between.stream.local());
            std::array<char, 8> room{};
            auto reading = spawn(as_outcome(ours.read_some(room)));
            co_await yield_now();
            co_await between.stream.write_all("ping");
            const auto outcome = co_await reading;
            CHECK(outcome.value() == 4);
            co_await ours.write_all("pong");
            co_await between.stream.read_exactly(std::span(room).first(4));
            CHECK(std::string(room.data(), 4) == "pong");
            co_await ours.close();
        };
        world.run(body(flag));
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("adopt: S453: both halves of a stream socket are read and written like a pipe") {
    stepped world;
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    io::pipe_reader reader = io::pipe_reader::adopt(::dup(pair[0]));
    io::pipe_writer writer = io::pipe_writer::adopt(pair[0]);
    auto body = [](io::pipe_reader& from, io::pipe_writer& to, int peer) -> task<> {
        co_await to.write_all("ask");
        char room[8] = {};
        CHECK(::read(peer, room, sizeof room) == 3);
        auto reading = spawn(as_outcome(from.read_some(room)));
        co_await yield_now();
        CHECK(::write(peer, "told", 4) == 4);
        const auto outcome = co_await reading;
        CHECK(outcome.value() == 4);
        CHECK(std::string(room, 4) == "told");
    };
    world.run(body(reader, writer, pair[1]));
    ::close(pair[1]);
    CHECK_THROWS_AS(world.run(writer.write_all("nobody")), std::system_error);
}
